package migrate

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// An asker says where mail for an address would go, each way in one of these forms,
// which is the same for all mailers:
//
//	mailbox USER     smtp HOST ADDRESS     lmtp PLACE ADDRESS
//	program COMMAND  file PATH             refused  taken  discarded
//
// HOST is in brackets if its own addresses are used, and not its mail exchangers. An
// error means that the address could not be looked up.
type asker interface {
	ask(ctx context.Context, addr string) ([]string, error)
	// about says what is compared, if that is less than all of the above.
	about() string
	// reduce brings a way of ours to what this mailer can tell.
	reduce(way string) string
}

// Bounds of a comparison.
const (
	maxCompared = 100_000
	askTime     = time.Minute
	maxAnswer   = 1 << 20
)

// A comparison is what both say about one address.
type comparison struct {
	Address string   `json:"address"`
	Old     []string `json:"old"`
	New     []string `json:"new"`
	Same    bool     `json:"same"`
	Error   string   `json:"error,omitempty"` // it could not be asked
}

type comparisons struct {
	Mailer    string       `json:"mailer"`
	Compared  string       `json:"compared"`
	Addresses int          `json:"addresses"`
	Different int          `json:"different"`
	Unasked   int          `json:"unasked"`
	Results   []comparison `json:"results"`
}

func compare(cmd *cobra.Command, o *importOptions, title string, old asker, conf *shellcfg.Conf) error {
	addrs, err := readAddresses(o.compare, cmd.InOrStdin())
	if err != nil {
		return proc.Exit(proc.NoInput, "%w", err)
	}
	p, err := policy.Load(cmd.Context(), policy.Config{Conf: conf, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	defer p.Close()
	c := comparisons{Mailer: title, Compared: old.about(), Addresses: len(addrs), Results: make([]comparison, 0, len(addrs))}
	for _, addr := range addrs {
		one := compareOne(cmd.Context(), old, p, addr)
		switch {
		case one.Error != "":
			c.Unasked++
		case !one.Same:
			c.Different++
		}
		c.Results = append(c.Results, one)
		if err := cmd.Context().Err(); err != nil {
			return err
		}
	}
	out := cmd.OutOrStdout()
	if o.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		err = enc.Encode(c)
	} else {
		err = c.print(out)
	}
	switch {
	case err != nil:
		return proc.Exit(proc.IOErr, "%w", err)
	case c.Different > 0:
		return proc.Silent(1)
	case c.Unasked > 0:
		return proc.Silent(proc.TempFail)
	}
	return nil
}

func compareOne(ctx context.Context, old asker, p *policy.Policy, addr string) comparison {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c := comparison{Address: addr}
	was, err := old.ask(ctx, addr)
	is, ours := ourWays(ctx, p, addr)
	for i, way := range is {
		is[i] = old.reduce(way)
	}
	c.Old, c.New = tidy(was), tidy(is)
	if err = errors.Join(err, ours); err != nil {
		c.Error = rfc5322.OneLine(err.Error(), 500)
	}
	c.Same = err == nil && slices.Equal(c.Old, c.New)
	return c
}

// tidy sorts ways, and takes out what is there twice.
func tidy(list []string) []string {
	if list == nil {
		list = []string{}
	}
	for i, s := range list {
		list[i] = rfc5322.OneLine(strings.ToValidUTF8(s, "?"), 1000)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// ourWays asks our policy.
func ourWays(ctx context.Context, p *policy.Policy, addr string) (ways []string, err error) {
	s := p.Session(ctx, &policy.Message{})
	defer s.Close()
	s.Route(policy.Recipient{Addr: addr}, func(d *policy.Decision) bool {
		switch d.Action {
		case policy.Deliver:
			ways = append(ways, ourWay(d))
		case policy.Reject:
			ways = append(ways, refused)
		case policy.Defer:
			err = fmt.Errorf("our policy: %s", d.String())
		case policy.Discard:
			ways = append(ways, "discarded")
		default:
			ways = append(ways, d.String())
		}
		return len(ways) < maxCompared
	})
	return ways, err
}

const refused = "refused"

func ourWay(d *policy.Decision) string {
	if d.Channel != policy.LocalChannel {
		return hopTo(d.Channel, d.Host, d.User)
	}
	switch {
	case strings.HasPrefix(d.Host, "pipe."):
		return "program " + strings.TrimPrefix(d.User, "|")
	case strings.HasPrefix(d.Host, "file."):
		return "file " + d.User
	}
	return "mailbox " + d.Host
}

// hopTo is the way to another host in the common form.
func hopTo(channel, host, addr string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, domain, ok := cutAddress(addr); ok {
		return channel + " " + host + " " + addr + "@" + strings.ToLower(domain)
	}
	return channel + " " + host + " " + addr
}

func cutAddress(addr string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(addr, '@')
	if i < 0 {
		return addr, "", false
	}
	return addr[:i], strings.TrimSuffix(addr[i+1:], "."), true
}

func (c *comparisons) print(out io.Writer) error {
	fmt.Fprintf(out, "%d addresses, %d different, %d could not be asked\n", c.Addresses, c.Different, c.Unasked)
	if c.Compared != "" {
		fmt.Fprintln(out, c.Compared)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	head := false
	for _, one := range c.Results {
		if one.Same {
			continue
		}
		if !head {
			fmt.Fprintf(w, "\nADDRESS\t%s\tZMAILER\n", strings.ToUpper(c.Mailer))
			head = true
		}
		addr := rfc5322.OneLine(one.Address, 200)
		if one.Error != "" {
			fmt.Fprintf(w, "%s\tcannot be asked: %s\t\n", addr, one.Error)
			continue
		}
		for i := range max(len(one.Old), len(one.New), 1) {
			fmt.Fprintf(w, "%s\t%s\t%s\n", addr, at(one.Old, i), at(one.New, i))
			addr = ""
		}
	}
	return w.Flush()
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	if len(list) == 0 && i == 0 {
		return "nobody"
	}
	return ""
}

func readAddresses(path string, stdin io.Reader) ([]string, error) {
	r := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	var list []string
	s := bufio.NewScanner(r)
	for s.Scan() {
		switch line := strings.TrimSpace(s.Text()); {
		case line == "" || line[0] == '#':
		case line[0] == '-':
			return nil, fmt.Errorf("%s: %.100q is no address", path, line)
		case len(list) == maxCompared:
			return nil, fmt.Errorf("%s: more than %d addresses", path, maxCompared)
		default:
			list = append(list, line)
		}
	}
	return list, s.Err()
}

// run runs a program of the other mailer. Its status is returned, not an error: many
// say by it that an address is unknown.
func run(ctx context.Context, program string, args ...string) (out string, status int, err error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var b bounded
	cmd.Stdout, cmd.Stderr = &b, &b
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	if err == nil && b.cut {
		err = fmt.Errorf("%s says more than %d bytes", program, maxAnswer)
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%s: no answer within %v", program, askTime)
	}
	return string(b.b), cmd.ProcessState.ExitCode(), err
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	b   []byte
	cut bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), maxAnswer-len(b.b))
	b.b, b.cut = append(b.b, p[:n]...), b.cut || n < len(p)
	return len(p), nil
}

// findProgram is the program of the other mailer: what the caller says, or the first of
// these that is there and is not this program.
func findProgram(said string, names ...string) (string, error) {
	if said != "" {
		names = []string{said}
	}
	var self os.FileInfo
	if exe, err := os.Executable(); err == nil {
		self, _ = os.Stat(exe)
	}
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if st, err := os.Stat(path); err == nil && self != nil && os.SameFile(st, self) {
			continue
		}
		return path, nil
	}
	return "", fmt.Errorf("no program of the other mailer to ask: none of %s is there; --program names one", strings.Join(names, ", "))
}
