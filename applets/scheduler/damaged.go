package scheduler

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"zmailer/spool"
)

// A control file may be damaged, or removed by hand, while its message is in the
// index: whoever reads it next finds out. The message is then set aside at once, with
// an alert in the log; nothing else is disturbed, and what an agent does just then with
// one of its recipients is logged when it has ended.

// isDamage says whether err, of reading a message's control file, is the file's fault.
// Trouble with the disk passes.
func (q *Queue) isDamage(id spool.ID, err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, fs.ErrNotExist) {
		_, err := os.Stat(filepath.Dir(q.spool.ControlPath(id)))
		return err == nil
	}
	var bad *badControl
	return errors.As(err, &bad)
}

// A badControl is a control file that was read and cannot be understood.
type badControl struct{ err error }

func (e *badControl) Error() string { return e.err.Error() }
func (e *badControl) Unwrap() error { return e.err }

// control reads the control file of a message of the index with read, which is
// spool.ReadControl or readControl.
func (q *Queue) control(id spool.ID, read func(path string) (*spool.Control, error)) (*spool.Control, error) {
	c, err := read(q.spool.ControlPath(id))
	var path *fs.PathError
	if err != nil && !errors.As(err, &path) {
		err = &badControl{err}
	}
	return c, err
}

// suspect looks at the control file again, in turn with the tasks of the message: who
// has read it at another time may have met with the end of the message.
func (q *Queue) suspect(id spool.ID) {
	key := msgID([]byte(id))
	m := q.shard(key)[key]
	if m == nil || m.is(msgDamaged) {
		return
	}
	q.atDisk(id, func() func() {
		_, err := q.control(id, readControl)
		return func() {
			if q.shard(key)[key] == m && q.isDamage(id, err) {
				q.damaged(m, err)
			}
		}
	})
}

// damaged sets a message of the index aside. It may be called for it again.
func (q *Queue) damaged(m *message, cause error) {
	if m.is(msgDamaged) {
		return
	}
	m.flags |= msgDamaged | msgWorking
	q.deadline.remove(m)
	for v := m.vertices; v != nil; {
		next := v.sibling
		if v.state != running && v.state != settling { // those drop themselves when they come back
			v.takeOut()
			q.dropDamaged(v)
		}
		v = next
	}
	q.quarantine(m, cause)
}

// quarantine moves the message's files.
func (q *Queue) quarantine(m *message, cause error) {
	id := m.id.spool()
	q.atDisk(id, func() func() {
		_, noControl := os.Lstat(q.spool.ControlPath(id))
		if _, noMessage := os.Lstat(q.spool.QueuePath(id)); errors.Is(noControl, fs.ErrNotExist) && errors.Is(noMessage, fs.ErrNotExist) {
			q.log.Error("message is gone: its files were removed by somebody else", "spoolid", id)
			return func() {
				m.flags &^= msgWorking
				q.forgetDamaged(m)
			}
		}
		err := q.spool.Quarantine(id, cause.Error())
		q.log.Error("control file is set aside", "spoolid", id, "err", cause, "quarantine", err)
		return func() {
			if err != nil {
				q.stats.diskErrors++
				q.after(diskRetry, func() { q.quarantine(m, cause) })
				return
			}
			m.flags &^= msgWorking
			q.forgetDamaged(m)
		}
	})
}

// dropDamaged takes a vertex of a damaged message out of the index.
func (q *Queue) dropDamaged(v *vertex) {
	q.countRcpts(v.th, -v.nrcpts())
	q.dropVertex(v)
	q.touch(v.th)
	q.forgetDamaged(v.msg)
}

// forgetDamaged forgets the message when its files are away and nobody works on it.
func (q *Queue) forgetDamaged(m *message) {
	if m.live == 0 && !m.is(msgWorking) && q.shard(m.id)[m.id] == m {
		q.forget(m)
	}
}
