package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"zmailer/agents/identity"
	"zmailer/agents/letter"
	"zmailer/spool"
)

// A maildirTarget is a Maildir and in whose name it is written.
type maildirTarget struct {
	path   string
	folder string // detail of user+detail: delivered to that folder if it exists
	as     identity.Identity
	name   string // of the message, see maildirName
}

// maildirName is the name of a message in new/. It is made of the message's own
// id and not of the moment, so that a second delivery after a crash meets the
// first one instead of standing beside it.
func maildirName(id spool.ID, rcpt int, host string, size int64) string {
	host = strings.NewReplacer("/", `\057`, ":", `\072`, ",", `\054`).Replace(host)
	return fmt.Sprintf("%d.%s_%d.%s,S=%d", id.Time().Unix(), id, rcpt, host, size)
}

// A mailDrop delivers to Maildirs. A letter is written and made durable in tmp/,
// renamed to new/, and the rename made durable; each sync is shared with all
// deliveries that wait for one at the same time.
type mailDrop struct {
	sync   *syncer
	serial atomic.Uint64

	failWrite func(*letter.Letter) error // tests: a write that breaks off
}

// A drop is one delivery under way.
type drop struct {
	t        maildirTarget
	tmp, new int // directories
	tmpName  string
	fd       int
}

// deliver puts l into the Maildir. When it returns nil the letter survives a
// power cut; after an error it may be there or not, and a second try finds out.
func (m *mailDrop) deliver(t maildirTarget, l *letter.Letter) (err error) {
	d := &drop{t: t, tmp: -1, new: -1, fd: -1}
	d.tmpName = t.name + "." + strconv.Itoa(os.Getpid()) + "." + strconv.FormatUint(m.serial.Add(1), 10)
	defer d.close()
	if err := t.as.Do(func() error { return m.write(d, l) }); err != nil {
		return err
	}
	if err := m.sync.sync(d.fd); err != nil {
		return errors.Join(err, t.as.Do(d.remove))
	}
	if err := t.as.Do(d.publish); err != nil {
		return err
	}
	return m.sync.sync(d.new)
}

func (m *mailDrop) write(d *drop, l *letter.Letter) error {
	if err := d.open(); err != nil {
		return err
	}
	fd, err := unix.Openat(d.tmp, d.tmpName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "create", Path: d.t.path + "/tmp/" + d.tmpName, Err: err}
	}
	d.fd = fd
	err = l.WriteFile(fd)
	if err == nil && m.failWrite != nil {
		err = m.failWrite(l)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s/tmp: %w", d.t.path, err), d.remove())
	}
	return nil
}

// open opens tmp/ and new/ of the Maildir or of its folder, and creates the
// Maildir if it is not there.
func (d *drop) open() error {
	parent, err := openDir(filepath.Dir(d.t.path))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	uid := d.t.as.UID
	base := filepath.Base(d.t.path)
	top, err := openMailDir(parent, base, d.t.path, uid)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mkdir(parent, base, d.t.path); err != nil {
			return err
		}
		top, err = openMailDir(parent, base, d.t.path, uid)
	}
	if err != nil {
		return err
	}
	defer func() { unix.Close(top) }()
	if folder := folderName(d.t.folder); folder != "" {
		sub, err := openMailDir(top, folder, d.t.path+"/"+folder, uid)
		if err == nil {
			unix.Close(top)
			top = sub
			d.t.path += "/" + folder
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return d.openParts(top, uid)
}

func (d *drop) openParts(top, uid int) (err error) {
	for _, part := range []struct {
		name string
		fd   *int
	}{{"tmp", &d.tmp}, {"new", &d.new}, {"cur", nil}} {
		path := d.t.path + "/" + part.name
		if part.fd == nil {
			// Nobody reads a Maildir without cur/.
			if err := mkdir(top, part.name, path); err != nil {
				return err
			}
			continue
		}
		*part.fd, err = openMailDir(top, part.name, path, uid)
		if errors.Is(err, fs.ErrNotExist) {
			if err := mkdir(top, part.name, path); err != nil {
				return err
			}
			*part.fd, err = openMailDir(top, part.name, path, uid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func mkdir(dir int, name, path string) error {
	if err := unix.Mkdirat(dir, name, 0o700); err != nil && err != unix.EEXIST {
		return &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	return nil
}

// folderName is the directory of a Maildir++ folder, or "" if detail cannot name
// one.
func folderName(detail string) string {
	if !fileName(detail) || len(detail) > 100 || strings.HasPrefix(detail, ".") || strings.HasSuffix(detail, ".") || strings.Contains(detail, "..") {
		return ""
	}
	for i := 0; i < len(detail); i++ {
		if detail[i] >= 0x80 || detail[i] == '&' || detail[i] == '~' { // other character sets are encoded in names
			return ""
		}
	}
	return "." + detail
}

// publish renames the letter into new/. If it is there already, an earlier
// attempt got this far and only its report was lost.
func (d *drop) publish() error {
	err := unix.Renameat2(d.tmp, d.tmpName, d.new, d.t.name, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS { // not on this file system
		if err = unix.Linkat(d.tmp, d.tmpName, d.new, d.t.name, 0); err == nil {
			return d.remove()
		}
	}
	switch err {
	case nil:
		return nil
	case unix.EEXIST:
		return d.remove()
	}
	return errors.Join(&fs.PathError{Op: "rename", Path: d.t.path + "/new/" + d.t.name, Err: err}, d.remove())
}

func (d *drop) remove() error {
	if err := unix.Unlinkat(d.tmp, d.tmpName, 0); err != nil {
		return &fs.PathError{Op: "remove", Path: d.t.path + "/tmp/" + d.tmpName, Err: err}
	}
	return nil
}

func (d *drop) close() {
	for _, fd := range []int{d.fd, d.tmp, d.new} {
		if fd >= 0 {
			unix.Close(fd) // everything that matters was synced or given up
		}
	}
}
