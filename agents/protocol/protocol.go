// Package protocol is the conversation between the scheduler and its transport
// agents: lines of text on a pipe, described for agents in any language in
// agents/PROTOCOL.md. The agent's end is Serve; the scheduler's end is Peer.
//
// The scheduler starts an agent with the spool directory as its working
// directory. The agent opens with "#hungry N": it takes N jobs at once. The
// scheduler sends jobs, the agent answers one result line per recipient of a job
// and, when all are answered, "#hungry" for one more job. Input ends: the agent
// finishes what it has and exits.
package protocol

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

// Bounds of the conversation. A job names at most MaxJobRcpts recipients; the
// scheduler makes several jobs of more.
const (
	MaxLine     = 64 << 10
	MaxJobRcpts = 1000
	MaxText     = 2 << 10 // of a reply text; longer ones are cut
)

// JobTime is how long an agent begins something new for a job. What it has begun then
// has the rest of the scheduler's 40 minutes, after which the agent would be killed.
const JobTime = 25 * time.Minute

// A Job asks an agent to deliver a message to some of its recipients, which all
// have the same channel and host.
type Job struct {
	Number  uint64 // names the job in results; never reused on a pipe
	ID      spool.ID
	Channel string
	Host    string
	Rcpts   []int // numbers in the control file
}

// Append appends the job's line.
func (j *Job) Append(b []byte) []byte {
	return spool.AppendLine(b, "job", strconv.FormatUint(j.Number, 10), string(j.ID), j.Channel, j.Host, spool.JoinNumbers(j.Rcpts))
}

// ParseJob parses a line without its newline.
func ParseJob(line string) (*Job, error) {
	f, err := spool.SplitLine(line, 6)
	if err != nil {
		return nil, err
	}
	if len(f) != 6 || f[0] != "job" {
		return nil, fmt.Errorf("not a job line: %.60q", line)
	}
	j := &Job{Channel: f[3], Host: f[4]}
	if j.Number, err = strconv.ParseUint(f[1], 10, 64); err != nil {
		return nil, fmt.Errorf("job number %.20q", f[1])
	}
	if j.ID, err = spool.ParseID(f[2]); err != nil {
		return nil, err
	}
	words := strings.Split(f[5], ",")
	if len(words) > MaxJobRcpts {
		return nil, fmt.Errorf("job of %d recipients", len(words))
	}
	for _, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("recipient number %.20q", w)
		}
		j.Rcpts = append(j.Rcpts, n)
	}
	return j, nil
}

// A Report is a result line: what became of one recipient of a job.
type Report struct {
	Job    uint64
	Rcpt   int
	Result dsn.Result
}

// Append appends the report's line.
func (r *Report) Append(b []byte) []byte {
	who := "l"
	if r.Result.Remote {
		who = "r"
	}
	text := r.Result.Text
	if len(text) > MaxText {
		text = strings.ToValidUTF8(text[:MaxText], "")
	}
	f := []string{"result", strconv.FormatUint(r.Job, 10), strconv.Itoa(r.Rcpt), r.Result.Action.String(),
		r.Result.FullStatus(), r.Result.Relay, who, text}
	if r.Result.RetryAfter > 0 {
		f = append(f, strconv.Itoa(int(r.Result.RetryAfter/time.Second)))
	}
	return spool.AppendLine(b, f...)
}

// ParseReport parses a line without its newline.
func ParseReport(line string) (*Report, error) {
	f, err := spool.SplitLine(line, 9)
	if err != nil {
		return nil, err
	}
	if len(f) < 8 || f[0] != "result" {
		return nil, fmt.Errorf("not a result line: %.60q", line)
	}
	r := new(Report)
	if r.Job, err = strconv.ParseUint(f[1], 10, 64); err != nil {
		return nil, fmt.Errorf("job number %.20q", f[1])
	}
	if r.Rcpt, err = strconv.Atoi(f[2]); err != nil || r.Rcpt < 0 {
		return nil, fmt.Errorf("recipient number %.20q", f[2])
	}
	if r.Result.Action, err = dsn.ParseAction(f[3]); err != nil {
		return nil, err
	}
	if !dsn.ValidStatus(f[4]) {
		return nil, fmt.Errorf("status %.20q: want an enhanced status code", f[4])
	}
	r.Result.Status, r.Result.Relay, r.Result.Text = f[4], f[5], f[7]
	switch f[6] {
	case "r":
		r.Result.Remote = true
	case "l":
	default:
		return nil, fmt.Errorf("origin %.20q: want l or r", f[6])
	}
	if len(f) == 9 {
		s, err := strconv.ParseUint(f[8], 10, 31)
		if err != nil {
			return nil, fmt.Errorf("retry after %.20q seconds", f[8])
		}
		r.Result.RetryAfter = time.Duration(s) * time.Second
	}
	return r, nil
}
