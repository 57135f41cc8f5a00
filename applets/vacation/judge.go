package vacation

import (
	"strings"

	"zmailer/spool/rfc5322"
)

// An incoming message is what decides about an answer.
type incoming struct {
	sender rfc5322.Address
	known  bool // a sender was found
	header rfc5322.Header
}

// silence returns why a message must not be answered, or "". RFC 3834 §2 lists
// the reasons; the fields of other programs beyond it are those seen in practice.
func (in *incoming) silence(a *account, force bool) string {
	switch {
	case !in.known:
		return "the sender is not known"
	case in.sender.IsNull():
		return "null sender"
	case isRobot(in.sender.Local):
		return "the sender is a program"
	case a.isSelf(in.sender):
		return "the sender is the user"
	}
	if why := automatic(in.header); why != "" {
		return why
	}
	if !force && !addressed(in.header, a) {
		return "neither To nor Cc names the user"
	}
	return ""
}

// robots are local parts of programs; a hyphen at one end makes a suffix or a
// prefix of it.
var robots = []string{
	"mailer-daemon", "postmaster", "uucp", "mailer", "daemon", "nobody", "listserv", "listproc", "majordomo", "mailman",
	"noreply", "no-reply", "no_reply", "donotreply", "do-not-reply", "do_not_reply", "bounce", "bounces",
	"-request", "-relay", "-owner", "-bounces", "-bounce", "-errors", "-noreply", "-no-reply", "-outgoing",
	"owner-", "request-", "bounce-", "bounces-", "noreply-", "no-reply-", "prvs-bounce-",
}

func isRobot(local string) bool {
	local = strings.ToLower(local)
	name, _, _ := strings.Cut(local, "+") // VERP: list-bounces+joe=example.net
	for _, r := range robots {
		switch {
		case r[0] == '-' && strings.HasSuffix(name, r),
			r[len(r)-1] == '-' && strings.HasPrefix(name, r),
			name == r:
			return true
		}
	}
	return false
}

// automatic returns the field by which a message shows that no person wrote it to
// this one, or "".
func automatic(h rfc5322.Header) string {
	for _, f := range h {
		name := strings.ToLower(f.Name())
		if strings.HasPrefix(name, "list-") {
			return f.Name()
		}
		value, isMark := firstWord(f.Unfolded()), false
		switch name {
		case "auto-submitted": // RFC 3834 §2: whatever comes after "no" is a parameter
			isMark = value != "no"
		case "precedence":
			isMark = value == "bulk" || value == "junk" || value == "list"
		case "content-type":
			isMark = value == "multipart/report"
		case "x-spam-flag":
			isMark = value == "yes"
		case "x-auto-response-suppress": // [MS-OXCMAIL]: a list of kinds
			isMark = suppresses(f.Unfolded())
		case "mailing-list", "x-mailing-list", "x-list", "x-autoreply", "x-autorespond", "x-autoresponse", "x-failed-recipients":
			isMark = true
		}
		if isMark {
			return f.Name()
		}
	}
	return ""
}

// firstWord is the value of a field before parameters and comments.
func firstWord(v string) string {
	v, _, _ = strings.Cut(v, "(")
	if i := strings.IndexAny(v, "; \t"); i >= 0 && strings.TrimSpace(v[:i]) != "" {
		v = v[:i]
	}
	return strings.ToLower(strings.TrimSpace(v))
}

func suppresses(v string) bool {
	for _, kind := range strings.Split(strings.ToLower(v), ",") {
		switch strings.TrimSpace(kind) {
		case "all", "oof", "autoreply":
			return true
		}
	}
	return false
}

// addressed says whether the message names the user as one of its recipients.
func addressed(h rfc5322.Header, a *account) bool {
	for _, name := range []string{"To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"} {
		for _, body := range h.All(name) {
			list, _ := rfc5322.ParseList(body) // what can be read of it
			for _, m := range list {
				if a.owns(m.Address) {
					return true
				}
			}
		}
	}
	return false
}
