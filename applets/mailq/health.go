package mailq

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// A level is how bad things are: the exit status of a status report.
type level int

const (
	well level = iota
	warning
	critical
)

var levelNames = [...]string{"ok", "warning", "critical"}

// Health is the state of the mailer as a whole.
type Health struct {
	Level     string            `json:"level"` // ok, warning, critical
	Daemons   []Daemon          `json:"daemons"`
	Dirs      []Dir             `json:"directories"`
	Disk      Disk              `json:"disk"`
	Scheduler *queuesock.Status `json:"scheduler"` // null while it does not answer
	Problems  []Problem         `json:"problems"`

	frozen bool
	worst  level
}

// A Daemon is one long-lived process.
type Daemon struct {
	Name string `json:"name"`
	Pid  int    `json:"pid,omitempty"`
	// running, stopped, or never started
	State string `json:"state"`
}

// A Dir is one directory of the spool.
type Dir struct {
	Name   string `json:"name"`
	Count  int    `json:"count"`
	More   bool   `json:"more,omitempty"`   // there are more: counting took too long
	Oldest int64  `json:"oldest,omitempty"` // arrival of the oldest message
	Error  string `json:"error,omitempty"`
}

// Disk is the file system of the spool.
type Disk struct {
	FreeBytes   uint64  `json:"free_bytes"`
	FreePart    float64 `json:"free_part"`
	FreeFiles   uint64  `json:"free_files"`
	FilesPart   float64 `json:"files_part"`
	Unavailable string  `json:"error,omitempty"`
}

// A Problem is something that needs attention, and what to do about it.
type Problem struct {
	Level  string `json:"level"`
	Text   string `json:"text"`
	Remedy string `json:"remedy"`
}

func (h *Health) complain(l level, remedy, format string, args ...any) {
	h.worst = max(h.worst, l)
	h.Problems = append(h.Problems, Problem{levelNames[l], fmt.Sprintf(format, args...), remedy})
}

// countTime bounds the counting of the directories that the scheduler does not
// keep: the report is to be there at once.
const countTime = 80 * time.Millisecond

// examine collects the health of the instance.
func (v *viewer) examine() *Health {
	h := &Health{Problems: []Problem{}}
	if _, err := os.Stat(filepath.Join(v.spool.Root, ".freeze")); err == nil {
		h.frozen = true
		h.complain(warning, "zmailer thaw, when the reason is gone", "the mailer is frozen: it cannot be started")
	}
	h.daemons(v.spool)
	st, err := v.schedulerStatus()
	if h.Scheduler = st; st == nil && h.pid("scheduler") != 0 {
		why := "its socket is not there"
		if err != nil {
			why = err.Error()
		}
		h.complain(critical, "zmailer restart scheduler; see the log "+v.conf.LogPath("scheduler"), "the scheduler runs but does not answer: %s", why)
	}
	ctx, cancel := context.WithTimeout(v.ctx, countTime)
	defer cancel()
	for _, d := range []string{spool.RouterDir, spool.DeferredDir, spool.TransportDir, spool.FreezerDir, spool.PostmanDir} {
		h.Dirs = append(h.Dirs, h.dir(ctx, v.spool, d))
	}
	h.judgeDirs(v.now)
	h.disk(v.spool.Root)
	h.judgeScheduler()
	h.Level = levelNames[h.worst]
	return h
}

func (h *Health) daemons(s *spool.Spool) {
	for _, name := range []string{"router", "scheduler", "smtpserver"} {
		d := Daemon{Name: name, State: "stopped"}
		path := s.RunPath(name + ".pid")
		pid, err := proc.Running(path)
		switch {
		case err != nil:
			d.State = "unknown: " + err.Error()
			h.complain(warning, "check the rights of "+path, "%s: %v", name, err)
		case pid != 0:
			d.Pid, d.State = pid, "running"
		default:
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				d.State = "never started"
			}
			h.missing(d)
		}
		h.Daemons = append(h.Daemons, d)
	}
}

// missing judges a daemon that does not run.
func (h *Health) missing(d Daemon) {
	switch {
	case h.frozen:
	case d.Name != "smtpserver":
		h.complain(critical, "zmailer "+d.Name, "the %s does not run (%s): mail is not moved on", d.Name, d.State)
	case d.State != "never started": // a host may well send only
		h.complain(warning, "zmailer smtpserver", "the smtpserver does not run: no mail comes in by SMTP")
	}
}

func (h *Health) pid(name string) int {
	for i := range h.Daemons {
		if h.Daemons[i].Name == name {
			return h.Daemons[i].Pid
		}
	}
	return 0
}

func (h *Health) dir(ctx context.Context, s *spool.Spool, name string) Dir {
	d := Dir{Name: name}
	if st := h.Scheduler; name == spool.TransportDir && st != nil {
		d.Count, d.Oldest, d.More = st.Messages, st.Oldest, st.Scan.Running && st.Scan.Scans == 0
		return d
	}
	dirs := []string{filepath.Join(s.Root, name)}
	if name == spool.TransportDir {
		dirs = nil
		for _, hash := range spool.HashDirs() {
			dirs = append(dirs, filepath.Join(s.Root, name, hash))
		}
	}
	var oldest spool.ID
	for _, path := range dirs {
		err := spool.EachID(path, func(id spool.ID) error {
			if d.Count++; oldest == "" || id < oldest { // ids sort by time
				oldest = id
			}
			if d.Count%1024 == 0 {
				return ctx.Err()
			}
			return nil
		})
		if errors.Is(err, context.DeadlineExceeded) {
			d.More = true
			break
		}
		if err != nil {
			d.Error = err.Error()
			if errors.Is(err, fs.ErrPermission) {
				d.Error = "not readable for this user"
			}
		}
	}
	if oldest != "" {
		d.Oldest = oldest.Time().Unix()
	}
	return d
}

func (h *Health) judgeDirs(now time.Time) {
	for i := range h.Dirs {
		d := &h.Dirs[i]
		if d.Count == 0 {
			continue
		}
		age := now.Sub(queuesock.Time(d.Oldest))
		switch d.Name {
		case spool.RouterDir:
			if h.pid("router") != 0 && age > 10*time.Minute {
				h.complain(warning, "look into the router's log", "%s for the router, the oldest for %s: it is stuck or slow", waits(d.Count), span(age))
			}
		case spool.DeferredDir:
			if age > 24*time.Hour {
				h.complain(warning, "look into the router's log for what does not answer; then zmailer resubmit", "%s to be routed, the oldest for %s", waits(d.Count), span(age))
			}
		case spool.PostmanDir:
			h.complain(warning, "read the .why file beside each, then move it back to router/ or remove it", "%s in postman/: the mailer could not understand them", count(d.Count, "message"))
		}
	}
}

func waits(n int) string {
	if n == 1 {
		return "1 message waits"
	}
	return fmt.Sprintf("%d messages wait", n)
}

// Free space below which attention is needed, as part of the file system and in
// bytes: both must be undercut, since 5 % of a large disk is plenty.
const (
	lowPart, lowBytes   = 0.05, 2 << 30
	tinyPart, tinyBytes = 0.02, 200 << 20
)

func (h *Health) disk(root string) {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		h.Disk.Unavailable = err.Error()
		h.complain(warning, "check "+root, "free space is not known: %v", err)
		return
	}
	d := &h.Disk
	d.FreeBytes = st.Bavail * uint64(st.Bsize)
	d.FreePart, d.FreeFiles, d.FilesPart = part(st.Bavail, st.Blocks), st.Ffree, part(st.Ffree, st.Files)
	const remedy = "make room: mail is not accepted when the disk is full"
	switch {
	case d.FreePart < tinyPart && d.FreeBytes < tinyBytes:
		h.complain(critical, remedy, "only %s are free on %s", size(int64(d.FreeBytes)), root)
	case d.FreePart < lowPart && d.FreeBytes < lowBytes:
		h.complain(warning, remedy, "only %s are free on %s", size(int64(d.FreeBytes)), root)
	}
	if st.Files > 0 && d.FilesPart < tinyPart {
		h.complain(critical, remedy, "only %d more files fit on %s", d.FreeFiles, root)
	}
}

func part(free, all uint64) float64 {
	if all == 0 {
		return 1
	}
	return float64(free) / float64(all)
}

func (h *Health) judgeScheduler() {
	st := h.Scheduler
	if st == nil {
		return
	}
	for i := range st.Agents {
		a := &st.Agents[i]
		if a.Waiting > 0 && a.Running+a.Idle == 0 && a.Failing {
			h.complain(critical, "see the scheduler's log", "agents for %s cannot be started: %s", a.Pattern, a.Pending)
		}
	}
	if st.Problems.DiskErrors > 0 {
		h.complain(warning, "see the scheduler's log", "control files or reports could not be written: %s", count(st.Problems.DiskErrors, "time"))
	}
}
