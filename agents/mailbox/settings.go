package mailbox

import (
	"context"
	"fmt"
	"strings"

	"zmailer/shellcfg/users"
)

// settings are how one user's mail is kept. The table db/mailboxes has them by the
// name of the user, or "*" for all others, as words:
//
//	joe	quota=2G,50000C over-quota=bounce
//	ann	mailbox=maildir:/srv/mail/%x/%u hook=/usr/local/bin/new-mail
type settings struct {
	mailbox template
	quota   quota
	bounce  bool   // what is over quota goes back
	hook    string // command that is run after a delivery
}

// settings are those of the table for the user, and for what it does not say those
// of zmailer.conf.
func (a *agent) settings(ctx context.Context, u users.User) (settings, error) {
	s := a.defaults
	var err error
	if u.Mailbox != "" {
		if s.mailbox, err = parseTemplate(u.Mailbox); err != nil {
			return s, err
		}
	}
	if a.table == nil {
		return s, nil
	}
	for _, key := range []string{u.Name, "*"} {
		text, found, err := a.table(ctx, key)
		if err != nil || found {
			if err == nil {
				err = s.parse(text)
			}
			if err != nil {
				err = fmt.Errorf("mailboxes: %s: %w", key, err)
			}
			return s, err
		}
	}
	return s, nil
}

// parse changes what text says.
func (s *settings) parse(text string) (err error) {
	for rest := strings.TrimSpace(text); rest != ""; {
		word := rest
		if end := strings.IndexAny(rest, " \t"); end >= 0 && !strings.HasPrefix(rest, "hook=") { // a command goes to the end of the line
			word = rest[:end]
		}
		rest = strings.TrimSpace(rest[len(word):])
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "mailbox":
			s.mailbox, err = parseTemplate(value)
		case "quota":
			s.quota, err = parseQuota(value)
		case "over-quota":
			s.bounce, err = parseBounce(key, value)
		case "hook":
			s.hook = value
		default:
			err = fmt.Errorf("%.40q: want mailbox=, quota=, over-quota= or hook=", word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parseBounce(what, text string) (bounce bool, err error) {
	if text != "bounce" && text != "defer" {
		return false, fmt.Errorf("%s %.40q: want defer or bounce", what, text)
	}
	return text == "bounce", nil
}
