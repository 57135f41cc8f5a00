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

	"zmailer/shellcfg"
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

	smtpOptions []string            // of the agent for other hosts
	lmtp        bool                // some routes need an agent for LMTP
	hooks       map[string][]string // of smtpserver.conf: commands by function
	aliasText   strings.Builder     // aliases that stand in no file of aliases
}

// authPlace stands for the file of passwords until it is known where it will be.
const authPlace = "@AUTH@"

func newResult(stock map[string]string) *result {
	r := &result{stock: stock, files: make(map[string]*strings.Builder), replaced: make(map[string]string), secrets: make(map[string]bool), seen: make(map[string]string), hooks: make(map[string][]string)}
	r.add("zmailer.conf", "# What all programs of the mailer share: assignments, in the syntax of the shell.")
	r.add("zmailer.conf", fmt.Sprintf("CONFVERSION=%d", shellcfg.ConfVersion))
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

// agents has the smtp agent called with its options, and one for LMTP.
func (r *result) agents() {
	if len(r.smtpOptions) > 0 {
		r.replace("scheduler.conf", "command='smtp'", "command='smtp "+strings.Join(r.smtpOptions, " ")+"'")
	}
	if r.lmtp {
		r.add("scheduler.conf", "\n# LMTP, for db/routes\nmatch 'lmtp/*' maxring=2 maxthr=20 command='smtp -M -p 24'")
	}
}

// route remembers what a route needs.
func (r *result) route(hop string) { r.lmtp = r.lmtp || strings.HasPrefix(hop, "lmtp!") }

// mailbox sets the place of mailboxes: a path that ends with a slash is a Maildir.
func (r *result) mailbox(path, where string) {
	kind := "mbox:"
	if strings.HasSuffix(path, "/") {
		kind, path = "maildir:", strings.TrimRight(path, "/")
	}
	r.conf("MAILBOX", kind+path, where)
}

// policy adds a function to router.cf, in the place of the stock one.
func (r *result) policy(text, where string) {
	r.add("router.cf", "\n# "+source(where)+"\n"+text)
}

// password keeps a login at another host for the smtp agent.
func (r *result) password(host, user, password, where string) {
	if strings.ContainsAny(host+user, " \t\n\r") || strings.ContainsAny(password, "\n\r") || host == "" || user == "" || password == "" {
		r.skip(where, "the login at %s cannot be a line of smarthost.auth", host)
		return
	}
	if len(r.secrets) == 0 {
		r.smtpOptions = append(r.smtpOptions, "-A "+authPlace)
	}
	r.secret("smarthost.auth", host+" "+user+" "+password)
}

// aliasEntry adds an alias.
func (r *result) aliasEntry(key, value, where string) {
	if strings.ContainsAny(key+value, "\n\r\x00:") {
		r.skip(where, "alias %.100q", key)
		return
	}
	fmt.Fprintf(&r.aliasText, "# %s\n%s: %s\n", source(where), key, value)
}

// hook adds a line to a function of smtpserver.conf.
func (r *result) hook(function, line, where string) {
	r.hooks[function] = append(r.hooks[function], "\t"+line+" # "+source(where))
}

// hookSender refuses, or with verdict "relay" lets through, what key matches: an
// address, a domain with all below it, or USER@. It tells whether key is of that kind.
func (r *result) hookSender(function, variable, key, verdict, where string) bool {
	if key == "" || strings.Trim(strings.ToLower(key), "abcdefghijklmnopqrstuvwxyz0123456789._+-=@") != "" || strings.Count(key, "@") > 1 {
		return false
	}
	key = strings.ToLower(key)
	pattern := key
	switch {
	case strings.HasPrefix(key, "@"):
		pattern = "*" + key
	case strings.HasSuffix(key, "@"):
		pattern = key + "*"
	case !strings.Contains(key, "@"):
		key = strings.TrimPrefix(key, ".")
		pattern = "*@" + key + " | *." + key
	}
	r.hook(function, "case ${"+variable+",,} in "+pattern+") "+verdict+" ;; esac", where)
	return true
}

// writeHooks puts the functions into smtpserver.conf.
func (r *result) writeHooks() {
	for _, name := range []string{"smtp_connect", "smtp_mail", "smtp_rcpt"} {
		if lines := r.hooks[name]; len(lines) > 0 {
			r.add("smtpserver.conf", "\n"+name+"() {\n"+strings.Join(lines, "\n")+"\n\treturn 0\n}")
		}
	}
}

// refusal is the command that refuses with a text of the other mailer, which may begin
// with codes.
func refusal(text string) string {
	code, status := "550", "5.7.1"
	for {
		word, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
		switch {
		case len(word) == 3 && strings.Trim(word, "0123456789") == "" && (word[0] == '4' || word[0] == '5'):
			code = word
		case strings.Count(word, ".") == 2 && strings.Trim(word, "0123456789.") == "" && (word[0] == '4' || word[0] == '5'):
			status = word
		default:
			if text = strings.Trim(strings.TrimSpace(text), `"`); text == "" {
				text = "access denied"
			}
			verb := "reject"
			if code[0] == '4' {
				verb = "defer"
			}
			if code[0] != status[0] {
				status = code[:1] + status[1:]
			}
			return verb + " " + code + " " + status + " " + quoted(text)
		}
		text = rest
	}
}

// quoted is a word for the shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// write makes dir, which must not be there, with all files.
func (r *result) write(dir, final string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o755); err != nil {
		return err
	}
	r.writeHooks()
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
	if len(r.aliases) == 1 && r.aliasText.Len() == 0 && fileExists(r.aliases[0]) {
		path, err := filepath.Abs(r.aliases[0])
		if err != nil {
			return err
		}
		return os.Symlink(path, to)
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
	b.WriteString(r.aliasText.String())
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
