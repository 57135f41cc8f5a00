package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"zmailer/shellcfg/cf"
	"zmailer/shellcfg/shell"
)

// A source is a file that a version was made from, or a place where one would
// have been taken from if it had been there.
type source struct {
	path  string
	size  int64 // -1: there is none
	mtime time.Time
	inode uint64
}

func look(path string) source {
	s := source{path: path, size: -1}
	if st, err := os.Stat(path); err == nil {
		s.size, s.mtime, s.inode = st.Size(), st.ModTime(), inode(st)
	}
	return s
}

// presence is a file whose existence the version depends on; what is in it is
// the business of the table.
type presence struct {
	path  string
	found bool
}

// Changed tells whether the configuration should be loaded anew. It costs one
// stat for each file.
func (p *Policy) Changed() bool {
	for _, s := range p.sources {
		if look(s.path) != s {
			return true
		}
	}
	for _, f := range p.presence {
		if _, err := os.Lstat(f.path); (err == nil) != f.found {
			return true
		}
	}
	return false
}

// main opens $MAILVAR/router.cf or the stock policy.
func (l *loader) main() (string, io.ReadCloser, error) {
	if l.pure {
		r, err := l.stock("router.cf")
		return "cf/router.cf", r, err
	}
	path := l.p.conf.Path("router.cf")
	r, err := l.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		r, err = l.stock("router.cf")
		return "cf/router.cf", r, err
	}
	return path, r, err
}

// open opens the file of a "." or cat command, or of a redirection. cf/NAME is a file
// of the stock library, unless $MAILVAR/cf/NAME is there; other relative names are
// below MAILVAR.
func (l *loader) open(name string) (io.ReadCloser, error) {
	rest, library := strings.CutPrefix(name, "cf/")
	switch {
	case filepath.IsAbs(name):
		return l.read(name)
	case library && l.pure:
		return l.stock(rest)
	}
	r, err := l.read(l.p.conf.Path(name))
	if library && errors.Is(err, fs.ErrNotExist) {
		return l.stock(rest)
	}
	return r, err
}

// read opens a regular file. While the configuration is loaded the file is a part of
// the version; what a function reads for a message is not, and is as it is now.
func (l *loader) read(path string) (io.ReadCloser, error) {
	if l.loaded {
		return shell.FileOpener(path)
	}
	l.p.sources = append(l.p.sources, look(path))
	f, err := shell.FileOpener(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxListFile+1))
	if err == nil && len(text) > maxListFile {
		err = fmt.Errorf("larger than %d bytes", maxListFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return l.add(path, text), nil
}

func (l *loader) stock(name string) (io.ReadCloser, error) {
	text, err := cf.Files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if l.loaded {
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	return l.add("cf/"+name, text), nil
}

// add makes text a part of the version's hash.
func (l *loader) add(name string, text []byte) io.ReadCloser {
	fmt.Fprintf(l.hash, "%s %d\n", name, len(text))
	l.hash.Write(text)
	return io.NopCloser(bytes.NewReader(text))
}
