package scheduler

import (
	"os"
	"runtime/debug"
)

// The index of a deep queue is memory that stays: collecting more often than usual
// costs little. The limit keeps what comes and goes, such as the answer to "mailq
// --json", from adding to it on a busy machine: a million messages stay within 350 MB.
// It grows with the queue, since a limit below what is needed would only burn time.

const (
	collectPercent = 25
	memoryLimit    = 320 << 20 // with the program's pages below 350 MB
	memoryBase     = 56 << 20  // of a scheduler without mail, with room for what comes and goes
	memoryEach     = 250       // of the index, a recipient, with a tenth to spare
)

// limitFor is the memory limit for a queue of n recipients.
func limitFor(n int) int64 { return max(memoryLimit, memoryBase+int64(n)*memoryEach) }

// boundMemory sets the limit anew when the queue has grown or shrunk by a tenth. One
// that the administrator has set stands.
func (q *Queue) boundMemory() {
	limit := limitFor(q.stats.rcpts)
	if d := limit - q.memory; d < q.memory/10 && -d < q.memory/10 && q.memory != 0 || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	q.memory = limit
	debug.SetMemoryLimit(limit)
}
