package policy

import (
	"strconv"
	"strings"

	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// messageCommands tell facts about the message: a line and status 0, or status 1
// where there is none.
var messageCommands = map[string]shell.Command{
	"sender":     fact(func(s *Session) string { return s.senderOf(s.cur) }),
	"client":     fact(func(s *Session) string { return s.msg.Client }),
	"helo":       fact(func(s *Session) string { return s.msg.Helo }),
	"authuser":   fact(func(s *Session) string { return s.msg.AuthUser }),
	"messageid":  fact(func(s *Session) string { return s.msg.MessageID }),
	"spoolid":    fact(func(s *Session) string { return s.msg.ID }),
	"priority":   fact(func(s *Session) string { return s.msg.Priority }),
	"tag":        fact(func(s *Session) string { return s.msg.Tag }),
	"size":       fact(func(s *Session) string { return strconv.FormatInt(s.msg.Size, 10) }),
	"owner":      fact(func(s *Session) string { return strconv.Itoa(s.msg.Owner) }),
	"privilege":  fact(func(s *Session) string { return strconv.Itoa(s.privilegeOf(s.cur)) }),
	"envid":      fact(func(s *Session) string { return s.msg.EnvID }),
	"ret":        fact(func(s *Session) string { return s.msg.Ret }),
	"notify":     fact(func(s *Session) string { return s.rcpt.Notify }),
	"orcpt":      fact(func(s *Session) string { return s.rcpt.ORcpt }),
	"bodytype":   fact(func(s *Session) string { return s.msg.BodyType }),
	"tls":        fact(func(s *Session) string { return s.msg.TLS }),
	"via":        fact(func(s *Session) string { return s.msg.Via }),
	"external":   flag(func(s *Session) bool { return s.msg.External }),
	"errormsg":   flag(func(s *Session) bool { return s.msg.ErrorMsg }),
	"smtputf8":   flag(func(s *Session) bool { return s.msg.SMTPUTF8 }),
	"requiretls": flag(func(s *Session) bool { return s.msg.RequireTLS }),
	"header":     headerCommand,
	"setheader":  setHeaderCommand,
	"log":        logCommand,
}

func inSession(c *shell.Call) (*Session, bool) {
	s, _ := c.Host.(*Session)
	if s == nil {
		usage(c, "makes sense only while a message is being routed")
		return nil, false
	}
	return s, true
}

func fact(get func(*Session) string) shell.Command {
	return func(c *shell.Call) int {
		s, ok := inSession(c)
		if !ok {
			return 1
		}
		if len(c.Args) != 0 {
			return usage(c, "takes no arguments")
		}
		if v := get(s); v != "" {
			return show(c, rfc5322.OneLine(v, 0))
		}
		return 1
	}
}

func flag(get func(*Session) bool) shell.Command {
	return func(c *shell.Call) int {
		s, ok := inSession(c)
		if !ok || !get(s) {
			return 1
		}
		return 0
	}
}

// logCommand is log TEXT.
func logCommand(c *shell.Call) int {
	s, ok := inSession(c)
	if !ok {
		return 1
	}
	s.p.log.Info("log", "spoolid", s.msg.ID, "why", c.Pos.String(), "text", rfc5322.OneLine(strings.Join(c.Args, " "), 1000))
	return 0
}
