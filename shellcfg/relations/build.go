package relations

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"zmailer/shellcfg/internal/watch"
	"zmailer/shellcfg/relations/cdb"
)

// maxSource bounds the sources of a compiled table, which are held in memory
// while it is made.
const maxSource = 2 << 30

// sourceKey is the record in which a compiled table says what it was made of:
// a line "mtime size path" for each source. No lookup can ask for it, as keys
// with a NUL byte are not looked up.
const sourceKey = "\x00source"

// BuildStats is what newaliases reports.
type BuildStats struct {
	Entries int
	Longest int   // bytes of the longest value
	Bytes   int64 // of all keys and values
}

// BuildAliases compiles files in Sendmail's aliases format to the cdb table
// dst. The table in use is replaced when the new one is complete and on disk;
// if any line of any file is bad, or a key occurs twice, all such lines are in
// the error and the table stays as it was. Progress, if not nil, is told now
// and then how many of how many source bytes are done.
func BuildAliases(src []string, dst string, progress func(done, total int64)) (BuildStats, error) {
	return build(src, dst, progress, func(data, name string, bad *problems, emit func(alias)) {
		parseAliases(data, name, bad, func(a alias) {
			a.key = lower(a.key)
			emit(a)
		})
	})
}

// BuildText compiles files of keys and values, as type text has them, for a
// cdb table that is declared with the -l, -u and -d of s: the keys are stored
// in the form in which they will be looked up. The rest is as in BuildAliases.
func BuildText(src []string, dst string, s Spec, progress func(done, total int64)) (BuildStats, error) {
	drv, err := findDriver(s.Driver)
	if err != nil {
		return BuildStats{}, err
	}
	norm := keyNorm(foldFunc(s, kinds["text"]), drv)
	return build(src, dst, progress, func(data, name string, bad *problems, emit func(alias)) {
		eachText(data, name, norm, bad, func(key, value string, line int) { emit(alias{key, value, line}) })
	})
}

type parser func(data, name string, bad *problems, emit func(alias))

// builder makes one compiled table.
type builder struct {
	w     *cdb.Writer
	files []sourceFile
	total int64
	seen  map[string]place
	bad   problems
	stats BuildStats
	err   error // of writing
}

type sourceFile struct {
	name, data string
	state      watch.State
}

type place struct{ file, line int32 }

func build(src []string, dst string, progress func(done, total int64), parse parser) (BuildStats, error) {
	b := &builder{}
	if err := b.read(src); err != nil {
		return BuildStats{}, err
	}
	w, err := cdb.Create(dst)
	if err != nil {
		return BuildStats{}, err
	}
	b.w = w
	if progress == nil {
		progress = func(done, total int64) {}
	}
	if err := b.fill(parse, progress); err != nil {
		return BuildStats{}, errors.Join(err, w.Abort())
	}
	if err := w.Commit(); err != nil {
		return BuildStats{}, err
	}
	progress(b.total, b.total)
	return b.stats, nil
}

func (b *builder) read(src []string) error {
	for _, path := range src {
		path, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		data, st, err := readSource(path)
		if err != nil {
			return err
		}
		b.files = append(b.files, sourceFile{path, data, st})
		if b.total += int64(len(data)); b.total > maxSource {
			return fmt.Errorf("sources of more than %d bytes", int64(maxSource))
		}
	}
	return nil
}

func readSource(path string) (data string, st watch.State, err error) {
	f, st, err := watch.Open(path)
	if err != nil {
		return "", st, err
	}
	data, err = slurp(f, st, maxSource)
	if now, serr := watch.Stat(path); err == nil && (serr != nil || now != st) {
		err = fmt.Errorf("%s: changed while it was read", path)
	}
	return data, st, errors.Join(err, f.Close())
}

func (b *builder) fill(parse parser, progress func(done, total int64)) error {
	lines := 0
	for _, f := range b.files {
		lines += strings.Count(f.data, "\n") + 1
	}
	b.seen = make(map[string]place, lines)
	done := int64(0)
	for i, f := range b.files {
		parse(f.data, f.name, &b.bad, func(a alias) {
			b.add(i, a)
			if b.stats.Entries%10000 == 0 {
				progress(done+int64(len(f.data))*int64(a.line)/int64(lines+1), b.total)
			}
		})
		done += int64(len(f.data))
		progress(done, b.total)
	}
	if err := errors.Join(b.bad.err(), b.err); err != nil {
		return err
	}
	return b.w.Put(sourceKey, formatSources(b.files))
}

func (b *builder) add(file int, a alias) {
	if old, dup := b.seen[a.key]; dup {
		b.bad.add(b.files[file].name, a.line, "%q again, it is already in %s:%d", clip(a.key), b.files[old.file].name, old.line)
		return
	}
	b.seen[a.key] = place{int32(file), int32(a.line)}
	b.stats.Entries++
	b.stats.Longest = max(b.stats.Longest, len(a.value))
	b.stats.Bytes += int64(len(a.key) + len(a.value))
	if b.err == nil {
		b.err = b.w.Put(a.key, a.value)
	}
}

func formatSources(files []sourceFile) string {
	var s strings.Builder
	for _, f := range files {
		fmt.Fprintf(&s, "%d %d %s\n", f.state.Mtime, f.state.Size, f.name)
	}
	return s.String()
}

// made is a source as it was when a table was compiled.
type made struct {
	path        string
	mtime, size int64
}

func parseSources(text string) (out []made, err error) {
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		f := strings.SplitN(sc.Text(), " ", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("bad record of sources: %q", clip(sc.Text()))
		}
		mtime, err1 := strconv.ParseInt(f[0], 10, 64)
		size, err2 := strconv.ParseInt(f[1], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		out = append(out, made{f[2], mtime, size})
	}
	return out, sc.Err()
}

// changed tells whether the source is there and is another one now. A source
// that is gone is no reason to distrust what was made of it.
func (m made) changed() bool {
	st, err := watch.Stat(m.path)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	return err != nil || st.Mtime != m.mtime || st.Size != m.size
}
