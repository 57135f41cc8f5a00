package mailbox

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"zmailer/agents/letter"
)

// A mailDrop delivers to Maildirs. A letter is written and made durable in tmp/,
// renamed to new/, and the rename made durable. Letters that wait for the same
// Maildir go in together, and each sync is shared with all deliveries that wait for
// one at the same time.
type mailDrop struct {
	sync   *syncer
	serial atomic.Uint64
	queues queues

	failWrite func(*letter.Letter) error // tests: a write that breaks off
}

// mostDrops bounds the files that one batch holds open.
const mostDrops = 50

// deliver puts l into the Maildir under that name. When it returns nil the letter
// survives a power cut; after an error it may be there or not, and a second try
// finds out.
func (m *mailDrop) deliver(t maildirTarget, name string, l *letter.Letter) error {
	return m.queues.deliver(t.key(), &job{l: l, name: name}, mostDrops, func(batch []*job) error { return m.batch(&t, batch) })
}

// batch delivers letters to one Maildir. A letter that could not be written gets
// its error; an error of batch itself concerns all of them.
func (m *mailDrop) batch(t *maildirTarget, batch []*job) error {
	var box *openMaildir
	var drops []*drop
	var use *usage
	defer func() {
		for _, d := range drops {
			unix.Close(d.fd)
		}
		if box != nil {
			box.close()
		}
	}()
	err := t.as.Do(func() (err error) {
		if box, err = t.open(); err != nil {
			return err
		}
		if use, err = box.usage(t); err == nil {
			drops = m.write(box, use, batch)
		}
		return err
	})
	if err != nil || len(drops) == 0 {
		return err
	}
	fds := make([]int, len(drops))
	for i, d := range drops {
		fds[i] = d.fd
	}
	if err := m.sync.sync(fds...); err != nil {
		return errors.Join(err, t.as.Do(func() error {
			for _, d := range drops {
				err = errors.Join(err, box.remove(d))
			}
			return err
		}))
	}
	err = t.as.Do(func() error {
		var bytes, count int64
		for _, d := range drops {
			isNew, err := box.publish(d)
			if d.job.err = err; isNew {
				bytes, count = bytes+d.job.l.Size(), count+1
			}
		}
		use.record(bytes, count)
		return nil
	})
	if err != nil {
		return err
	}
	return m.sync.sync(box.new)
}

// write writes what the quota allows to tmp/.
func (m *mailDrop) write(box *openMaildir, use *usage, batch []*job) (drops []*drop) {
	for _, j := range batch {
		if j.err = use.take(j.l.Size()); j.err != nil {
			continue
		}
		d := &drop{job: j, tmp: tmpName(j.name, m.serial.Add(1)), fd: -1}
		err := box.create(d)
		if err == nil && m.failWrite != nil {
			err = m.failWrite(j.l)
		}
		if err == nil {
			drops = append(drops, d)
			continue
		}
		use.giveBack(j.l.Size())
		if d.fd >= 0 {
			unix.Close(d.fd)
			err = errors.Join(err, box.remove(d))
		}
		j.err = err
	}
	return drops
}
