package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Version is the version of the spool's layout and files. The file "version" of a spool
// names it. A program reads its own version and all before it, and refuses a later one
// without touching anything: it could not know what its files mean.
const Version = 1

// VersionFile is the name of the file. Spools from before there was one have none.
const VersionFile = "version"

// ErrVersion means that a spool is of a later program.
var ErrVersion = errors.New("the spool is of a later program, and is left as it is: install that one again")

// ReadVersion is the version of the spool at root: 1 where there is no file. Another than
// this program knows is ErrVersion.
func ReadVersion(root string) (int, error) {
	f, err := os.Open(filepath.Join(root, VersionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0, err
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || v < 1 {
		return 0, fmt.Errorf("%s says %q: %w", VersionFile, b, ErrVersion)
	}
	if v > Version {
		return v, fmt.Errorf("version %d, this program knows %d: %w", v, Version, ErrVersion)
	}
	return v, nil
}

// makeVersion writes the file of a new spool, and of one from before there was a file.
func makeVersion(root string) error {
	path := filepath.Join(root, VersionFile)
	if _, err := os.Lstat(path); err == nil {
		_, err := ReadVersion(root)
		return err
	}
	return os.WriteFile(path, []byte(strconv.Itoa(Version)+"\n"), 0o644)
}
