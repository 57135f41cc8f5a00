package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"zmailer/spool"
)

// maxQF bounds a queue control file of Sendmail.
const maxQF = 64 << 20

// sendmailFiles lists the control files of a queue and of its groups: qf is one that is
// to be delivered, hf one in quarantine, Qf one that Sendmail gave up.
func sendmailFiles(dir string) ([]queueFile, error) {
	return queueFiles(dir, func(name string) (queueFile, bool) {
		switch {
		case strings.HasPrefix(name, "qf"):
			return queueFile{}, true
		case strings.HasPrefix(name, "hf"):
			return queueFile{hold: "it was in quarantine in Sendmail"}, true
		case strings.HasPrefix(name, "Qf"):
			return queueFile{hold: "Sendmail had given it up"}, true
		}
		return queueFile{}, false
	})
}

// openSendmail reads a control file; the message is its header and the data file.
func openSendmail(file queueFile) (*queued, io.Closer, error) {
	f, err := openQueueFile(file.path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxQF+1))
	if err == nil && len(text) > maxQF {
		err = fmt.Errorf("larger than %d bytes", maxQF)
	}
	if err != nil {
		return nil, nil, err
	}
	q, err := parseQF(text)
	if err != nil {
		return nil, nil, err
	}
	dir, name := filepath.Split(file.path)
	q.name = name[2:]
	// In a group whose directory has qf and df, the data are in another one.
	data := filepath.Join(dir, "df"+q.name)
	if filepath.Base(dir) == "qf" {
		data = filepath.Join(dir, "../df", "df"+q.name)
	}
	d, err := os.OpenFile(data, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("there is no %s with its text", filepath.Base(data))
	}
	if err != nil {
		return nil, nil, err
	}
	q.body = d
	return q, d, nil
}

// parseQF reads a control file: lines of a letter and a value, which go on where a line
// begins with a blank, up to a line with a full stop.
func parseQF(text []byte) (*queued, error) {
	p := &qfParser{q: new(queued)}
	lines := bytes.Split(text, []byte("\n"))
	for i := 0; i < len(lines); {
		first := i
		line := string(lines[i])
		for i++; i < len(lines) && len(lines[i]) > 0 && (lines[i][0] == ' ' || lines[i][0] == '\t'); i++ {
			line += "\n" + string(lines[i])
		}
		if line == "." {
			return p.end()
		}
		if line == "" {
			return nil, fmt.Errorf("line %d is empty", first+1)
		}
		if err := p.line(line[0], line[1:]); err != nil {
			return nil, fmt.Errorf("line %d: %w", first+1, err)
		}
	}
	return nil, errors.New("the file ends before its full stop")
}

type qfParser struct {
	q       *queued
	version int
	sender  bool
	orcpt   string
}

func (p *qfParser) line(letter byte, value string) (err error) {
	env := &p.q.env
	switch letter {
	case 'V':
		if p.version, err = strconv.Atoi(value); err != nil || p.version < 4 || p.version > 8 {
			return fmt.Errorf("version %.20q: 4 to 8 are known", value)
		}
	case 'T':
		return p.q.setArrival(value)
	case 'S':
		p.sender = true
		env.From, err = address(strings.TrimSuffix(strings.TrimPrefix(value, "<"), ">"))
		return err
	case 'B':
		env.BodyType = map[string]string{"8BITMIME": "8BITMIME", "7BIT": "7BIT"}[value]
	case 'Z':
		env.EnvID = value
	case 'A':
		env.AuthUser = value
	case 'F':
		switch {
		case strings.ContainsRune(value, 'n'):
			env.Ret = "HDRS"
		case strings.ContainsRune(value, 'd'):
			env.Ret = "FULL"
		}
	case 'r', 'Q':
		kind, addr, _ := strings.Cut(value, ";")
		p.orcpt = originalRecipient(strings.ToLower(kind), strings.TrimSpace(addr))
	case 'R':
		return p.recipient(value)
	case 'C':
		return errors.New("recipients in the name of a user (from an alias or .forward that names programs or files): deliver it with Sendmail")
	case 'H':
		p.header(value)
	case 'q':
		p.q.reason = value
	case 'E', 'K', 'N', 'P', 'M', 'I', 'D', '$', '!', 'd', 'L', 'G', 'X', 'Y', 'W', 'O':
	default:
		return fmt.Errorf("an unknown letter %q", letter)
	}
	return nil
}

// recipient reads FLAGS:ADDRESS. N says that NOTIFY was given, S, F and D what it was.
func (p *qfParser) recipient(value string) error {
	flags, addr, ok := strings.Cut(value, ":")
	if !ok || strings.Trim(flags, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		flags, addr = "", value // of an old version
	}
	if strings.HasPrefix(strings.Trim(addr, `"\`), "|") || strings.HasPrefix(strings.Trim(addr, `"`), "/") {
		return fmt.Errorf("recipient %.100q is a program or file: deliver it with Sendmail", addr)
	}
	addr, err := address(strings.TrimSuffix(strings.TrimPrefix(addr, "<"), ">"))
	if err != nil {
		return err
	}
	rcpt := spool.Recipient{Addr: addr, ORcpt: p.orcpt}
	p.orcpt = ""
	if strings.ContainsRune(flags, 'N') {
		asked := func(flag string) bool { return strings.Contains(flags, flag) }
		if rcpt.Notify = notify(false, asked("S"), asked("F"), asked("D")); rcpt.Notify == "" {
			rcpt.Notify = "NEVER"
		}
	}
	return p.q.add(rcpt)
}

// header keeps a field. ?FLAGS? before it name mailers that want it; Return-Path has
// macros in it and is made anew at the end of the way.
func (p *qfParser) header(value string) {
	if strings.HasPrefix(value, "?") {
		if _, rest, ok := strings.Cut(value[1:], "?"); ok {
			value = rest
		}
	}
	if name, _, _ := strings.Cut(value, ":"); strings.EqualFold(strings.TrimSpace(name), "return-path") {
		return
	}
	p.q.header = append(append(p.q.header, value...), '\n')
}

func (p *qfParser) end() (*queued, error) {
	if p.version == 0 || !p.sender || p.q.arrival.IsZero() {
		return nil, errors.New("there is no version, sender or time")
	}
	p.q.header = append(p.q.header, '\n')
	return p.q, nil
}
