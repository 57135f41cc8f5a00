package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"zmailer/spool/dsn"
)

type controlParser struct {
	c     *Control
	all   []byte
	open  *Group    // group still waiting for its m record
	next  int       // number the next recipient must have
	rcpts []rcptRef // position of recipient n, so that an event costs no search
	kept  bool      // some recipient is Kept
}

type rcptRef struct{ group, index int }

// line takes one line and what follows it, and returns what is left.
func (p *controlParser) line(line string, rest []byte) ([]byte, error) {
	f, err := SplitLine(line, maxControlFields)
	if p.c.Complete {
		ours, damaged := p.ownEvent(line, f, err)
		switch {
		case damaged != nil:
			return rest, damaged
		case !ours:
			p.c.Torn = true // left of what the file held before
			return rest, nil
		}
		return rest, p.event(f[0], f[1:len(f)-2])
	}
	if err != nil {
		return nil, err
	}
	switch f[0] {
	case "m":
		return p.header(f[1:], rest)
	case "z":
		return rest, p.closing(f[1:], len(p.all)-len(rest)-len(line)-1)
	}
	return rest, p.record(f[0], f[1:])
}

// ownEvent says whether a line behind the closing line is an event of this message.
// One that has the id but not the CRC is damaged; one that has the CRC alone is ours
// all the same.
func (p *controlParser) ownEvent(line string, f []string, bad error) (bool, error) {
	named := strings.HasSuffix(line, "\t"+string(p.c.ID))
	if bad == nil && len(f) >= 3 {
		tail := len(f[len(f)-2]) + len(f[len(f)-1]) + 2
		if tail < len(line) && f[len(f)-2] == eventSum(line[:len(line)-tail], p.c.ID) {
			return true, nil
		}
	}
	if named {
		return false, fmt.Errorf("event %.40q does not have its CRC: the file is damaged", line)
	}
	return false, nil
}

// closing checks the closing line, which begins at offset at.
func (p *controlParser) closing(f []string, at int) error {
	if len(f) != 1 || fmt.Sprintf("%08x", crc32.Checksum(p.all[:at], castagnoli())) != f[0] {
		return ErrIncomplete
	}
	if p.open != nil || p.c.ID == "" {
		return errors.New("closing line before the end of the records")
	}
	p.c.Complete = true
	return nil
}

// blame decides what an error before the closing line means. If the CRC vouches
// for the records somewhere ahead, the file is as the router wrote it and cannot
// be understood; if not, it is unfinished or mixed up with an older one.
func (p *controlParser) blame(err error) error {
	if p.c.Complete {
		return err
	}
	for at, tries := 0, 0; tries < maxClosings; tries++ {
		i := bytes.Index(p.all[at:], []byte("\nz\t"))
		if i < 0 {
			return ErrIncomplete
		}
		at += i + 1
		line, _, closed := strings.Cut(string(p.all[at:min(at+16, len(p.all))]), "\n")
		if closed && line == fmt.Sprintf("z\t%08x", crc32.Checksum(p.all[:at], castagnoli())) {
			return err
		}
	}
	return err
}

// maxClosings bounds the search for a closing line that fits: a header may be full
// of lines that look like one.
const maxClosings = 64

func (p *controlParser) record(letter string, f []string) error {
	if want, ok := recordFields[letter]; !ok {
		return fmt.Errorf("unknown record %.20q", letter)
	} else if want >= 0 && len(f) != want {
		return fmt.Errorf("record %s: %d fields, want %d", letter, len(f), want)
	}
	c := p.c
	switch letter {
	case "v":
		if f[0] != controlVersion {
			return fmt.Errorf("format version %.20q: this program knows version %s", f[0], controlVersion)
		}
	case "i":
		return p.ident(f)
	case "t":
		us, err := strconv.ParseInt(f[0], 10, 64)
		c.Arrival = time.UnixMicro(us)
		return err
	case "l":
		c.MessageID = f[0]
	case "c":
		c.Config = f[0]
	case "f":
		return c.Attr.parse(f)
	case "s":
		if p.open != nil {
			return errors.New("sender record before the header of the group before")
		}
		hop, err := parseHop(f)
		c.Groups = append(c.Groups, Group{Sender: hop})
		p.open = &c.Groups[len(c.Groups)-1]
		return err
	case "y":
		return p.deliverBy(f[0])
	case "r":
		return p.rcpt(f)
	case "N":
		r, err := p.lastRcpt()
		if err == nil {
			r.Notify, r.ORcpt = f[0], f[1]
		}
		return err
	case "w":
		r, err := p.lastRcpt()
		if err == nil {
			r.Why = f[0]
		}
		return err
	case "b":
		return p.notBefore(f[0])
	case "k":
		r, err := p.lastRcpt()
		if err == nil {
			r.Kept, p.kept = true, true
		}
		return err
	}
	return nil
}

// recordFields is the number of fields after the letter; -1 is any.
var recordFields = map[string]int{
	"v": 1, "i": 4, "t": 1, "l": 1, "c": 1, "f": -1, "s": 4, "y": 1, "r": 5, "N": 2, "w": 1, "b": 1, "k": 0,
}

func (p *controlParser) ident(f []string) (err error) {
	c := p.c
	if c.ID, err = ParseID(f[0]); err != nil {
		return err
	}
	for i, dst := range []*int64{&c.Size, &c.HeaderOffset, &c.BodyOffset} {
		if *dst, err = strconv.ParseInt(f[i+1], 10, 64); err != nil {
			return err
		}
	}
	if c.HeaderOffset < 0 || c.BodyOffset < c.HeaderOffset || c.Size < c.BodyOffset {
		return fmt.Errorf("offsets %d and %d in a file of %d bytes", c.HeaderOffset, c.BodyOffset, c.Size)
	}
	return nil
}

func parseHop(f []string) (Hop, error) {
	priv, err := strconv.Atoi(f[3])
	if err != nil {
		return Hop{}, fmt.Errorf("privilege %.20q: want a number", f[3])
	}
	return Hop{Channel: f[0], Host: f[1], User: f[2], Privilege: priv}, nil
}

func (p *controlParser) rcpt(f []string) error {
	if p.open == nil {
		return errors.New("recipient without a sender record before it")
	}
	n, err := strconv.Atoi(f[0])
	if err != nil || n != p.next {
		return fmt.Errorf("recipient number %.20q, want %d", f[0], p.next)
	}
	hop, err := parseHop(f[1:])
	if err != nil {
		return err
	}
	p.rcpts = append(p.rcpts, rcptRef{len(p.c.Groups) - 1, len(p.open.Rcpts)})
	p.open.Rcpts = append(p.open.Rcpts, Rcpt{N: n, Hop: hop})
	p.next++
	return nil
}

func (p *controlParser) deliverBy(f string) (err error) {
	if p.open == nil || len(p.open.Rcpts) > 0 {
		return errors.New("record y does not follow a sender record")
	}
	p.open.By, err = ParseDeliverBy(f)
	return err
}

func (p *controlParser) lastRcpt() (*Rcpt, error) {
	if p.open == nil || len(p.open.Rcpts) == 0 {
		return nil, errors.New("no recipient before this record")
	}
	return &p.open.Rcpts[len(p.open.Rcpts)-1], nil
}

func (p *controlParser) release(f []string) error {
	if len(f) != 1 {
		return errors.New("event u: want a time")
	}
	at, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return fmt.Errorf("event u: time %.20q", f[0])
	}
	p.c.Held, p.c.Released = false, time.Unix(at, 0)
	if !p.kept {
		return nil
	}
	p.kept = false
	for i := range p.c.Groups {
		for j := range p.c.Groups[i].Rcpts {
			p.c.Groups[i].Rcpts[j].Kept = false
		}
	}
	return nil
}

func (p *controlParser) notBefore(f string) error {
	r, err := p.lastRcpt()
	if err != nil {
		return err
	}
	at, err := strconv.ParseInt(f, 10, 64)
	if err != nil {
		return fmt.Errorf("record b: time %.20q", f)
	}
	r.NotBefore = time.Unix(at, 0)
	return nil
}

func (p *controlParser) header(f []string, rest []byte) ([]byte, error) {
	if p.open == nil || len(p.open.Rcpts) == 0 {
		return nil, errors.New("header without recipients")
	}
	if len(f) != 1 {
		return nil, errors.New("record m: want a length")
	}
	n, err := strconv.Atoi(f[0])
	if err != nil || n < 0 || n > maxGroupHeader {
		return nil, fmt.Errorf("header length %.20q", f[0])
	}
	if n > len(rest) { // cut short: the closing line is missing too
		return nil, ErrIncomplete
	}
	p.open.Header = rest[:n:n]
	p.open = nil
	return rest[n:], nil
}

// event folds one appended line into the state.
func (p *controlParser) event(letter string, f []string) error {
	switch letter {
	case "h":
		p.c.Held = true
		return nil
	case "u":
		return p.release(f)
	}
	if len(f) < 2 {
		return fmt.Errorf("event %.20q: too few fields", letter)
	}
	at, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return fmt.Errorf("event %.20q: time %.20q", letter, f[1])
	}
	apply, err := eventFold(letter, time.Unix(at, 0), f[2:])
	if err != nil {
		return err
	}
	for _, word := range strings.Split(f[0], ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 || n >= len(p.rcpts) {
			return fmt.Errorf("event %s: no recipient %.20q", letter, word)
		}
		ref := p.rcpts[n]
		apply(&p.c.Groups[ref.group].Rcpts[ref.index])
	}
	return nil
}

// eventFold returns what an event does to each recipient it names.
func eventFold(letter string, at time.Time, f []string) (func(*Rcpt), error) {
	switch letter {
	case "d":
		if len(f) != 2 || len(f[0]) != 1 {
			return nil, errors.New("event d: want kind and id")
		}
		return func(r *Rcpt) { r.Reported += f[0] }, nil
	case "+", "-", "x", "=":
	default:
		return nil, fmt.Errorf("unknown event %.20q", letter)
	}
	if len(f) != 5 {
		return nil, fmt.Errorf("event %s: %d fields, want 7", letter, len(f)+2)
	}
	next, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("event %s: next attempt %.20q", letter, f[0])
	}
	res := dsn.Result{Status: f[1], Relay: f[2], Remote: f[3] == "r", Text: f[4]}
	var state RcptState
	switch letter {
	case "+":
		res.Action, state = dsn.OK, Done
	case "-":
		res.Action, state = dsn.Failed, Bounced
	case "x":
		res.Action, state = dsn.Expanded, Dropped
	}
	return func(r *Rcpt) {
		r.State, r.Last, r.LastTime = state, res, at
		r.Attempts++
		if state == Pending {
			r.Next = time.Unix(next, 0)
		}
	}, nil
}
