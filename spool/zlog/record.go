package zlog

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxValue bounds a value in a record of the journal or of syslog: what a client
// said is bounded where it was read, a stack of a crash is not.
const maxValue = 32 << 10

// A field is one fact of an event.
type field struct{ key, value string }

// An event is a record of the journal or of syslog.
type event struct {
	time   time.Time
	level  slog.Level
	msg    string
	fields []field
}

// text is the event for people: the message and key=value pairs.
func (e *event) text() string {
	var b strings.Builder
	b.WriteString(e.msg)
	for _, f := range e.fields {
		b.WriteByte(' ')
		b.WriteString(f.key)
		b.WriteByte('=')
		if plain(f.value) {
			b.WriteString(f.value)
		} else {
			b.WriteString(strconv.Quote(f.value))
		}
	}
	return b.String()
}

// plain says whether a value stands without quotes, by the rule of slog's text.
func plain(s string) bool {
	if s == "" || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r == ' ' || r == '"' || r == '=' || r == '\\' || !unicode.IsPrint(r)
	})
}

// priority is the severity of RFC 5424 §6.2.1.
func (e *event) priority() int {
	switch {
	case e.level >= slog.LevelError:
		return 3
	case e.level >= slog.LevelWarn:
		return 4
	case e.level >= slog.LevelInfo:
		return 6
	}
	return 7
}

// A sender takes events, each with at most one system call as long as all is well.
type sender interface {
	send(e *event)
	notice() (slog.Record, bool)
}

// records is the handler of a sender.
type records struct {
	level  slog.Level
	prefix string // of keys, by WithGroup
	fields []field
	to     sender
}

func (h *records) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *records) Handle(_ context.Context, r slog.Record) error {
	e := &event{time: r.Time, level: r.Level, msg: r.Message, fields: make([]field, len(h.fields), len(h.fields)+r.NumAttrs())}
	copy(e.fields, h.fields)
	r.Attrs(func(a slog.Attr) bool {
		e.fields = h.add(e.fields, h.prefix, a)
		return true
	})
	h.to.send(e)
	if lost, ok := h.to.notice(); ok {
		n := &event{time: lost.Time, level: lost.Level, msg: lost.Message}
		lost.Attrs(func(a slog.Attr) bool {
			n.fields = h.add(n.fields, "", a)
			return true
		})
		h.to.send(n)
	}
	return nil
}

func (h *records) add(list []field, prefix string, a slog.Attr) []field {
	v := a.Value.Resolve()
	switch {
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, b := range v.Group() {
			list = h.add(list, prefix, b)
		}
		return list
	case a.Key == "":
		return list
	}
	return append(list, field{prefix + a.Key, valueText(v)})
}

func valueText(v slog.Value) string {
	s := ""
	if v.Kind() != slog.KindAny {
		s = v.String()
	} else if err, ok := v.Any().(error); ok {
		s = err.Error()
	} else {
		s = fmt.Sprintf("%+v", v.Any())
	}
	if len(s) > maxValue {
		s = strings.ToValidUTF8(s[:maxValue], "") + "..."
	}
	return s
}

func (h *records) WithAttrs(attrs []slog.Attr) slog.Handler {
	fresh := *h
	fresh.fields = append([]field(nil), h.fields...)
	for _, a := range attrs {
		fresh.fields = h.add(fresh.fields, h.prefix, a)
	}
	return &fresh
}

func (h *records) WithGroup(name string) slog.Handler {
	fresh := *h
	fresh.prefix += name + "."
	return &fresh
}
