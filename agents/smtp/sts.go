package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"zmailer/shellcfg/resolver"
)

// Bounds of an MTA-STS policy, RFC 8461 §3.2 and §3.3.
const (
	maxSTSPolicy = 64 << 10
	maxSTSAge    = 31557600 * time.Second
	maxSTSHosts  = 200
	stsTimeout   = 20 * time.Second
	stsRetry     = 5 * time.Minute // after a fetch that did not work
)

// An stsPolicy is what a domain says about the hosts that take its mail.
type stsPolicy struct {
	mode string // enforce, testing or none
	mx   []string
	age  time.Duration
}

// parseSTS reads the file of a policy.
func parseSTS(text []byte) (*stsPolicy, error) {
	p := &stsPolicy{}
	seen := map[string]bool{}
	for line := range strings.SplitSeq(string(text), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		key, v, ok := strings.Cut(line, ":")
		key, v = strings.TrimSpace(key), strings.TrimSpace(v)
		if !ok || seen[key] && key != "mx" {
			if !ok {
				return nil, fmt.Errorf("policy line %.60q is no field", line)
			}
			continue // the first one counts
		}
		seen[key] = true
		if err := p.set(key, v); err != nil {
			return nil, err
		}
	}
	switch {
	case !seen["version"] || !seen["mode"] || !seen["max_age"]:
		return nil, errors.New("policy lacks version, mode or max_age")
	case len(p.mx) == 0 && p.mode != "none":
		return nil, errors.New("policy names no mx")
	}
	return p, nil
}

func (p *stsPolicy) set(key, v string) error {
	switch key {
	case "version":
		if v != "STSv1" {
			return fmt.Errorf("policy version %.20q", v)
		}
	case "mode":
		if v != "enforce" && v != "testing" && v != "none" {
			return fmt.Errorf("policy mode %.20q", v)
		}
		p.mode = v
	case "max_age":
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil {
			return fmt.Errorf("policy max_age %.20q", v)
		}
		p.age = time.Duration(min(n, uint64(maxSTSAge/time.Second))) * time.Second
	case "mx":
		if len(p.mx) == maxSTSHosts {
			return errors.New("policy names too many mx")
		}
		p.mx = append(p.mx, strings.ToLower(strings.TrimSuffix(v, ".")))
	}
	return nil
}

// allows tells whether a host may take the mail: RFC 8461 §4.1. "*" stands for
// the leftmost label alone.
func (p *stsPolicy) allows(host string) bool {
	host = strings.ToLower(host)
	_, parent, _ := strings.Cut(host, ".")
	for _, m := range p.mx {
		if rest, wild := strings.CutPrefix(m, "*."); m == host || wild && rest != "" && rest == parent {
			return true
		}
	}
	return false
}

// An stsCache finds the policies of domains, and keeps them for their time in a
// directory, so that all agents and their successors have them.
type stsCache struct {
	dir  string // "": not kept
	port string // of the web server; "443" but in tests

	mu     sync.Mutex
	failed map[string]time.Time // no fetch before this time
}

const maxSTSFailed = 10000

// stsID reads the TXT record: the id of the policy, "" if the domain has none.
func stsID(texts []string) string {
	id := ""
	for _, t := range texts {
		if !strings.HasPrefix(t, "v=STSv1;") && strings.TrimSpace(t) != "v=STSv1" {
			continue
		}
		if id != "" {
			return "" // more than one record is none: RFC 8461 §3.1
		}
		for f := range strings.SplitSeq(t, ";") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(f), "id="); ok && len(v) <= 32 && isAlnum(v) {
				id = v
			}
		}
	}
	return id
}

func isAlnum(s string) bool {
	for i := range len(s) {
		if c := s[i]; !digit(c) && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return s != ""
}

// policy returns the policy of a domain, nil if it has none that could be had: a
// domain whose policy was never seen is sent mail as if it had none.
func (sc *stsCache) policy(ctx context.Context, c *client, domain string) *stsPolicy {
	id := ""
	if ans, err := c.opt.resolver.Query(ctx, "_mta-sts."+domain, resolver.TypeTXT); err == nil {
		id = stsID(ans.Texts)
	}
	kept, keptID := sc.load(domain)
	if id == "" || kept != nil && keptID == id {
		return kept // without an answer, what was promised for its time holds
	}
	if !sc.mayFetch(domain) {
		return kept
	}
	text, err := sc.fetch(ctx, c, domain)
	var p *stsPolicy
	if err == nil {
		if p, err = parseSTS(text); err != nil {
			err = &stsSyntax{err}
		}
	}
	if err != nil {
		c.countSTS(domain, err)
		c.opt.transcript.start().note("MTA-STS of " + domain + ": " + err.Error())
		return kept
	}
	if err := sc.store(domain, id, text); err != nil {
		c.opt.transcript.start().note("MTA-STS of " + domain + ": " + err.Error())
	}
	sc.mu.Lock()
	delete(sc.failed, domain)
	sc.mu.Unlock()
	return p
}

// mayFetch says that no fetch was begun a moment ago, and notes that one is now.
func (sc *stsCache) mayFetch(domain string) bool {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	now := time.Now()
	if now.Before(sc.failed[domain]) {
		return false
	}
	if sc.failed == nil || len(sc.failed) >= maxSTSFailed {
		sc.failed = make(map[string]time.Time)
	}
	sc.failed[domain] = now.Add(stsRetry)
	return true
}

// file is where the policy of a domain is kept. Domains are canonical, but for
// slashes.
func (sc *stsCache) file(domain string) string {
	if sc.dir == "" || strings.ContainsAny(domain, "/\x00") || strings.HasPrefix(domain, ".") {
		return ""
	}
	return filepath.Join(sc.dir, domain)
}

// load returns the policy that is kept, if its time is not over.
func (sc *stsCache) load(domain string) (p *stsPolicy, id string) {
	path := sc.file(domain)
	if path == "" {
		return nil, ""
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSTSPolicy+200))
	if err != nil {
		return nil, ""
	}
	head, text, _ := bytes.Cut(b, []byte("\n"))
	id, when, _ := strings.Cut(string(head), " ")
	sec, err := strconv.ParseInt(when, 10, 64)
	if err != nil {
		return nil, ""
	}
	if p, err = parseSTS(text); err != nil || time.Since(time.Unix(sec, 0)) > p.age {
		return nil, ""
	}
	return p, id
}

func (sc *stsCache) store(domain, id string, text []byte) error {
	path := sc.file(domain)
	if path == "" {
		return nil
	}
	if err := os.Mkdir(sc.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.CreateTemp(sc.dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %d\n%s", id, time.Now().Unix(), text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// fetch gets the policy from the domain's web server: RFC 8461 §3.3.
func (sc *stsCache) fetch(ctx context.Context, c *client, domain string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, stsTimeout)
	defer cancel()
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: c.roots},
		DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10,
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return sc.dial(ctx, c, addr) },
	}
	web := http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, err
	}
	resp, err := web.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("web server says %s", resp.Status)
	}
	if media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || media != "text/plain" {
		return nil, fmt.Errorf("policy is %.60q, not text/plain", resp.Header.Get("Content-Type"))
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxSTSPolicy+1))
	if err == nil && len(text) > maxSTSPolicy {
		err = errors.New("policy is too large")
	}
	return text, err
}

// dial connects to a web server by the addresses that the agent's resolver knows.
func (sc *stsCache) dial(ctx context.Context, c *client, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ans, err := c.opt.resolver.Host(ctx, host)
	if err != nil {
		return nil, err
	}
	err = errors.New("no address")
	for _, ip := range ans.Addrs[:min(len(ans.Addrs), 4)] {
		var nc net.Conn
		d := net.Dialer{Timeout: stsTimeout / 4}
		if nc, err = d.DialContext(ctx, "tcp", net.JoinHostPort(ip.String(), sc.port)); err == nil {
			return nc, nil
		}
	}
	return nil, err
}

// stsTrust applies the policy of the domain that led to the target.
func (c *client) stsTrust(ctx context.Context, t *target, tr *trust) (found bool, err error) {
	if !t.looked || t.domain == "" {
		return false, nil
	}
	p := c.sts.policy(ctx, c, t.domain)
	tr.sts = p
	switch {
	case p == nil:
		tr.source += ", no MTA-STS"
		return false, nil
	case p.mode != "enforce":
		tr.source += ", MTA-STS " + p.mode
		return false, nil
	case !p.allows(t.name):
		return false, fmt.Errorf("the MTA-STS policy of %s does not name %s", t.domain, t.name)
	}
	tr.mode = tlsVerify
	t.trusted = true // the policy came from the domain, and names the host
	tr.source += ", MTA-STS enforce"
	return true, nil
}
