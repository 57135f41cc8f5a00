package smtpserver

import (
	"errors"
	"fmt"
	"strings"

	"zmailer/shellcfg/shell"
	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// message is the session of a hook that can see a message.
func messageOf(call *shell.Call) (*session, error) {
	s, ok := call.Host.(*session)
	if !ok || s.mail.held == nil {
		return nil, errors.New("belongs into the function smtp_message: there is no message yet")
	}
	return s, nil
}

// maxAddedText bounds the text of a field that is added.
const maxAddedText = 16 << 10

// addHeader NAME TEXT...: a header field for the message.
func addHeader(call *shell.Call) int {
	s, ok := call.Host.(*session)
	if !ok || !s.mail.active {
		return call.Fail(errors.New("add_header: belongs into a function of a transaction: there is no message"))
	}
	if len(call.Args) < 2 || !rfc5322.ValidFieldName(call.Args[0]) {
		return call.Fail(errors.New("add_header: want the name of a field and its text"))
	}
	if len(s.mail.fields) >= spool.MaxAddedFields/2 {
		return call.Fail(errors.New("add_header: too many fields"))
	}
	text := rfc5322.OneLine(strings.Join(call.Args[1:], " "), maxAddedText)
	s.mail.fields = append(s.mail.fields, call.Args[0]+": "+text)
	return 0
}

// header NAME: prints the fields of that name, unfolded, a line each; status 1 if
// there is none.
func headerCommand(call *shell.Call) int {
	s, err := messageOf(call)
	if err == nil && len(call.Args) != 1 {
		err = errors.New("want the name of a field")
	}
	if err != nil {
		return call.Fail(fmt.Errorf("header: %w", err))
	}
	status := 1
	for _, f := range s.mail.header {
		if !f.Is(call.Args[0]) {
			continue
		}
		status = 0
		if _, err := fmt.Fprintln(call.Stdout, strings.TrimSpace(f.Unfolded())); err != nil {
			return call.Fail(err)
		}
	}
	return status
}
