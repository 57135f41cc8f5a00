package setup

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// sumsFile records what the stock files looked like when they were installed. A
// file that still has its recorded sum was not edited and may be replaced by a
// newer stock file; any other one belongs to the administrator.
const sumsFile = ".stock"

type sums map[string]string

func readSums(dir, file string) (sums, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return sums{}, nil
	}
	if err != nil {
		return nil, err
	}
	s := sums{}
	for line := range strings.Lines(string(b)) {
		if sum, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			s[name] = sum
		}
	}
	return s, nil
}

func (s sums) write(dir, file string) error {
	var b strings.Builder
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s  %s\n", s[name], name)
	}
	return writeFile(filepath.Join(dir, file), []byte(b.String()), 0o644)
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// place installs a stock file unless the administrator has edited the one that is
// there; then the new one is put beside it as NAME.new. It returns what it did.
func (s sums) place(dir, name string, text []byte) (what string, err error) {
	path := filepath.Join(dir, name)
	have, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		what = "installed"
	case err != nil:
		return "", err
	case sum(have) == sum(text):
		s[name] = sum(text)
		return "unchanged", nil
	case s[name] == sum(have):
		what = "updated"
	default:
		if s[name] == sum(text) {
			return "kept (edited)", nil
		}
		return "kept (edited); the new stock file is " + name + ".new", writeFile(path+".new", text, 0o644)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	s[name] = sum(text)
	return what, writeFile(path, text, 0o644)
}

// writeFile replaces the file at path as a whole.
func writeFile(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
