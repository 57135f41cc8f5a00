package shell

import (
	"bytes"
	"errors"
	"io"
	"slices"
)

// sinkKind is where output goes.
type sinkKind uint8

const (
	sinkBuf  sinkKind = iota // collected: $(...) and pipelines
	sinkNull                 // /dev/null
	sinkLog                  // line by line to Options.Log
	sinkOut                  // Options.Stdout, or the log
	sinkFile                 // a file opened by Options.Create
)

// sink is a standard output or error.
type sink struct {
	in   *interp
	kind sinkKind
	buf  []byte
	file io.WriteCloser
	over bool // a bound was exceeded
	err  error
}

// maxLogLine bounds one line of standard error in the log.
const maxLogLine = 4096

func (k *sink) Write(p []byte) (int, error) {
	k.write(p)
	if err := k.error(); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (k *sink) WriteString(s string) (int, error) { return k.Write([]byte(s)) }

func (k *sink) error() error {
	if k.over {
		return ErrOutput
	}
	return k.err
}

func (k *sink) write(p []byte) {
	switch k.kind {
	case sinkNull:
		return
	case sinkFile:
		if k.err == nil {
			_, k.err = k.file.Write(p)
		}
		return
	case sinkOut:
		if w := k.in.prog.opts.Stdout; w != nil {
			if k.err == nil {
				_, k.err = w.Write(p)
			}
			return
		}
	}
	if k.count(len(p)); k.over {
		return
	}
	k.buf = append(k.buf, p...)
	if k.kind != sinkBuf {
		k.lines()
	}
}

func (k *sink) count(n int) {
	k.in.captured += n
	if k.in.captured > k.in.prog.opts.MaxOutput {
		k.over = true
	}
}

// lines gives complete lines to the log.
func (k *sink) lines() {
	for {
		i := bytes.IndexByte(k.buf, '\n')
		if i < 0 && len(k.buf) < maxLogLine {
			return
		}
		if i < 0 || i > maxLogLine {
			k.logLine(k.buf[:maxLogLine])
			k.buf = k.buf[:copy(k.buf, k.buf[maxLogLine:])]
			continue
		}
		k.logLine(k.buf[:i])
		k.buf = k.buf[:copy(k.buf, k.buf[i+1:])]
	}
}

func (k *sink) logLine(p []byte) {
	if log := k.in.prog.opts.Log; log != nil {
		log(*k.in.pos, string(p))
	}
}

// flush logs an unfinished line.
func (k *sink) flush() {
	if (k.kind == sinkLog || k.kind == sinkOut) && len(k.buf) > 0 {
		k.logLine(k.buf)
		k.buf = k.buf[:0]
	}
}

// take gives the collected bytes away.
func (k *sink) take() []byte {
	b := k.buf
	k.buf = nil
	return b
}

func (in *interp) getSink() *sink {
	if n := len(in.freeSink); n > 0 {
		k := in.freeSink[n-1]
		in.freeSink = in.freeSink[:n-1]
		return k
	}
	return &sink{in: in}
}

func (in *interp) putSink(k *sink) {
	if cap(k.buf) > 1<<16 {
		k.buf = nil
	}
	k.buf, k.over, k.err = k.buf[:0], false, nil
	in.freeSink = append(in.freeSink, k)
}

// print writes a command's output; false when a bound ended the evaluation.
func (in *interp) print(s string) bool {
	k := in.stdout
	if k.kind == sinkBuf {
		if k.count(len(s)); !k.over {
			k.buf = append(k.buf, s...)
			return len(s) < fuelBytes || in.charge(len(s))
		}
	} else {
		k.write([]byte(s))
	}
	return in.checkSink(k)
}

func (in *interp) checkSink(k *sink) bool {
	if err := k.error(); err != nil {
		in.fatal(err)
		return false
	}
	return true
}

// complain writes a diagnostic to standard error, as "name: text".
func (in *interp) complain(text string) {
	in.stderr.write([]byte(text + "\n"))
	in.checkSink(in.stderr)
}

// input is a standard input: a here-document or pipe in memory, or a reader.
// read takes lines from it, so a loop can share it with the commands inside.
type input struct {
	buf []byte
	off int
	r   io.Reader
	eof bool
}

func (i *input) Read(p []byte) (int, error) {
	if i.off < len(i.buf) {
		n := copy(p, i.buf[i.off:])
		i.off += n
		return n, nil
	}
	if i.r == nil {
		return 0, io.EOF
	}
	return i.r.Read(p)
}

// empty tells whether there is certainly nothing to read.
func (i *input) empty() bool { return i.r == nil && i.off >= len(i.buf) }

var errLongLine = errors.New("line too long")

// line returns the next line without its newline; ok is false at the end of
// input, when the line may still have text.
func (i *input) line(limit int, delim byte) (s []byte, ok bool, err error) {
	for {
		if n := bytes.IndexByte(i.buf[i.off:], delim); n >= 0 {
			s = i.buf[i.off : i.off+n]
			i.off += n + 1
			return s, true, nil
		}
		if i.r == nil || i.eof {
			s = i.buf[i.off:]
			i.off = len(i.buf)
			return s, false, nil
		}
		if len(i.buf)-i.off > limit {
			return nil, false, errLongLine
		}
		if err := i.fill(); err != nil {
			return nil, false, err
		}
	}
}

// fill reads more, keeping what has not been consumed.
func (i *input) fill() error {
	if i.off > 0 {
		i.buf, i.off = i.buf[:copy(i.buf, i.buf[i.off:])], 0
	}
	i.buf = slices.Grow(i.buf, 4096)
	n, err := i.r.Read(i.buf[len(i.buf):cap(i.buf)])
	i.buf = i.buf[:len(i.buf)+n]
	if err == io.EOF {
		i.eof = true
		return nil
	}
	return err
}
