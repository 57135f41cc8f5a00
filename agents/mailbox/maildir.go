package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"zmailer/agents/identity"
	"zmailer/spool"
)

// A maildirTarget is a Maildir and in whose name it is written.
type maildirTarget struct {
	path   string
	folder string // detail of user+detail: delivered to that folder if it exists
	as     identity.Identity
	quota  quota
}

// key tells apart what must not be written in one batch.
func (t *maildirTarget) key() string {
	return fmt.Sprintf("%s\x00%s\x00%s\x00%s", t.path, t.folder, t.as.Key(), t.quota)
}

// maildirName is the name of a message in new/. It is made of the message's own
// id and not of the moment, so that a second delivery after a crash meets the
// first one instead of standing beside it.
func maildirName(id spool.ID, rcpt int, host string, size int64) string {
	host = strings.NewReplacer("/", `\057`, ":", `\072`, ",", `\054`).Replace(host)
	return fmt.Sprintf("%d.%s_%d.%s,S=%d", id.Time().Unix(), id, rcpt, host, size)
}

// An openMaildir is a Maildir whose directories are open. What is put in their
// place afterwards is not followed.
type openMaildir struct {
	path     string // of the Maildir or its folder
	root     int    // the Maildir itself, where the quota is kept
	tmp, new int
}

// open opens tmp/ and new/ of the Maildir or of its folder, and creates the
// Maildir if it is not there.
func (t *maildirTarget) open() (*openMaildir, error) {
	m := &openMaildir{path: t.path, root: -1, tmp: -1, new: -1}
	if err := m.open(t); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *openMaildir) open(t *maildirTarget) error {
	parent, err := openDir(filepath.Dir(t.path))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	uid := t.as.UID
	if m.root, err = makeMailDir(parent, filepath.Base(t.path), t.path, uid); err != nil {
		return err
	}
	if folder := folderName(t.folder); folder != "" {
		sub, err := openMailDir(m.root, folder, t.path+"/"+folder, uid)
		if err == nil {
			defer unix.Close(sub)
			m.path += "/" + folder
			return m.openParts(sub, uid)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return m.openParts(m.root, uid)
}

func (m *openMaildir) openParts(top, uid int) (err error) {
	if m.tmp, err = makeMailDir(top, "tmp", m.path+"/tmp", uid); err != nil {
		return err
	}
	if m.new, err = makeMailDir(top, "new", m.path+"/new", uid); err != nil {
		return err
	}
	// Nobody reads a Maildir without cur/.
	return mkdir(top, "cur", m.path+"/cur")
}

// makeMailDir opens a directory of the user and creates it if it is not there.
func makeMailDir(parent int, name, path string, uid int) (int, error) {
	fd, err := openMailDir(parent, name, path, uid)
	if !errors.Is(err, fs.ErrNotExist) {
		return fd, err
	}
	if err := mkdir(parent, name, path); err != nil {
		return -1, err
	}
	return openMailDir(parent, name, path, uid)
}

func mkdir(dir int, name, path string) error {
	if err := unix.Mkdirat(dir, name, 0o700); err != nil && err != unix.EEXIST {
		return &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	return nil
}

func (m *openMaildir) close() {
	for _, fd := range []int{m.root, m.tmp, m.new} {
		if fd >= 0 {
			unix.Close(fd) // everything that matters was synced or given up
		}
	}
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

// A drop is one letter on its way from tmp/ to new/.
type drop struct {
	job *job
	tmp string // name in tmp/
	fd  int
}

// create writes the letter to tmp/.
func (m *openMaildir) create(d *drop) error {
	fd, err := unix.Openat(m.tmp, d.tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "create", Path: m.path + "/tmp/" + d.tmp, Err: err}
	}
	d.fd = fd
	if err := d.job.l.WriteFile(fd); err != nil {
		return fmt.Errorf("write %s/tmp: %w", m.path, err)
	}
	return nil
}

// publish renames the letter into new/. It says whether it was new there: if it
// was not, an earlier attempt got this far and only its report was lost.
func (m *openMaildir) publish(d *drop) (bool, error) {
	err := unix.Renameat2(m.tmp, d.tmp, m.new, d.job.name, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS { // not on this file system
		if err = unix.Linkat(m.tmp, d.tmp, m.new, d.job.name, 0); err == nil {
			return true, m.remove(d)
		}
	}
	switch err {
	case nil:
		return true, nil
	case unix.EEXIST:
		return false, m.remove(d)
	}
	return false, errors.Join(&fs.PathError{Op: "rename", Path: m.path + "/new/" + d.job.name, Err: err}, m.remove(d))
}

func (m *openMaildir) remove(d *drop) error {
	if err := unix.Unlinkat(m.tmp, d.tmp, 0); err != nil {
		return &fs.PathError{Op: "remove", Path: m.path + "/tmp/" + d.tmp, Err: err}
	}
	return nil
}

// tmpName is a name that nobody else in the world takes.
func tmpName(name string, serial uint64) string {
	return fmt.Sprintf("%s.%d.%d", name, os.Getpid(), serial)
}
