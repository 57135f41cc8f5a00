package dsn

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"zmailer/spool/rfc5322"
)

// A Form is the text for people in a report. A form file has a line "Subject: ...",
// perhaps a line "Language: ..." with a language tag, an empty line, and then the
// text, in UTF-8. In the subject and the text these stand for facts:
//
//	${host}        name of this host            ${id}        spool id of the message
//	${postmaster}  address of the postmaster    ${arrival}   when the message came
//	${sender}      who sent the message         ${subject}   its subject
//	${recipients}  addresses with reasons       ${until}     when the attempts end
//	${returned}    what is attached
type Form struct {
	Language string // tag of RFC 5646, or empty

	subject, text string
}

// Forms are the forms of an instance, by kind of report.
type Forms [len(kindNames)]*Form

var formVariables = map[string]bool{
	"host": true, "postmaster": true, "sender": true, "recipients": true, "returned": true,
	"id": true, "arrival": true, "subject": true, "until": true,
}

// maxForm bounds a form file.
const maxForm = 64 << 10

// ParseForm reads a form. The name is for errors.
func ParseForm(name, src string) (*Form, error) {
	if len(src) > maxForm {
		return nil, fmt.Errorf("%s: %d bytes: too large for a form", name, len(src))
	}
	src = strings.ToValidUTF8(strings.ReplaceAll(src, "\r\n", "\n"), "?")
	f := new(Form)
	for n := 1; ; n++ {
		line, rest, found := strings.Cut(src, "\n")
		src = rest
		key, v, _ := strings.Cut(line, ":")
		switch {
		case line == "" && f.subject != "":
			f.text = src
			return f, f.check(name)
		case strings.EqualFold(key, "subject"):
			f.subject = strings.TrimSpace(v)
		case strings.EqualFold(key, "language"):
			f.Language = strings.TrimSpace(v)
		default:
			return nil, fmt.Errorf("%s:%d: want a Subject: line, perhaps a Language: line, an empty line and the text", name, n)
		}
		if !found {
			return nil, fmt.Errorf("%s:%d: no text after the first lines", name, n)
		}
	}
}

func (f *Form) check(name string) error {
	if !rfc5322.ValidFieldName(f.Language + "x") {
		return fmt.Errorf("%s: language %.40q is not a language tag", name, f.Language)
	}
	var err error
	for _, text := range []string{f.subject, f.text} {
		expand(text, func(v string) string {
			if !formVariables[v] && err == nil {
				err = fmt.Errorf("%s: unknown variable ${%.40s}", name, v)
			}
			return ""
		})
	}
	if err == nil && !strings.Contains(f.text, "${recipients}") {
		err = fmt.Errorf("%s: the text does not say ${recipients}", name)
	}
	return err
}

// expand replaces each ${name} by value(name). What values hold is not looked at
// again.
func expand(text string, value func(string) string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "${")
		b.WriteString(before)
		name, rest, closed := strings.Cut(after, "}")
		if !found || !closed {
			if found {
				b.WriteString("${" + after)
			}
			return b.String()
		}
		b.WriteString(value(name))
		text = rest
	}
}

//go:embed forms
var builtinFiles embed.FS

var builtinForms = sync.OnceValue(func() (forms Forms) {
	for k, name := range kindNames {
		src, err := builtinFiles.ReadFile("forms/" + name)
		if err == nil {
			forms[k], err = ParseForm(name, string(src))
		}
		if err != nil {
			panic(err) // part of the program; a test reads them
		}
	}
	return forms
})

// LoadForms reads the forms "failure", "delay" and "success" of a directory.
// Those that are not there are the built-in ones.
func LoadForms(dir string) (Forms, error) {
	forms := builtinForms()
	for k, name := range kindNames {
		path := filepath.Join(dir, name)
		src, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Forms{}, err
		}
		if forms[k], err = ParseForm(path, string(src)); err != nil {
			return Forms{}, err
		}
	}
	return forms, nil
}

// maxListed bounds how many recipients the text for people lists; the part for
// programs has all.
const maxListed = 100

// text returns subject and text of the report.
func (r *Report) text(whole bool) (subject, text string) {
	form := r.Form
	if form == nil {
		form = builtinForms()[r.Kind]
	}
	value := func(name string) string { return r.variable(name, whole) }
	return rfc5322.OneLine(expand(form.subject, value), maxFieldText), expand(form.text, value)
}

func (r *Report) variable(name string, whole bool) string {
	line := func(s string) string { return rfc5322.OneLine(s, maxFieldText) }
	switch name {
	case "host":
		return line(r.ReportingMTA)
	case "postmaster":
		return line(r.postmaster())
	case "sender":
		return line(r.Sender)
	case "id":
		return line(r.OriginalID)
	case "arrival":
		return dateText(r.Arrival)
	case "subject":
		return line(rfc5322.DecodeWords(r.field("Subject")))
	case "until":
		return dateText(r.until())
	case "returned":
		return r.returnedText(whole)
	case "recipients":
		return r.recipientsText()
	}
	return ""
}

func (r *Report) postmaster() string {
	if r.Postmaster != "" {
		return r.Postmaster
	}
	return "postmaster@" + r.ReportingMTA
}

// until is the latest time of an attempt.
func (r *Report) until() (last time.Time) {
	for i := range r.Rcpts {
		if t := r.Rcpts[i].Until; t.After(last) {
			last = t
		}
	}
	return last
}

func dateText(t time.Time) string {
	if t.IsZero() {
		return "a time not known"
	}
	return rfc5322.FormatDate(t)
}

func (r *Report) returnedText(whole bool) string {
	switch {
	case whole:
		return "Attached: the details for programs, and your message."
	case r.Kind == FailureReport && !strings.EqualFold(r.Ret, "HDRS"):
		return "Attached: the details for programs, and the header of your message, which\nis too large to be returned as a whole."
	}
	return "Attached: the details for programs, and the header of your message."
}

func (r *Report) recipientsText() string {
	var b strings.Builder
	for i := range r.Rcpts {
		if i == maxListed {
			fmt.Fprintf(&b, "... and %d more, all of them in the attached details.", len(r.Rcpts)-i)
			break
		}
		r.recipientText(&b, &r.Rcpts[i])
	}
	return strings.TrimRight(b.String(), "\n")
}

func (r *Report) recipientText(b *strings.Builder, rcpt *ReportRcpt) {
	final := rcpt.final()
	if o, err := rfc5322.ParseORCPT(rcpt.ORcpt); err == nil && !strings.EqualFold(o.Addr, final) {
		fmt.Fprintf(b, "<%s>\n    by way of <%s>\n", rfc5322.OneLine(o.Addr, maxFieldText), final)
	} else {
		fmt.Fprintf(b, "<%s>\n", final)
	}
	res := rcpt.Result
	switch {
	case res.Text == "":
		wrap(b, meaning(res.FullStatus()))
	case res.Remote:
		wrap(b, "host "+relayOr(res.Relay, "of the recipient")+" said: "+res.Text)
	default:
		wrap(b, res.Text)
	}
	b.WriteByte('\n')
}

func relayOr(relay, other string) string {
	if relay == "" {
		return other
	}
	return relay
}

// wrap writes text indented, in lines that a terminal shows whole.
func wrap(b *strings.Builder, text string) {
	const indent, width = "    ", 74
	col := 0
	for _, word := range strings.Fields(rfc5322.OneLine(text, maxFieldText)) {
		if col > 0 && col+1+len(word) > width {
			b.WriteByte('\n')
			col = 0
		}
		if col == 0 {
			b.WriteString(indent)
			col = len(indent)
		} else {
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += len(word)
	}
	if col > 0 {
		b.WriteByte('\n')
	}
}
