package smtpserver

import (
	"errors"
	"fmt"
	shellpath "path"
	"strings"

	"zmailer/shellcfg/shell"
	"zmailer/spool/proc"
)

// attachment [-s SIZE] [PATTERN...]: status 0 if the message has a part whose file
// name or type matches one of the patterns, which are those of the shell and see no
// difference of case, and which, decoded, is larger than SIZE; the variable
// attachment gets its name, or its type. 1: it has none. 75: the message has more
// parts, or deeper ones, than anybody sends, and was not looked at to its end.
func attachment(call *shell.Call) int {
	s, err := messageOf(call)
	args, above := call.Args, int64(-1)
	if err == nil && len(args) >= 2 && args[0] == "-s" {
		above, err = parseSize(args[1])
		args = args[2:]
	}
	for _, p := range args {
		if _, e := shellpath.Match(p, ""); e != nil && err == nil {
			err = fmt.Errorf("%s: bad pattern", p)
		}
	}
	if err == nil && above < 0 && len(args) == 0 {
		err = errors.New("want patterns of names or types, such as '*.exe' 'application/x-dosexec', or -s SIZE")
	}
	if err != nil {
		return call.Fail(fmt.Errorf("attachment: %w", err))
	}
	call.Setenv("attachment", "")
	found := ""
	err = eachPart(s.mail.held.reader(), func(p *mimePart) bool {
		if p.size > above && p.matches(args) {
			if found = p.name; found == "" {
				found = p.kind
			}
		}
		return found == ""
	})
	switch {
	case found != "":
		call.Setenv("attachment", found)
		return 0
	case err != nil:
		s.log.Warn("attachments", "client", s.clientText, "spoolid", string(s.mail.id), "err", err)
		return proc.TempFail
	}
	return 1
}

// matches tells whether a pattern fits the name or the type; no pattern fits all.
func (p *mimePart) matches(patterns []string) bool {
	for _, pattern := range patterns {
		for _, s := range []string{p.name, p.kind} {
			// An asterisk is to match a slash in a name, too.
			s = strings.ReplaceAll(strings.ToLower(s), "/", "\x01")
			pattern := strings.ReplaceAll(strings.ToLower(pattern), "/", "\x01")
			if ok, err := shellpath.Match(pattern, s); err == nil && ok && s != "" {
				return true
			}
		}
	}
	return len(patterns) == 0
}
