// Package zlog is the log of a program: one event a line, sent to a file, standard
// output, the journal of systemd or syslog, as LOG in zmailer.conf says.
//
// The message of an event is a constant; its facts are attributes with these
// keys: applet spoolid msgid from to channel host user action dsn relay delay
// size nrcpt pid err. Bodies and credentials are never logged. docs/logs.md is the
// list of events and keys that others may rely on.
//
// A log never stops mail. What cannot be written (full disk, no syslog daemon, a
// journal that does not read) is counted, and the count is logged when writing
// works again.
package zlog

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Config says where the lines of a program go.
type Config struct {
	Applet string
	Path   string    // of the file, for the target "file"
	Also   io.Writer // gets a copy as text; nil: nothing
	Targets
}

// Targets are LOG, LOGFORMAT and LOGLEVEL of zmailer.conf.
type Targets struct {
	names []string
	json  bool
	level slog.Level
}

// The targets that LOG can name; several are separated by blanks. The last three
// can be followed by a colon and the path of a socket.
const (
	toFile       = "file"       // LOGDIR/APPLET
	toStdout     = "stdout"     // for containers
	toJournal    = "journal"    // the native protocol of systemd-journald, with fields
	toSyslog     = "syslog"     // RFC 3164, as syslog(3) writes it to /dev/log
	toSyslog5424 = "syslog5424" // RFC 5424
)

const (
	journalSocket = "/run/systemd/journal/socket"
	syslogSocket  = "/dev/log"
)

// ParseTargets reads the values of LOG, LOGFORMAT and LOGLEVEL; "" is the default:
// a file, as text, from level info.
func ParseTargets(log, format, level string) (t Targets, err error) {
	if log == "" {
		log = toFile
	}
	for _, word := range strings.Fields(log) {
		name, path, given := strings.Cut(word, ":")
		switch name {
		case toFile, toStdout:
			if given {
				return t, fmt.Errorf("LOG=%s: %s takes no path", log, name)
			}
		case toJournal, toSyslog, toSyslog5424:
			if given && !strings.HasPrefix(path, "/") {
				return t, fmt.Errorf("LOG=%s: the path of a socket begins with /", log)
			}
		default:
			return t, fmt.Errorf("LOG=%s: want file, stdout, journal, syslog or syslog5424", log)
		}
		t.names = append(t.names, word)
	}
	switch format {
	case "", "text":
	case "json":
		t.json = true
	default:
		return t, fmt.Errorf("LOGFORMAT=%s: want text or json", format)
	}
	if level != "" {
		if err := t.level.UnmarshalText([]byte(level)); err != nil {
			return t, fmt.Errorf("LOGLEVEL=%s: want debug, info, warn or error", level)
		}
	}
	return t, nil
}

// New returns a logger that writes text to w, a line at a time.
func New(w io.Writer, applet string) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, nil)).With("applet", applet)
}

// An Output is where the lines of a logger go, until Close.
type Output struct {
	files   []*file
	sockets []*socket
	signals chan os.Signal
	ended   chan struct{}
	once    sync.Once
}

// Open returns a logger whose lines carry the applet's name. SIGUSR1 makes it open
// its files anew, as Reopen does.
func Open(c Config) (*slog.Logger, *Output, error) {
	o := &Output{signals: make(chan os.Signal, 1), ended: make(chan struct{})}
	if len(c.names) == 0 {
		c.names = []string{toFile}
	}
	var handlers []slog.Handler
	for _, word := range c.names {
		h, err := o.open(word, c)
		if err != nil {
			return nil, nil, errors.Join(err, o.closeAll())
		}
		handlers = append(handlers, h)
	}
	if c.Also != nil {
		handlers = append(handlers, slog.NewTextHandler(c.Also, &slog.HandlerOptions{Level: c.level}).WithAttrs(applet(c)))
	}
	h := handlers[0]
	if len(handlers) > 1 {
		h = slog.NewMultiHandler(handlers...)
	}
	signal.Notify(o.signals, syscall.SIGUSR1)
	log := slog.New(h)
	go o.onSignal(log)
	return log, o, nil
}

func applet(c Config) []slog.Attr { return []slog.Attr{slog.String("applet", c.Applet)} }

func (o *Output) open(word string, c Config) (slog.Handler, error) {
	name, path, _ := strings.Cut(word, ":")
	switch name {
	case toFile, toStdout:
		f := &file{}
		if name == toFile {
			f.path = c.Path
		}
		if err := f.open(); err != nil {
			return nil, err
		}
		o.files = append(o.files, f)
		return (&lines{Handler: formatter(f, c.Targets), f: f}).WithAttrs(applet(c)), nil
	case toJournal:
		s := &socket{path: path}
		if path == "" {
			s.path = journalSocket
		}
		o.sockets = append(o.sockets, s)
		return &records{level: c.level, to: &journal{socket: s, applet: c.Applet}}, nil
	}
	s := &socket{path: path}
	if path == "" {
		s.path = syslogSocket
	}
	o.sockets = append(o.sockets, s)
	return &records{level: c.level, to: newSyslog(s, c.Applet, name == toSyslog5424)}, nil
}

func formatter(w io.Writer, t Targets) slog.Handler {
	if !t.json {
		return slog.NewTextHandler(w, &slog.HandlerOptions{Level: t.level})
	}
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: t.level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		// A number that needs no unit to be known: seconds, as everywhere else.
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.Float64Value(a.Value.Duration().Seconds())
		}
		return a
	}})
}

func (o *Output) onSignal(log *slog.Logger) {
	for {
		select {
		case <-o.ended:
			return
		case <-o.signals:
		}
		if err := o.Reopen(); err != nil {
			log.Error("log cannot be reopened, the old file goes on", "err", err)
		}
	}
}

// Reopen opens the files anew, after a rotation; lines go to the old ones until the
// new ones are there.
func (o *Output) Reopen() (err error) {
	for _, f := range o.files {
		err = errors.Join(err, f.open())
	}
	return err
}

// Close writes what is still to be written, and closes everything.
func (o *Output) Close() error {
	o.once.Do(func() {
		signal.Stop(o.signals)
		close(o.ended)
	})
	return o.closeAll()
}

func (o *Output) closeAll() (err error) {
	for _, f := range o.files {
		err = errors.Join(err, f.Close())
	}
	for _, s := range o.sockets {
		s.close()
	}
	return err
}

// losses counts lines that could not be written.
type losses struct {
	count atomic.Int64
	bad   atomic.Bool // the last one could not
}

// notice returns a record about lines that were lost, once writing works again.
func (l *losses) notice() (r slog.Record, ok bool) {
	if l.bad.Load() {
		return r, false
	}
	n := l.count.Load()
	if n == 0 || !l.count.CompareAndSwap(n, 0) {
		return r, false
	}
	r = slog.NewRecord(time.Now(), slog.LevelWarn, "log lines lost", 0)
	r.AddAttrs(slog.Int64("count", n))
	return r, true
}
