package sendmail

import (
	"errors"
	"fmt"
	"strings"

	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// oneAddress reads the argument of -f: empty and <> are the null sender.
func oneAddress(v string) (rfc5322.Address, error) {
	if v = strings.TrimSpace(v); v == "" || v == "<>" {
		return rfc5322.Address{}, nil
	}
	list, err := rfc5322.ParseList(v)
	if err != nil {
		return rfc5322.Address{}, err
	}
	if len(list) != 1 {
		return rfc5322.Address{}, errors.New("want one address")
	}
	return list[0].Address, nil
}

// addressees collects recipients in their order, each once.
type addressees struct {
	list   []spool.Recipient
	seen   map[string]bool
	notify string
	// report says that errors in addresses are to be told by mail. What cannot be
	// read is then kept as the name of a user nobody has, and the router's report
	// that there is no such user goes back to the sender, while the other
	// recipients get the message.
	report bool
}

func (a *addressees) add(addr rfc5322.Address) error {
	if addr.IsNull() {
		return nil // a list may name nobody
	}
	key := addr.Local + "@"
	if addr.Domain != "" {
		key += strings.ToLower(addr.Domain)
	}
	if a.seen[key] {
		return nil
	}
	if len(a.list) == spool.MaxRecipients {
		return proc.Exit(proc.DataErr, "more than %d recipients", spool.MaxRecipients)
	}
	if a.seen == nil {
		a.seen = make(map[string]bool)
	}
	a.seen[key] = true
	a.list = append(a.list, spool.Recipient{Addr: addr.String(), Notify: a.notify})
	return nil
}

// addList reads a list of addresses, as one argument or field may hold.
func (a *addressees) addList(text string) error {
	list, err := rfc5322.ParseList(text)
	for _, m := range list {
		if err := a.add(m.Address); err != nil {
			return err
		}
	}
	var bad *rfc5322.ListError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &bad):
		return err
	case !a.report || bad.Count > len(bad.Bad):
		return fmt.Errorf("%.60q: %w", text, err)
	}
	for _, b := range bad.Bad {
		name := rfc5322.OneLine(strings.TrimSpace(text[b.Start:b.End]), rfc5322.MaxLocal)
		if err := a.add(rfc5322.Address{Local: name}); err != nil {
			return err
		}
	}
	return nil
}

// addArguments adds the recipients of the command line.
func (a *addressees) addArguments(words []string) error {
	for _, word := range words {
		if err := a.addList(word); err != nil {
			return proc.Exit(proc.DataErr, "recipient %w", err)
		}
	}
	return nil
}

// addHeader adds the recipients that the header names. A message with Resent
// fields is sent again, and only these say to whom (RFC 5322 §3.6.6).
func (a *addressees) addHeader(h rfc5322.Header) error {
	prefix := ""
	if h.Has("Resent-To") || h.Has("Resent-Cc") || h.Has("Resent-Bcc") {
		prefix = "Resent-"
	}
	for _, f := range h {
		if !f.Is(prefix+"To") && !f.Is(prefix+"Cc") && !f.Is(prefix+"Bcc") {
			continue
		}
		if err := a.addList(f.Unfolded()); err != nil {
			return proc.Exit(proc.DataErr, "%s: %w", f.Name(), err)
		}
	}
	return nil
}
