package load

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Count is what was found of a load: by message, in how many copies it is in each
// place.
type Count struct {
	Places  map[string]map[string]int // id -> place -> copies
	Damaged []string
	Foreign int // files that belong to no load, such as reports
}

func newCount() *Count { return &Count{Places: make(map[string]map[string]int)} }

// Maildirs counts what was delivered: place is the user.
func Maildirs(byUser map[string]string) (*Count, error) {
	c := newCount()
	for user, dir := range byUser {
		for _, part := range []string{"new", "cur"} {
			if err := c.dir(user, filepath.Join(dir, part)); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// Spool counts what waits below POSTOFFICE: place is the directory.
func Spool(root string) (*Count, error) {
	c := newCount()
	for _, name := range []string{"router", "queue", "deferred", "freezer", "postman"} {
		if err := c.dir(name, filepath.Join(root, name)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Waiting is how many files of the spool wait for a daemon.
func Waiting(root string) (n int, err error) {
	for _, name := range []string{"router", "queue", "deferred"} {
		err = errors.Join(err, walk(filepath.Join(root, name), func(string) error { n++; return nil }))
	}
	return n, err
}

func (c *Count) dir(place, dir string) error {
	return walk(dir, func(path string) error {
		if strings.HasSuffix(path, ".why") || strings.HasSuffix(path, ".control") {
			return nil
		}
		b, err := readLimited(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // moved on meanwhile
		}
		if err != nil {
			return err
		}
		id, err := Check(b)
		switch {
		case errors.Is(err, ErrForeign):
			c.Foreign++
		case err != nil:
			c.Damaged = append(c.Damaged, path+": "+err.Error())
		default:
			if c.Places[id] == nil {
				c.Places[id] = make(map[string]int)
			}
			c.Places[id][place]++
		}
		return nil
	})
}

// walk calls fn for every file below dir, which need not be there.
func walk(dir string, fn func(path string) error) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		return fn(path)
	})
}

const maxMessage = 16 << 20

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxMessage))
}
