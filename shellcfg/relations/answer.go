package relations

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// parseAnswer reads what servers of socketmaps and external programs say:
//
//	OK VALUE     found
//	NOTFOUND     not found
//	TEMP REASON  (also TIMEOUT, PERM) could not be asked
//
// PERM is an error of the table too and not of the key, so it is no reason to
// bounce mail.
func parseAnswer(s string) (value string, found bool, err error) {
	word, rest, _ := strings.Cut(s, " ")
	switch word {
	case "OK":
		return rest, true, nil
	case "NOTFOUND":
		return "", false, nil
	case "TEMP", "TIMEOUT", "PERM":
		return "", false, fmt.Errorf("table says %s: %s", word, printable(rest))
	}
	return "", false, errProtocol
}

var errProtocol = errors.New("answer begins with none of OK, NOTFOUND, TEMP, TIMEOUT, PERM")

// cause is why a question failed: the end of its time or of its context, if
// that is what broke the connection.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// printable makes text from elsewhere fit for one line of an error.
func printable(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
