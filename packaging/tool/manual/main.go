// Manual makes the manual pages that are written as Markdown elsewhere in the tree,
// so that there is one text of each.
//
//	go run ./manual [-check] ../..
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

// A page is a manual page and the file it is made of.
type page struct{ source, name, section, what string }

var pages = []page{
	{"shellcfg/LANGUAGE.md", "zmailer-policy", "7", "the shell of zmailer's configuration and policy"},
	{"shellcfg/relations/TABLES.md", "zmailer-tables", "7", "lookup tables of zmailer"},
	{"agents/PROTOCOL.md", "zmailer-agent", "7", "how to write a transport agent"},
	{"spool/FORMAT.md", "zmailer-spool", "5", "files of zmailer's spool"},
}

func main() {
	check := flag.Bool("check", false, "fail if a page is not up to date, and write nothing")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: manual [-check] DIR")
		os.Exit(64)
	}
	for _, p := range pages {
		if err := p.make(flag.Arg(0), *check); err != nil {
			fmt.Fprintln(os.Stderr, "manual:", err)
			os.Exit(1)
		}
	}
}

func (p page) make(root string, check bool) error {
	text, err := os.ReadFile(filepath.Join(root, p.source))
	if err != nil {
		return err
	}
	path := filepath.Join(root, "packaging/man", p.name+"."+p.section)
	page := p.render(string(text))
	if !check {
		return os.WriteFile(path, page, 0o644)
	}
	if old, err := os.ReadFile(path); err != nil || !bytes.Equal(old, page) {
		return fmt.Errorf("%s does not match %s: run go run ./manual ../.. in packaging/tool", path, p.source)
	}
	return nil
}

// render puts the sections that a manual page has around the text: its title
// becomes the description, its headings keep their order.
func (p page) render(text string) []byte {
	title, body, _ := strings.Cut(text, "\n")
	var out strings.Builder
	fmt.Fprintf(&out, "%% %s %s 2026-11-25\n\n# NAME\n\n%s - %s\n\n# DESCRIPTION\n\n**%s**\n\n", p.name, p.section, p.name, p.what,
		strings.TrimLeft(title, "# "))
	code, rows := false, table{}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if !code && strings.HasPrefix(line, "##") {
			line = line[1:] // a part of the text is a section of the page
		}
		if !code {
			line = rows.line(line)
		}
		out.WriteString(line)
	}
	note := []byte(".\\\" Made by packaging/tool/manual of " + p.source + ".\n")
	return append(note, md2man.Render([]byte(out.String()))...)
}
