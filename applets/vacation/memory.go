package vacation

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A memory is the file of senders that were answered. It is text:
//
//	vacation 1 INTERVAL   seconds, "-" not set, or "forever"
//	TIME ADDRESS          answered; a later line counts
//	! ADDRESS             never answered, an address or @domain
//
// It is appended to under a lock (flock). A torn last line is passed over. When
// it has grown much beyond what counts it is written anew and renamed, so
// whoever gets the lock looks whether his file is still the one of that name.
type memory struct {
	path     string
	interval time.Duration // of the caller; negative: what the file says
	usual    time.Duration // when neither says one
	now      func() time.Time
}

const (
	magic      = "vacation 1 "
	maxMemory  = 16 << 20 // bytes read
	spare      = 1000     // lines that may be obsolete
	maxSenders = 100_000
)

var errForeign = errors.New("not a memory of vacation: remove it, or name another file with -f")

// A book is the memory while it is locked.
type book struct {
	*memory
	f        *os.File
	interval time.Duration    // that counts
	own      time.Duration    // of the file, negative if it has none
	answered map[string]int64 // seconds since 1970
	excluded map[string]bool
	lines    int
	torn     bool // the last line has no end
}

// open locks the memory and reads it; a missing one is made.
func (m *memory) open() (*book, error) {
	for range 100 {
		f, err := os.OpenFile(m.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		current, err := lock(f, m.path)
		if err == nil && current {
			b := &book{memory: m, f: f}
			if err = b.read(); err == nil {
				return b, nil
			}
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", m.path, err)
		}
	}
	return nil, fmt.Errorf("%s: replaced again and again", m.path)
}

// lock locks f and reports whether it is still the file at path.
func lock(f *os.File, path string) (current bool, err error) {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return false, fmt.Errorf("lock: %w", err)
	}
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !mine.Mode().IsRegular() {
		return false, errors.New("not a regular file")
	}
	there, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, there), err
}

func (b *book) close() error { return b.f.Close() }

func (b *book) read() error {
	text, err := io.ReadAll(io.LimitReader(b.f, maxMemory+1))
	if err != nil {
		return err
	}
	if len(text) > maxMemory {
		return fmt.Errorf("larger than %d bytes", maxMemory)
	}
	b.answered, b.excluded = make(map[string]int64), make(map[string]bool)
	b.own, b.interval = -1, b.usual
	if len(text) == 0 {
		return b.begin()
	}
	first, rest, ok := bytes.Cut(text, []byte("\n"))
	if !bytes.HasPrefix(first, []byte(magic)) || !ok {
		return errForeign
	}
	b.setInterval(string(first[len(magic):]))
	b.torn = len(rest) > 0 && rest[len(rest)-1] != '\n'
	for len(rest) > 0 {
		var line []byte
		if line, rest, ok = bytes.Cut(rest, []byte("\n")); ok {
			b.line(string(line))
		}
	}
	return nil
}

// begin writes the first line of a new file.
func (b *book) begin() error {
	_, err := b.f.WriteString(magic + intervalText(b.own) + "\n")
	b.setInterval("-")
	return err
}

// setInterval reads the file's interval and decides which one counts.
func (b *book) setInterval(text string) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 && n < int64(forever/time.Second) {
		b.own = time.Duration(n) * time.Second
	} else if text == "forever" {
		b.own = forever
	}
	switch {
	case b.memory.interval >= 0:
		b.interval = b.memory.interval
	case b.own >= 0:
		b.interval = b.own
	}
}

func intervalText(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case d == forever:
		return "forever"
	}
	return strconv.FormatInt(int64(d/time.Second), 10)
}

// line reads an entry; what it does not know says nothing.
func (b *book) line(text string) {
	b.lines++
	mark, addr, ok := strings.Cut(text, " ")
	if !ok || addr == "" {
		return
	}
	if mark == "!" {
		b.excluded[addr] = true
		return
	}
	if t, err := strconv.ParseInt(mark, 10, 64); err == nil {
		b.answered[addr] = t
	}
}

// silence returns why the sender must not be answered now, or "".
func (b *book) silence(key string) string {
	if b.excluded[key] {
		return "the sender is excluded"
	}
	// An exclusion of a domain holds below it too.
	for _, domain, _ := strings.Cut(key, "@"); domain != ""; _, domain, _ = strings.Cut(domain, ".") {
		if b.excluded["@"+domain] {
			return "the sender's domain is excluded"
		}
	}
	last, ok := b.answered[key]
	if ok && b.counts(last) {
		return "answered on " + time.Unix(last, 0).Format(time.DateTime)
	}
	return ""
}

// counts says whether an answer of that time still keeps from another one. One
// that lies further ahead than an interval was made by a wrong clock.
func (b *book) counts(last int64) bool {
	ago := b.now().Unix() - last
	limit := int64(b.interval / time.Second)
	return b.interval > 0 && ago < limit && -ago <= limit
}

// note remembers that the sender was answered now.
func (b *book) note(key string) error {
	b.answered[key] = b.now().Unix()
	if b.lines > len(b.answered)+len(b.excluded)+spare || len(b.answered) > maxSenders {
		return b.compact()
	}
	return b.append(entry(b.answered[key], key))
}

func entry(t int64, addr string) string { return strconv.FormatInt(t, 10) + " " + addr + "\n" }

func (b *book) append(text string) error {
	if b.torn {
		text = "\n" + text
	}
	if _, err := b.f.WriteString(text); err != nil {
		return err
	}
	b.torn = false // not synced: what a power cut takes costs a second answer
	return nil
}

// compact writes the memory anew with the entries that count.
func (b *book) compact() error {
	keys := make([]string, 0, len(b.answered))
	for key, t := range b.answered {
		if b.counts(t) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(x, y string) int { return int(b.answered[x] - b.answered[y]) })
	if len(keys) > maxSenders {
		keys = keys[len(keys)-maxSenders:]
	}
	var text bytes.Buffer
	text.WriteString(magic + intervalText(b.own) + "\n")
	for addr := range b.excluded {
		text.WriteString("! " + addr + "\n")
	}
	for _, key := range keys {
		text.WriteString(entry(b.answered[key], key))
	}
	return b.replace(text.Bytes())
}

// replace puts a new file in the place of the locked one.
func (b *book) replace(text []byte) (err error) {
	tmp := b.path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, b.path)
}

// reset forgets who was answered. A file of another kind is left alone.
func (m *memory) reset(interval time.Duration) error {
	b, err := m.open()
	if err != nil {
		return err
	}
	clear(b.answered)
	b.own = interval
	return errors.Join(b.compact(), b.close())
}

// exclude reads addresses and @domains, one a line, that are never answered.
func (m *memory) exclude(in io.Reader) error {
	b, err := m.open()
	if err != nil {
		return err
	}
	var text strings.Builder
	sc := bufio.NewScanner(io.LimitReader(in, maxMemory))
	for sc.Scan() {
		addr := strings.ToLower(strings.TrimSpace(sc.Text()))
		if addr != "" && addr[0] != '#' && !strings.ContainsAny(addr, " \t\r") && !b.excluded[addr] {
			text.WriteString("! " + addr + "\n")
		}
	}
	err = sc.Err()
	if err == nil && text.Len() > 0 {
		err = b.append(text.String())
	}
	return errors.Join(err, b.close())
}

// list prints the memory, the latest answers last.
func (m *memory) list(out io.Writer) error {
	b, err := m.open()
	if err != nil {
		return err
	}
	defer b.close() // nothing was written
	w := bufio.NewWriter(out)
	for _, addr := range sortedKeys(b.excluded) {
		fmt.Fprintf(w, "%-40s never\n", addr)
	}
	keys := make([]string, 0, len(b.answered))
	for key := range b.answered {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(x, y string) int {
		if d := b.answered[x] - b.answered[y]; d != 0 {
			return int(d)
		}
		return strings.Compare(x, y)
	})
	for _, key := range keys {
		fmt.Fprintf(w, "%-40s %s\n", key, time.Unix(b.answered[key], 0).Format(time.DateTime))
	}
	return w.Flush()
}

func sortedKeys(m map[string]bool) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
