package relations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unsafe"

	"zmailer/shellcfg/internal/watch"
)

// entries are the keys of a file in memory; all strings share the text of the
// file.
type entries struct {
	items    map[string]item
	warnings problems
}

type item struct {
	value string
	line  int
}

// fileTable is a table of keys and values that is read as a whole.
type fileTable struct {
	source[entries]
}

func (t *fileTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	e, err := current(ctx, t.file)
	if err != nil {
		return "", false, err
	}
	it, ok := e.items[key]
	return it.value, ok, nil
}

func (t *fileTable) Check(context.Context) ([]error, error) {
	e, err := t.file.Check()
	if e == nil {
		return nil, err
	}
	return e.warnings.list(), err
}

func (t *fileTable) Len(ctx context.Context) (int, error) {
	e, err := current(ctx, t.file)
	if err != nil {
		return 0, err
	}
	return len(e.items), nil
}

func (t *fileTable) Each(ctx context.Context, f func(Entry) error) error {
	e, err := current(ctx, t.file)
	if err != nil {
		return err
	}
	list := make([]Entry, 0, len(e.items))
	for key, it := range e.items {
		list = append(list, Entry{key, it.value, it.line})
	}
	slices.SortFunc(list, func(a, b Entry) int { return a.Line - b.Line })
	return each(list, f)
}

func each(list []Entry, f func(Entry) error) error {
	for _, e := range list {
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// openText makes a table of lines "key, blanks, value to the end of the
// line". A line whose first character that is not blank is '#' is a comment.
// There is no quoting and no continuation; the value may be empty. Of several
// lines with one key the first counts.
func openText(o *opening) (Table, error) {
	return &fileTable{newSource(o, func(f *os.File, st watch.State) (*entries, error) {
		data, err := slurp(f, st, maxText)
		if err != nil {
			return nil, err
		}
		return parseText(data, f.Name(), o.norm)
	})}, nil
}

func parseText(data, name string, norm normalizer) (*entries, error) {
	e := &entries{items: make(map[string]item, strings.Count(data, "\n")+1)}
	var bad problems
	eachText(data, name, norm, &bad, func(key, value string, line int) { e.put(name, key, value, line) })
	return e, bad.err()
}

// eachText calls f for the entries of a text.
func eachText(data, name string, norm normalizer, bad *problems, f func(key, value string, line int)) {
	eachLine(data, func(n int, line string) {
		key, value, ok := splitText(line)
		if !ok {
			return
		}
		err := boundText(key, value)
		if err == nil {
			key, err = norm(key)
		}
		if err != nil {
			bad.add(name, n, "%w", err)
			return
		}
		f(key, value, n)
	})
}

// put adds an entry unless the key is there already.
func (e *entries) put(name, key, value string, line int) {
	if old, dup := e.items[key]; dup {
		e.warnings.add(name, line, "%q again, the value of line %d counts", key, old.line)
		return
	}
	e.items[key] = item{value, line}
}

func splitText(line string) (key, value string, ok bool) {
	line = strings.Trim(line, " \t\r")
	if line == "" || line[0] == '#' {
		return "", "", false
	}
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return line, "", true
	}
	return line[:i], strings.TrimLeft(line[i:], " \t"), true
}

func boundText(key, value string) error {
	switch {
	case len(key) > maxKey:
		return fmt.Errorf("key of %d bytes, at most %d are allowed", len(key), maxKey)
	case len(value) > maxValue:
		return fmt.Errorf("value of %d bytes, at most %d are allowed", len(value), maxValue)
	case strings.IndexByte(key, 0) >= 0 || strings.IndexByte(value, 0) >= 0:
		return errors.New("NUL byte: this is no text file")
	}
	return nil
}

// eachLine calls f for the lines of a text with their numbers.
func eachLine(data string, f func(n int, line string)) {
	for n := 1; data != ""; n++ {
		line, rest, _ := strings.Cut(data, "\n")
		f(n, line)
		data = rest
	}
}

// slurp reads a file of at most limit bytes into one string.
func slurp(f *os.File, st watch.State, limit int64) (string, error) {
	if st.Size > limit {
		return "", fmt.Errorf("%s: %d bytes long, at most %d are allowed", f.Name(), st.Size, limit)
	}
	b := make([]byte, st.Size)
	if _, err := io.ReadFull(f, b); err != nil {
		return "", fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return unsafe.String(unsafe.SliceData(b), len(b)), nil // b is not written again
}
