package scheduler

import (
	"log/slog"
	"strconv"
	"strings"

	"zmailer/spool"
)

// agentLine takes a "#log" line apart, so that its pairs stand in the log like our
// own: above all spoolid. What is no pair is the text.
func agentLine(text string) (msg string, attrs []slog.Attr) {
	msg = "agent"
	rest := text
	for rest != "" {
		key, v, tail, ok := cutPair(rest)
		if !ok {
			attrs = append(attrs, slog.String("text", rest))
			break
		}
		switch key {
		case "msg":
			msg = v
		case "time", "level", "applet": // ours
		default:
			attrs = append(attrs, slog.String(key, v))
		}
		rest = tail
	}
	return msg, attrs
}

// cutPair cuts the first key=value off; the value may be quoted as in Go.
func cutPair(s string) (key, v, rest string, ok bool) {
	s = strings.TrimLeft(s, " ")
	key, tail, found := strings.Cut(s, "=")
	if !found || key == "" || strings.ContainsAny(key, " \"") {
		return "", "", "", false
	}
	if strings.HasPrefix(tail, `"`) {
		quoted, err := strconv.QuotedPrefix(tail)
		if err != nil {
			return "", "", "", false
		}
		if v, err = strconv.Unquote(quoted); err != nil {
			return "", "", "", false
		}
		tail = tail[len(quoted):]
	} else {
		v, tail, _ = strings.Cut(tail, " ")
	}
	if key == "spoolid" {
		// An agent cannot write into the story of a message under a false name of it.
		if _, err := spool.ParseID(v); err != nil {
			return "", "", "", false
		}
	}
	return key, v, strings.TrimLeft(tail, " "), true
}
