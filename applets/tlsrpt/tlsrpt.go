// Package tlsrpt is "zmailer tlsrpt": it sends the reports of RFC 8460 about the
// days that have gone by, to the domains that ask for them.
package tlsrpt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"zmailer/agents/tlsrpt"
	"zmailer/shellcfg"
	"zmailer/shellcfg/resolver"
	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// keepDays is how long a day waits for a domain whose record cannot be looked up.
const keepDays = 3

// lookupTime bounds the question for one domain.
const lookupTime = 20 * time.Second

// Command is the program.
func Command() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "tlsrpt [-n]",
		Short: "Report to other domains how our mail to them was encrypted",
		Long: `Report to other domains how our mail to them was encrypted (RFC 8460).

The agents count while TLSREPORTS of zmailer.conf is the address of somebody who
answers for it. Reports of days that are over (UTC) go to the domains that have a
record _smtp._tls.DOMAIN, by mail or https, and the counts are removed. To be run once a day.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			names, err := resolver.New(resolver.Config{})
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			r, err := newReporter(conf, names, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			if dry {
				return r.show(cmd.Context(), time.Now())
			}
			return r.run(cmd.Context(), time.Now())
		},
	}
	cmd.Flags().BoolVarP(&dry, "dry-run", "n", false, "print the reports, send and remove nothing")
	return cmd
}

// A dns is what is asked about domains.
type dns interface {
	TXT(ctx context.Context, name string) ([]string, error)
}

// A reporter works for one instance.
type reporter struct {
	spool   *spool.Spool
	dir     string
	dns     dns
	out     io.Writer
	contact rfc5322.Address
	domain  string // who reports
	client  *http.Client
}

func newReporter(conf *shellcfg.Conf, names dns, out io.Writer) (*reporter, error) {
	text := conf.Get("TLSREPORTS")
	if text == "" {
		return nil, proc.Exit(proc.Config, "%s: TLSREPORTS is not set, so nothing is counted; it is the address of who answers for the reports", conf.File)
	}
	contact, err := rfc5322.ParseAddress(text)
	if err == nil && contact.Domain == "" {
		err = errors.New("want an address with its domain")
	}
	if err != nil {
		return nil, proc.Exit(proc.Config, "%s: TLSREPORTS=%s: %w", conf.File, text, err)
	}
	sp, err := conf.OpenSpool()
	if err != nil {
		return nil, proc.Exit(proc.Config, "%w", err)
	}
	return &reporter{spool: sp, dir: sp.RunPath(tlsrpt.RunDir), dns: names, out: out, contact: contact, domain: contact.Domain, client: newClient()}, nil
}

// over are the days that are over.
func (r *reporter) over(now time.Time) ([]time.Time, error) {
	days, err := tlsrpt.Days(r.dir)
	today := now.UTC().Truncate(24 * time.Hour)
	for len(days) > 0 && !days[len(days)-1].Before(today) {
		days = days[:len(days)-1]
	}
	return days, err
}

// run sends the reports of all days that are over.
func (r *reporter) run(ctx context.Context, now time.Time) error {
	days, err := r.over(now)
	if err != nil || len(days) == 0 {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(r.dir, ".lock"), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return proc.Exit(proc.NoPerm, "%w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return proc.Exit(proc.TempFail, "reports are being sent by another process: %w", err)
	}
	var errs []error
	for _, day := range days {
		errs = append(errs, r.send(ctx, day, now))
	}
	if err := errors.Join(errs...); err != nil {
		return proc.Exit(proc.TempFail, "%w", err)
	}
	return nil
}

// send sends the reports of a day, and removes it when every domain has had its
// own, or is late.
func (r *reporter) send(ctx context.Context, day, now time.Time) error {
	counts, err := tlsrpt.ReadDay(r.dir, day)
	errs := []error{err}
	done, err := r.sent(day)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	waits := false
	for _, domain := range counts.Domains() {
		if done[domain] {
			continue
		}
		places, err := r.places(ctx, domain)
		if err == nil {
			err = r.deliver(ctx, counts.Report(domain, r.domain, r.contact.String()), day, places, done)
		}
		if err != nil {
			waits = true
			errs = append(errs, fmt.Errorf("%s: %w", domain, err))
			continue
		}
		if err := r.note(day, domain); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	if !waits || now.Sub(day) > keepDays*24*time.Hour {
		errs = append(errs, tlsrpt.Remove(r.dir, day))
	}
	return errors.Join(errs...)
}

// deliver sends a report to its places, but to those that have it. What has been sent
// is noted at once, since the other places may fail.
func (r *reporter) deliver(ctx context.Context, report *tlsrpt.Report, day time.Time, to places, done map[string]bool) error {
	domain := report.Policies[0].Policy.Domain
	var errs []error
	send := func(key, where string, f func() error) {
		if key = domain + " " + key; done[key] {
			return
		}
		err := f()
		if err == nil {
			fmt.Fprintf(r.out, "%s %s: %s\n", day.Format(time.DateOnly), domain, where)
			err = r.note(day, key)
		}
		errs = append(errs, err)
	}
	if len(to.mail) > 0 {
		text := strings.Join(to.mail, " ")
		send("mail", text, func() error { return r.submit(ctx, report, to.mail) })
	}
	for _, place := range to.post {
		send(place, place, func() error { return r.post(ctx, report, place) })
	}
	return errors.Join(errs...)
}

// places are where a domain wants its reports.
type places struct {
	mail []string // addresses
	post []string // https
}

func (p places) String() string {
	return strings.Join(append(p.mail[:len(p.mail):len(p.mail)], p.post...), " ")
}

// places looks up where reports about a domain are wanted.
func (r *reporter) places(ctx context.Context, domain string) (p places, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	texts, err := r.dns.TXT(ctx, "_smtp._tls."+domain)
	if resolver.StatusOf(err) == resolver.NotFound {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	for _, place := range tlsrpt.Places(texts) {
		if isPost(place) {
			p.post = append(p.post, place)
			continue
		}
		if len(place) < 7 || !strings.EqualFold(place[:7], "mailto:") {
			continue
		}
		addr, _, _ := strings.Cut(place[7:], "?")
		a, err := rfc5322.ParseAddress(unescape(addr))
		if err == nil && a.Domain != "" {
			p.mail = append(p.mail, a.String())
		}
	}
	return p, nil
}

// The file .sent of a day has the domains that have had their reports, a line each,
// and of those that wait for others the places that have theirs.
const sentFile = ".sent"

func (r *reporter) sentPath(day time.Time) string {
	return filepath.Join(r.dir, day.Format(time.DateOnly), sentFile)
}

func (r *reporter) sent(day time.Time) (map[string]bool, error) {
	b, err := os.ReadFile(r.sentPath(day))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	done := make(map[string]bool)
	for line := range strings.Lines(string(b)) {
		done[strings.TrimSuffix(line, "\n")] = true
	}
	return done, nil
}

func (r *reporter) note(day time.Time, domain string) error {
	f, err := os.OpenFile(r.sentPath(day), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(domain + "\n")
	return errors.Join(err, f.Close())
}

// show prints what would be sent.
func (r *reporter) show(ctx context.Context, now time.Time) error {
	days, err := r.over(now)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(r.out)
	enc.SetIndent("", " ")
	for _, day := range days {
		counts, err := tlsrpt.ReadDay(r.dir, day)
		if err != nil {
			return proc.Exit(proc.DataErr, "%w", err)
		}
		for _, domain := range counts.Domains() {
			places, err := r.places(ctx, domain)
			if err != nil {
				fmt.Fprintf(r.out, "# %s: %v\n", domain, err)
				continue
			}
			if len(places.mail)+len(places.post) == 0 {
				continue
			}
			fmt.Fprintf(r.out, "# to %s\n", places)
			if err := enc.Encode(counts.Report(domain, r.domain, r.contact.String())); err != nil {
				return err
			}
		}
	}
	return nil
}
