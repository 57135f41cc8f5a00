package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// A result is a configuration in the making.
type result struct {
	stock    map[string]string
	files    map[string]*strings.Builder // by name below the directory
	replaced map[string]string           // stock files with changes
	secrets  map[string]bool
	aliases  []string
	skipped  []string
	notes    []string
	seen     map[string]string // "table key": where
}

// authPlace stands for the file of passwords until it is known where it will be.
const authPlace = "@AUTH@"

func newResult(stock map[string]string) *result {
	r := &result{stock: stock, files: make(map[string]*strings.Builder), replaced: make(map[string]string), secrets: make(map[string]bool), seen: make(map[string]string)}
	r.add("zmailer.conf", "# What all programs of the mailer share: assignments, in the syntax of the shell.")
	return r
}

func (r *result) add(name, line string) {
	b := r.files[name]
	if b == nil {
		b = new(strings.Builder)
		r.files[name] = b
	}
	b.WriteString(line + "\n")
}

// source is a comment that says where a line comes from.
func source(where string) string {
	if where == "" {
		return "a default"
	}
	return where
}

func (r *result) conf(name, value, where string) {
	r.add("zmailer.conf", fmt.Sprintf("%s='%s' # %s", name, strings.ReplaceAll(value, "'", `'\''`), source(where)))
}

// table adds an entry. The first of a key counts, as it did before.
func (r *result) table(file, key, value, where string) {
	key = strings.ToLower(key)
	if strings.ContainsAny(key+value, "\n\r\x00") || key == "" {
		r.skip(where, "%s: %q cannot be a line of a table", file, key)
		return
	}
	if first, again := r.seen[file+" "+key]; again {
		r.note(where, "%s is in %s already, from %s", key, file, first)
		return
	}
	r.seen[file+" "+key] = source(where)
	r.add(file, "# "+source(where)+"\n"+strings.TrimSpace(key+"\t"+value))
}

func (r *result) server(line, where string) {
	r.add("smtpserver.conf", line+" # "+source(where))
}

// relay replaces the networks of the stock file.
func (r *result) relay(nets []string, where string) {
	line := "relay_for " + strings.Join(nets, " ") + " # " + source(where)
	if len(nets) == 0 {
		line = "# nobody may relay: " + source(where)
	}
	r.replace("smtpserver.conf", "relay_for 127.0.0.0/8 ::1", line)
}

// defaults adds to the defaults of scheduler.conf.
func (r *result) defaults(text, where string) {
	conf, ok := r.replaced["scheduler.conf"]
	if !ok {
		conf = r.stock["scheduler.conf"]
	}
	r.replaced["scheduler.conf"] = setAttribute(conf, text)
	r.note(where, "%s of all mail, in scheduler.conf", text)
}

// setAttribute sets key=value in the default clause, whose lines go on with a
// backslash.
func setAttribute(conf, text string) string {
	key, _, _ := strings.Cut(text, "=")
	i := strings.Index(conf, "\nmatch '*/*' ")
	if i < 0 {
		return conf
	}
	head, clause := conf[:i+1], conf[i+1:]
	end := 0
	for {
		n := strings.IndexByte(clause[end:], '\n')
		if n < 0 {
			end = len(clause)
			break
		}
		end += n + 1
		if !strings.HasSuffix(clause[:end], "\\\n") {
			break
		}
	}
	clause, tail := clause[:end], clause[end:]
	old := regexp.MustCompile(`([ \t])` + regexp.QuoteMeta(key) + `=\S*`)
	if old.MatchString(clause) {
		return head + old.ReplaceAllString(clause, "${1}"+text) + tail
	}
	return head + strings.Replace(clause, "match '*/*' ", "match '*/*' "+text+" ", 1) + tail
}

// replace changes the stock text of a file.
func (r *result) replace(file, from, to string) {
	text, ok := r.replaced[file]
	if !ok {
		text = r.stock[file]
	}
	if !strings.Contains(text, from) {
		r.skip(file, "no %q to put %q in its place", from, to)
	}
	r.replaced[file] = strings.Replace(text, from, to, 1)
}

func (r *result) secret(file, line string) {
	r.secrets[file] = true
	r.add(file, line)
}

func (r *result) alias(path string) { r.aliases = append(r.aliases, path) }

func (r *result) skip(where, format string, args ...any) {
	r.skipped = append(r.skipped, source(where)+": "+fmt.Sprintf(format, args...))
}

func (r *result) note(where, format string, args ...any) {
	r.notes = append(r.notes, source(where)+": "+fmt.Sprintf(format, args...))
}

// write makes dir, which must not be there, with all files.
func (r *result) write(dir, final string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o755); err != nil {
		return err
	}
	texts := make(map[string]string)
	for name, text := range r.replaced {
		texts[name] = text
	}
	for name, b := range r.files {
		if _, ok := texts[name]; !ok && name != "zmailer.conf" {
			texts[name] = r.stock[name]
		}
		texts[name] += b.String()
	}
	if _, ok := texts["router.cf"]; !ok {
		texts["router.cf"] = r.stock["router.cf"]
	}
	for name, text := range texts {
		mode := fs.FileMode(0o644)
		if r.secrets[name] {
			mode = 0o600
		}
		text = strings.ReplaceAll(text, authPlace, filepath.Join(final, "smarthost.auth"))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			return err
		}
	}
	return r.writeAliases(dir)
}

// writeAliases links db/aliases to the only file of aliases, or copies several into
// one.
func (r *result) writeAliases(dir string) error {
	to := filepath.Join(dir, "db/aliases")
	if len(r.aliases) == 1 {
		return os.Symlink(r.aliases[0], to)
	}
	var b strings.Builder
	for _, path := range r.aliases {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "# %s\n%s\n", path, text)
	}
	return os.WriteFile(to, []byte(b.String()), 0o644)
}

func sortedKeys(m map[string]string) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	sort.Strings(list)
	return list
}
