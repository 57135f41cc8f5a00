package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"zmailer/shellcfg/resolver"
	"zmailer/shellcfg/shell"
	"zmailer/spool/proc"
)

// A dnsList is a list of addresses in the DNS: RFC 5782.
type dnsList struct {
	zone  string
	among netip.Prefix // answers that count
	score int
}

// Answers of 127.255.255.0/24 are what lists say to those whose questions they
// do not answer. They mean nothing about the client.
var (
	listAnswers = netip.MustParsePrefix("127.0.0.0/8")
	listRefusal = netip.MustParsePrefix("127.255.255.0/24")
)

const (
	maxLists = 32
	listTime = 5 * time.Second
)

// parseDNSList reads ZONE[/ANSWERS][=SCORE], such as
// zen.example/127.0.0.0/28=3; the score of a list of friends is negative.
func parseDNSList(s string) (l dnsList, err error) {
	l = dnsList{among: listAnswers, score: 1}
	spec, score, given := strings.Cut(s, "=")
	if given {
		if l.score, err = strconv.Atoi(score); err != nil || l.score == 0 || l.score > 1000 || l.score < -1000 {
			return l, fmt.Errorf("%s: bad score", s)
		}
	}
	zone, among, given := strings.Cut(spec, "/")
	if given {
		if l.among, err = parseNetwork(among); err != nil {
			return l, err
		}
	}
	if l.zone = zone; zone == "" {
		return l, fmt.Errorf("%s: want the zone of a list", s)
	}
	return l, nil
}

// listName is the name under which a list knows an address.
func listName(ip netip.Addr, zone string) string {
	var b strings.Builder
	raw := ip.AsSlice()
	for i := len(raw) - 1; i >= 0; i-- {
		if ip.Is4() {
			fmt.Fprintf(&b, "%d.", raw[i])
		} else {
			fmt.Fprintf(&b, "%x.%x.", raw[i]&15, raw[i]>>4)
		}
	}
	return b.String() + zone
}

// listed tells whether the list has the address. An error says that nobody could
// tell.
func (l dnsList) listed(ctx context.Context, d resolver.Resolver, ip netip.Addr) (bool, error) {
	a, err := d.Query(ctx, listName(ip, l.zone), resolver.TypeA)
	if resolver.StatusOf(err) == resolver.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, addr := range a.Addrs {
		if listRefusal.Contains(addr) || !listAnswers.Contains(addr) {
			return false, fmt.Errorf("%s answers %s: it does not want to be asked", l.zone, addr)
		}
	}
	for _, addr := range a.Addrs {
		if l.among.Contains(addr) {
			return true, nil
		}
	}
	return false, nil
}

// dnsbl [-t THRESHOLD] ZONE[/ANSWERS][=SCORE]...: asks all lists at once. It sets
// dnsbl_score to the sum of those that have the client and dnsbl_lists to their
// names. Status 0: the sum has reached the threshold, which is 1; 1: it has not;
// 75: it has not, and a list that could have made the difference did not answer.
func dnsbl(call *shell.Call) int {
	s, ok := call.Host.(*session)
	if !ok {
		return call.Fail(errors.New("dnsbl: there is no client while the file is loaded"))
	}
	threshold, args := 1, call.Args
	if len(args) >= 2 && args[0] == "-t" {
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return call.Fail(fmt.Errorf("dnsbl: -t %s: not a number", args[1]))
		}
		threshold, args = n, args[2:]
	}
	if len(args) == 0 || len(args) > maxLists {
		return call.Fail(fmt.Errorf("dnsbl: want 1 to %d lists", maxLists))
	}
	lists := make([]dnsList, len(args))
	for i, arg := range args {
		var err error
		if lists[i], err = parseDNSList(arg); err != nil {
			return call.Fail(fmt.Errorf("dnsbl: %w", err))
		}
	}
	call.Setenv("dnsbl_score", "0")
	call.Setenv("dnsbl_lists", "")
	if !s.client.IsValid() {
		return 1
	}
	score, unknown, names := s.askLists(call.Ctx, lists)
	call.Setenv("dnsbl_score", strconv.Itoa(score))
	call.Setenv("dnsbl_lists", strings.Join(names, " "))
	switch {
	case score >= threshold:
		return 0
	case score+unknown >= threshold:
		return proc.TempFail
	}
	return 1
}

// askLists returns the score, what the lists without an answer could add to it,
// and the names of the lists that have the client.
func (s *session) askLists(ctx context.Context, lists []dnsList) (score, unknown int, names []string) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	hits, errs := make([]bool, len(lists)), make([]error, len(lists))
	var tasks sync.WaitGroup
	for i, l := range lists {
		tasks.Go(func() { hits[i], errs[i] = l.listed(ctx, s.srv.dns(), s.client) })
	}
	tasks.Wait()
	for i, l := range lists {
		switch {
		case errs[i] != nil:
			unknown += max(l.score, 0)
			s.log.Warn("list does not answer", "client", s.clientText, "err", errs[i])
		case hits[i]:
			score += l.score
			names = append(names, l.zone)
		}
	}
	return score, unknown, names
}
