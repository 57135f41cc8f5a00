package scheduler

import (
	"time"
	"unique"

	"zmailer/spool"
)

// sec is a time in seconds since 1970, in the size that a million messages allow.
type sec uint32

// secOf is t, or what is nearest to it: a user can ask for a time beyond this century.
func secOf(t time.Time) sec {
	return sec(min(max(t.Unix(), 0), int64(never)-1))
}

// add is s and d later, as far as there are times.
func (s sec) add(d time.Duration) sec {
	return sec(min(int64(s)+int64(d/time.Second), int64(never)-1))
}

func (s sec) time() time.Time             { return time.Unix(int64(s), 0) }
func (s sec) since(t sec) time.Duration   { return time.Duration(int64(s)-int64(t)) * time.Second }
func (s sec) until(now sec) time.Duration { return s.since(now) }
func earlier(a, b sec) sec                { return min(a, b) }

const never = ^sec(0)

type word = unique.Handle[string]

// msgID is a spool.ID without a string header of its own.
type msgID [spool.IDLen]byte

func (id msgID) spool() spool.ID { return spool.ID(id[:]) }

// A message is the memory's index entry of one control file.
type message struct {
	id       msgID
	priority uint8 // 0 is the most urgent
	flags    msgFlags
	live     int32 // vertices
	heapIdx  int32 // in the heap of deadlines, or -1
	arrival  sec
	since    sec // expiry counts from here: arrival, or the last release
	due      sec // when the message itself needs attention: report, warning, expiry
	reportAt sec // when collected failures are reported although recipients are left
	size     uint32
	sender   word
	vertices *vertex
	fresh    *fresh
}

type msgFlags uint16

const (
	msgHeld    msgFlags = 1 << iota
	msgOwes             // failures or successes are to be reported
	msgWarned           // the delay warning was sent
	msgWorking          // a report is being made, or the files are being removed
	msgKilled           // to be deleted as soon as nothing of it is running
	msgSuccess          // somebody wants to hear of success, or of where it went
	msgKept             // the policy keeps some recipient until the message is released
	msgDamaged          // is being set aside: see damaged.go
	msgLate             // the sender knows that the time he had set is over
)

// is says whether any of the flags is set.
func (m *message) is(f msgFlags) bool { return m.flags&f != 0 }

// fresh is what is remembered of a control file from its reading to the end of
// the first attempt: in the usual case the file is read once.
type fresh struct {
	users []string // user of recipient n
}

// A vertex is the recipients of a message that belong to one thread, at most
// protocol.MaxJobRcpts of them.
type vertex struct {
	msg      *message
	th       *thread
	sibling  *vertex // next vertex of the message
	more     *[]int  // all recipients, when there are several
	order    uint64  // place in the heap
	heapIdx  int32
	first    int32 // the recipient, when there is one
	next     sec   // waiting: until when
	by       sec   // the time that the sender has set for delivery, or 0
	attempts uint16
	state    vertexState
	reserved bool // next is a time within the sender's rate limit
	tried    bool // by this scheduler
	kept     bool // by the policy, until the message is released
	again    bool // running or settling: at once, if this attempt fails
	returns  bool // by: it goes back then
}

type vertexState uint8

const (
	ready vertexState = iota
	waiting
	running
	settling
	held
	gone
)

func (v *vertex) rcpts() []int {
	if v.more != nil {
		return *v.more
	}
	return []int{int(v.first)}
}

func (v *vertex) nrcpts() int {
	if v.more != nil {
		return len(*v.more)
	}
	return 1
}

func (v *vertex) setRcpts(ns []int) {
	if len(ns) == 1 {
		v.first, v.more = int32(ns[0]), nil
		return
	}
	v.more = &ns
}

// A threadKey names a thread.
type threadKey struct{ channel, host word }

// A thread is all work for one channel and host.
type thread struct {
	key    threadKey
	clause *Clause
	pool   *pool
	stats  *channelStats

	fresh   vertexHeap // ready and never tried
	retry   vertexHeap // ready and tried before
	waiting vertexHeap // by time
	turn    uint8      // alternates between fresh and retry
	vtime   uint64     // virtual time of fresh: the order of the vertex taken last
	tags    map[tagKey]uint64

	until     sec // back-off: nothing is tried before
	rateUntil sec // rate limit: the same
	account   account
	failures  int // failures to reach the destination, in a row
	failedAt  time.Time
	successAt time.Time
	limit     int // jobs at once, adapted
	active    int // jobs now
	forced    int // flush: this many vertices are tried whatever the clause says
	held      int

	wake     sec // in the heap of timers
	heapIdx  int32
	inRing   bool
	state    threadState
	vertices int
	rcpts    int
	reason   string // last problem
	last     *agent // has served this thread last
}

type threadState uint8

const (
	threadIdle    threadState = iota // nothing to do but held or settling vertices
	threadReady                      // waits for an agent
	threadRunning                    // has jobs at agents
	threadWaiting                    // individual recipients wait for their next attempt
	threadBackoff                    // the destination could not be reached
	threadParked                     // queueonly
	threadStates
)

var threadStateNames = [threadStates]string{"idle", "ready", "running", "waiting", "backoff", "queueonly"}

func (th *thread) channel() string { return th.key.channel.Value() }
func (th *thread) host() string    { return th.key.host.Value() }

// countRcpts enters a change of the thread's number of recipients.
func (q *Queue) countRcpts(th *thread, n int) {
	th.rcpts += n
	th.stats.rcpts += n
	q.stats.rcpts += n
}

func (th *thread) readyLen() int { return len(th.fresh) + len(th.retry) }
