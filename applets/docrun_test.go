package applets

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
	"mvdan.cc/sh/v3/syntax"
)

// TestDocsRun runs each page: testdata/docs/PAGE.txtar makes the world that the page
// speaks of, and then says "page".
func TestDocsRun(t *testing.T) {
	if testing.Short() {
		t.Skip("real daemons, as in TestScripts")
	}
	var scripts []string
	total, left := 0, 0
	for _, name := range pageNames(t) {
		blocks, err := pageBlocks(name)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, b := range blocks {
			if total++; b.check(t) {
				left++
			}
		}
		if len(blocks) > 0 {
			scripts = append(scripts, filepath.Join("../testdata/docs", strings.TrimSuffix(filepath.Base(name), ".md")+".txtar"))
		}
	}
	t.Logf("%d blocks, %d of them not run", total, left)
	if t.Failed() {
		return
	}
	params := scriptParams()
	params.Files = scripts
	testscript.Run(t, params)
}

// check sees to it that the block is of a kind that is run, or says why not; what is
// not run parses at least.
func (b *block) check(t *testing.T) (left bool) {
	why, left := b.noRun()
	kind, _, _ := strings.Cut(b.info, " no-run:")
	switch {
	case left && strings.TrimSpace(why) == "":
		t.Errorf("%s: no-run, and no reason", b.where())
	case !left && b.runner() == nil:
		t.Errorf("%s: it is not known how to run %q", b.where(), b.info)
	case kind == "sh" || strings.HasPrefix(kind, "sh "):
		if _, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(b.text), b.where()); err != nil {
			t.Error(err)
		}
	}
	return left
}

// runner returns what runs the block, nil if that is not known.
func (b *block) runner() func(*pageRun, *block) {
	kind, file, _ := strings.Cut(b.info, " ")
	switch {
	case b.info == "sh":
		return (*pageRun).commands
	case b.info == "console":
		return (*pageRun).console
	case b.info == "sh test":
		return (*pageRun).policyTest
	case b.info == "text mailq -ss":
		return (*pageRun).reportPart
	case kind == "sh" && slices.Contains([]string{"zmailer.conf", "router.cf", "scheduler.conf", "smtpserver.conf", "sm.conf"}, file),
		kind == "text" && strings.HasPrefix(file, "db/"):
		return (*pageRun).configuration
	case kind == "python" && file != "":
		return (*pageRun).agent
	case b.info == "dns":
		return (*pageRun).zone
	}
	return nil
}

// A pageRun is one page at work.
type pageRun struct {
	ts     *testscript.TestScript
	check  string            // what a piece of configuration has to pass
	ids    map[string]string // of the page: the real ones
	report []string          // parts of the status report that the page has shown
	status []string          // the real ones, as commands of the page printed them

	real, shown *strings.Replacer // paths, from the page's to the test's and back
}

// pageCmd is the script command "page NAME [CHECK]".
func pageCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: page NAME [CHECK]")
	}
	blocks, err := pageBlocks(args[0])
	ts.Check(err)
	p := &pageRun{ts: ts, ids: make(map[string]string), check: "zmailer check && zmailer scheduler --check && zmailer explain --brief root"}
	if len(args) == 2 {
		p.check = args[1]
	}
	work := ts.Getenv("WORK")
	var real, shown []string
	for _, pair := range [][2]string{
		{"/var/spool/postoffice", ts.Getenv("SPOOL")}, {"/var/log/zmailer", ts.Getenv("LOGS")},
		{"/etc/aliases", ts.Getenv("ETC") + "/db/aliases"}, {"/etc/zmailer", ts.Getenv("ETC")},
		{"./try/", work + "/z/"}, {"/etc/ssl", work + "/ssl"}, {"/root/", work + "/root/"}, {"/tmp/", work + "/tmp/"},
	} {
		real, shown = append(real, pair[0], pair[1]), append(shown, pair[1], pair[0])
	}
	p.real, p.shown = strings.NewReplacer(real...), strings.NewReplacer(shown...)
	for _, b := range blocks {
		if _, left := b.noRun(); !left {
			b.runner()(p, b)
		}
	}
	if p.report != nil {
		p.compareReport()
	}
}

// id is the id that one of the page stands for: the message that came last when the
// page named it first.
func (p *pageRun) id(shown string) string {
	if id := p.ids[shown]; id != "" {
		return id
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(30 * time.Millisecond) {
		logged, err := os.ReadFile(filepath.Join(p.ts.Getenv("LOGS"), "router"))
		p.ts.Check(err)
		id := ""
		for _, m := range regexp.MustCompile(`msg=routed .*spoolid=(\w+)`).FindAllStringSubmatch(string(logged), -1) {
			id = max(id, m[1]) // they sort by time
		}
		if id != "" {
			p.ids[shown] = id
			return id
		}
	}
	p.ts.Fatalf("%s: no message was routed", shown)
	return ""
}

// command runs a command of a page by the shell.
func (p *pageRun) command(text string) (string, error) {
	cmd := exec.Command("sh", "-ec", pageID.ReplaceAllStringFunc(p.real.Replace(text), p.id))
	cmd.Dir = p.ts.Getenv("WORK")
	for _, name := range []string{"PATH", "HOME", "USER", "ZCONFIG", "WORK", "TMPDIR", "ETC", "LOGS", "SPOOL", "PORT", "SINKPORT"} {
		cmd.Env = append(cmd.Env, name+"="+p.ts.Getenv(name))
	}
	if stdin, err := os.ReadFile(p.ts.MkAbs("stdin")); err == nil { // what somebody would type
		cmd.Stdin = strings.NewReader(string(stdin))
	}
	b, err := cmd.CombinedOutput()
	out := p.shown.Replace(string(b))
	if text == "mailq -ss" {
		p.status = append(p.status, out)
	}
	return out, err
}

// commands runs a block of commands, each of which must succeed.
func (p *pageRun) commands(b *block) {
	f, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(b.text), b.where())
	p.ts.Check(err)
	for _, stmt := range f.Stmts {
		p.do(b, b.text[stmt.Pos().Offset():stmt.End().Offset()], func(_ []string, err error) bool { return err == nil })
	}
}

// do runs a command until what it prints is right; one that changes something just once.
func (p *pageRun) do(b *block, text string, right func(out []string, err error) bool) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := p.command(text)
		var lines []string
		if out = strings.TrimSuffix(out, "\n"); out != "" {
			lines = strings.Split(out, "\n")
		}
		if right(lines, err) {
			p.ts.Logf("%s: %s\n%s", b.where(), text, out)
			return
		}
		if !looks.MatchString(text) || time.Now().After(deadline) {
			p.ts.Fatalf("%s: %s: %v\n%s", b.where(), text, err, out)
		}
	}
}

// looks are commands that change nothing: what they show may take a moment to come.
var looks = regexp.MustCompile(`^(\S*/)?(mailq|grep|cat|zmailer (show|trace|status|tables|explain))\b`)

// console runs a block of "$ command" with the output of each.
func (p *pageRun) console(b *block) {
	lines := b.lines()
	for len(lines) > 0 {
		text, ok := strings.CutPrefix(lines[0], "$ ")
		if !ok {
			p.ts.Fatalf("%s: want \"$ command\", and find %q", b.where(), lines[0])
		}
		n := 1
		for n < len(lines) && !strings.HasPrefix(lines[n], "$ ") {
			n++
		}
		want := lines[1:n]
		lines = lines[n:]
		p.do(b, text, func(got []string, err error) bool { return sameLines(want, got) && (err == nil || len(want) > 0) })
	}
}

// configuration adds a piece of a file to the instance, which must still be right.
func (p *pageRun) configuration(b *block) {
	_, file, _ := strings.Cut(b.info, " ")
	path := filepath.Join(p.ts.Getenv("ETC"), file)
	before, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		p.ts.Fatalf("%v", err)
	}
	p.ts.Check(os.WriteFile(path, []byte(string(before)+"\n"+p.real.Replace(b.text)), 0o644))
	if out, err := p.command(p.check); err != nil {
		p.ts.Fatalf("%s: %s: %v\n%s", b.where(), file, err, out)
	}
}

// policyTest adds tests of the policy, which must pass.
func (p *pageRun) policyTest(b *block) {
	dir := filepath.Join(p.ts.Getenv("ETC"), "tests")
	p.ts.Check(os.MkdirAll(dir, 0o755))
	file := fmt.Sprintf("page%d.test", b.line)
	p.ts.Check(os.WriteFile(filepath.Join(dir, file), []byte(b.text), 0o644))
	if out, err := p.command("zmailer test /etc/zmailer/tests/" + file); err != nil || strings.HasPrefix(out, "0 passed") {
		p.ts.Fatalf("%s: %v\n%s", b.where(), err, out)
	}
}

func (p *pageRun) agent(b *block) {
	_, file, _ := strings.Cut(b.info, " ")
	python, err := exec.LookPath("python3")
	if err != nil {
		p.ts.Logf("%s: no Python here", b.where())
		return
	}
	p.ts.Check(os.WriteFile(p.ts.MkAbs(file), []byte("#!"+python+"\n"+b.text), 0o755))
}

func (p *pageRun) zone(b *block) {
	z := dns.NewZoneParser(strings.NewReader(b.text), "", b.where())
	n := 0
	for _, ok := z.Next(); ok; _, ok = z.Next() {
		n++
	}
	if z.Err() != nil || n == 0 {
		p.ts.Fatalf("%s: %d records: %v", b.where(), n, z.Err())
	}
}

func (p *pageRun) reportPart(b *block) { p.report = append(p.report, b.lines()...) }

// compareReport compares the parts of "mailq -ss" on the page with a real one: each has
// the lines of the other, in the same order. It can be one of those that the page's
// commands printed, since they may have ended what there was to report.
func (p *pageRun) compareReport() {
	label := func(lines []string) (list []string) {
		for _, line := range lines {
			list = append(list, strings.TrimSpace(fmt.Sprintf("%-12.12s", line)))
		}
		return list
	}
	want := label(p.report)
	var got []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		p.command("mailq -ss") // its status is about the mailer
		for _, out := range p.status {
			got = label(strings.Split(strings.TrimSuffix(out, "\n"), "\n"))
			if slices.Equal(got, want) {
				return
			}
		}
		p.status = p.status[:0]
	}
	p.ts.Fatalf("mailq -ss has the lines\n%s\nand the page\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
}
