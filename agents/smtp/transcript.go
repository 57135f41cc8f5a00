package smtp

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A transcriptFile records the conversations of all connections, one line for
// each line of protocol, for a person who looks for the fault. Credentials and
// content are not in it.
type transcriptFile struct {
	mu   sync.Mutex
	f    *os.File
	next atomic.Int64
}

func openTranscript(path string) (*transcriptFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("transcript: %w", err)
	}
	return &transcriptFile{f: f}, nil
}

// start begins the transcript of a connection.
func (f *transcriptFile) start() *transcript {
	if f == nil {
		return nil
	}
	return &transcript{file: f, number: f.next.Add(1)}
}

// A transcript is the part of one connection. A nil one records nothing.
type transcript struct {
	file   *transcriptFile
	number int64
}

// line records a line read ('r') or written ('w').
func (t *transcript) line(dir byte, text []byte) {
	if t != nil {
		t.write(dir, string(text))
	}
}

// note records what is not protocol.
func (t *transcript) note(text string) {
	if t != nil {
		t.write('#', text)
	}
}

func (t *transcript) write(dir byte, text string) {
	line := fmt.Sprintf("%s %d.%d%c %s\n", time.Now().Format("2006-01-02T15:04:05.000"), os.Getpid(), t.number, dir, text)
	t.file.mu.Lock()
	defer t.file.mu.Unlock()
	// A transcript that cannot be written must not stop the mail, and there is no
	// better place to say so.
	_, _ = t.file.f.WriteString(line)
}
