package queue

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// trace tells the story of a message from the logs. It is found by its spool id, or
// by its Message-ID, and followed to the messages that came of it: reports about
// it, and what it was submitted again as. Each round of following reads the files
// once; files that ended before the message came are not read.

// Bounds of a search.
const (
	maxTraceLines  = 50_000
	maxTraceRounds = 4
	maxTraceIDs    = 200
	maxLogLine     = 64 << 10
	maxUnpacked    = 64 << 30 // bytes of one compressed file
)

// A LogLine is a line of a log.
type LogLine struct {
	Time time.Time `json:"time"`
	Log  string    `json:"log"` // name of the file
	Msg  string    `json:"msg"`
	// Attrs has the other pairs.
	Attrs []LogAttr `json:"attrs"`
}

// A LogAttr is a pair of a line.
type LogAttr struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func traceCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "trace [--json] ID|MESSAGE-ID",
		Short: "Tell the story of a message from the logs",
		Long: `trace reads the logs in LOGDIR, also those that were rotated away and compressed
(.1, .2.gz), and prints all lines about a message in the order of their times: with
those about reports on it, and about what it was submitted again as.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			t, err := newTracer(args[0])
			if err != nil {
				return err
			}
			if err := t.search(cmd.Context(), conf.LogDir); err != nil {
				return proc.Exit(proc.NoInput, "%w", err)
			}
			for _, text := range t.problems {
				fmt.Fprintln(cmd.ErrOrStderr(), "trace: "+text)
			}
			if len(t.lines) == 0 {
				return proc.Exit(proc.NoInput, "the logs in %s do not mention %s", conf.LogDir, args[0])
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			if err := t.print(out, asJSON); err != nil {
				return proc.Exit(proc.IOErr, "%w", err)
			}
			if err := out.Flush(); err != nil {
				return proc.Exit(proc.IOErr, "%w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	return cmd
}

// A tracer searches logs.
type tracer struct {
	msgid    string            // without its angle brackets
	known    map[spool.ID]bool // false: not searched for yet
	needles  [][]byte          // of this round
	since    time.Time         // no file that ended before is read
	seen     map[placeInLog]bool
	lines    []LogLine
	problems []string
}

type placeInLog struct {
	file string
	line int
}

func newTracer(what string) (*tracer, error) {
	t := &tracer{known: make(map[spool.ID]bool), seen: make(map[placeInLog]bool)}
	if strings.ContainsAny(what, "@<") {
		t.msgid = strings.Trim(what, "<> ")
		if t.msgid == "" {
			return nil, proc.Exit(proc.Usage, "%q is no Message-ID", what)
		}
		t.needles = [][]byte{[]byte(t.msgid)}
		return t, nil
	}
	id, err := queuesock.ParseID(what)
	if err != nil {
		return nil, err
	}
	t.follow(string(id))
	t.since = id.Time().Add(-time.Minute)
	return t, nil
}

// follow adds an id to those that are searched for in the next round.
func (t *tracer) follow(s string) {
	id, err := spool.ParseID(s)
	if err != nil {
		return
	}
	if _, known := t.known[id]; !known && len(t.known) < maxTraceIDs {
		t.known[id] = false
	}
}

// search reads the logs until no new message turns up.
func (t *tracer) search(ctx context.Context, dir string) error {
	for range maxTraceRounds {
		for id, searched := range t.known {
			if !searched {
				t.known[id] = true
				t.needles = append(t.needles, []byte(id))
			}
		}
		if len(t.needles) == 0 {
			break
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		t.problems = nil
		for _, e := range entries {
			if err := t.readFile(ctx, filepath.Join(dir, e.Name())); ctx.Err() != nil {
				return ctx.Err()
			} else if err != nil && !errors.Is(err, fs.ErrNotExist) { // rotated away meanwhile
				t.problems = append(t.problems, fmt.Sprintf("%s: %v", e.Name(), err))
			}
		}
		t.needles = nil
	}
	slices.SortStableFunc(t.lines, func(a, b LogLine) int { return a.Time.Compare(b.Time) })
	return nil
}

func (t *tracer) readFile(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.ModTime().Before(t.since) {
		return err
	}
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		unpacked, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		defer unpacked.Close()
		in = io.LimitReader(unpacked, maxUnpacked)
	}
	return t.read(ctx, filepath.Base(path), bufio.NewReaderSize(in, maxLogLine))
}

// read looks at each line of a log. What is longer than a line of ours can be is
// looked at in pieces.
func (t *tracer) read(ctx context.Context, name string, in *bufio.Reader) error {
	for n := 0; ; n++ {
		line, err := in.ReadSlice('\n')
		if t.about(line) {
			if len(t.lines) >= maxTraceLines {
				return fmt.Errorf("more than %d lines: the others are left out", maxTraceLines)
			}
			if place := (placeInLog{name, n}); !t.seen[place] {
				t.seen[place] = true
				t.enter(name, string(bytes.TrimSpace(line)))
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		case n%4096 == 0 && ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

func (t *tracer) about(line []byte) bool {
	for _, needle := range t.needles {
		if bytes.Contains(line, needle) {
			return true
		}
	}
	return false
}

// enter keeps a line, and follows the messages that it names.
func (t *tracer) enter(name, text string) {
	l := LogLine{Log: name, Attrs: []LogAttr{}}
	for text != "" {
		key, v, rest, ok := cutPair(text)
		if !ok {
			l.Attrs = append(l.Attrs, LogAttr{"text", text})
			break
		}
		text = rest
		switch key {
		case "time":
			at, err := time.Parse(time.RFC3339Nano, v)
			if err == nil {
				l.Time = at
				continue
			}
		case "msg":
			l.Msg = v
			continue
		case "spoolid", "msgid": // of a report: its spool id
			t.follow(v)
		case "text":
			if _, again, found := strings.Cut(v, "submitted again as "); found {
				t.follow(again)
			}
		}
		l.Attrs = append(l.Attrs, LogAttr{key, v})
	}
	t.lines = append(t.lines, l)
}

// cutPair cuts the first key=value off a line; the value may be quoted as in Go.
func cutPair(s string) (key, v, rest string, ok bool) {
	s = strings.TrimLeft(s, " ")
	key, tail, found := strings.Cut(s, "=")
	if !found || key == "" || strings.ContainsAny(key, " \"") {
		return "", "", "", false
	}
	if !strings.HasPrefix(tail, `"`) {
		v, rest, _ = strings.Cut(tail, " ")
		return key, v, rest, true
	}
	quoted, err := strconv.QuotedPrefix(tail)
	if err != nil {
		return "", "", "", false
	}
	if v, err = strconv.Unquote(quoted); err != nil {
		return "", "", "", false
	}
	return key, v, strings.TrimLeft(tail[len(quoted):], " "), true
}

// hidden are the pairs that trace does not print: they say nothing more.
var hidden = map[string]bool{"level": true, "applet": true, "config": true}

func (t *tracer) print(out *bufio.Writer, asJSON bool) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for i := range t.lines {
		l := &t.lines[i]
		if asJSON {
			if err := enc.Encode(l); err != nil {
				return err
			}
			continue
		}
		program, level := strings.TrimSuffix(l.Log, ".gz"), ""
		var b strings.Builder
		for _, a := range l.Attrs {
			switch {
			case a.Key == "applet":
				program = a.Value
			case a.Key == "level" && a.Value != "INFO":
				level = a.Value + " "
			}
			if !hidden[a.Key] && a.Value != "" {
				fmt.Fprintf(&b, " %s=%s", a.Key, clean(a.Value))
			}
		}
		fmt.Fprintf(out, "%s %-10s %s%s%s\n", l.Time.Local().Format("2006-01-02 15:04:05.000"), program, level, clean(l.Msg), b.String())
	}
	return nil
}
