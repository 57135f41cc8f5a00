// Package resolver answers the questions that mail has for the DNS, and never
// confuses "there is none" with "nobody could say".
//
// Every lookup ends in one of three ways (Status): found, with a nil error;
// not found, with an error that is ErrNotFound, which only an answer from the
// DNS can cause; anything else is temporary, with an error that is ErrTemp:
// timeouts, SERVFAIL, REFUSED, nonsense, a cancelled context. A caller that
// gives up for good on ErrNotFound and tries again on every other error loses
// no mail.
//
// Client asks the servers of resolv.conf; Fake answers from records declared
// in a test. Both offer the same methods: Query for one type with all facts
// (aliases, DNSSEC, expiry) and short forms for the common questions. Names
// are plain ASCII, with or without the last dot; the caller has converted
// international ones. There is no search list: a domain in mail is absolute.
//
// Answers are shared by those who ask at the same time and by the cache: what
// Query and Host return must not be modified.
package resolver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sort"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Status is the outcome of a lookup.
type Status int

const (
	Found    Status = iota
	NotFound        // the DNS says that there is none
	TempFail        // nobody could say
)

func (s Status) String() string {
	switch s {
	case Found:
		return "found"
	case NotFound:
		return "not found"
	}
	return "temporary failure"
}

// What errors.Is finds in the error of a lookup: exactly one of the two.
var (
	ErrNotFound = errors.New("not found")
	ErrTemp     = errors.New("temporary failure")
)

// StatusOf classifies the error of a lookup. An unknown error is temporary.
func StatusOf(err error) Status {
	switch {
	case err == nil:
		return Found
	case errors.Is(err, ErrNotFound):
		return NotFound
	}
	return TempFail
}

// Error is the error of every lookup.
type Error struct {
	Status   Status // NotFound or TempFail
	Name     string
	Type     Type
	NXDomain bool   // NotFound: the name does not exist at all, with no type
	Reason   string // for the log: "no such domain", "SERVFAIL from 192.0.2.53:53"
	Err      error  // the cause, if there is one
}

func (e *Error) Error() string {
	return e.Name + " " + e.Type.String() + ": " + e.Reason
}

// Is makes errors.Is know ErrNotFound and ErrTemp.
func (e *Error) Is(target error) bool {
	return target == ErrNotFound && e.Status == NotFound || target == ErrTemp && e.Status != NotFound
}

func (e *Error) Unwrap() error { return e.Err }

// Type is a record type.
type Type uint16

// The types that are asked for. TypeHost stands for A and AAAA together; it
// is found in errors, never in a query.
const (
	TypeHost  Type = 0
	TypeA          = Type(dns.TypeA)
	TypeAAAA       = Type(dns.TypeAAAA)
	TypeMX         = Type(dns.TypeMX)
	TypePTR        = Type(dns.TypePTR)
	TypeTXT        = Type(dns.TypeTXT)
	TypeTLSA       = Type(dns.TypeTLSA)
	TypeCNAME      = Type(dns.TypeCNAME)
)

func (t Type) String() string {
	if t == TypeHost {
		return "A/AAAA"
	}
	return dns.Type(t).String()
}

// MX is one mail exchanger. Host is in lower case without the last dot.
type MX struct {
	Host string
	Pref uint16
}

// TLSA is one record of RFC 6698.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// Answer is what was found. The field of the asked type has at least one
// element, the others are empty.
type Answer struct {
	Name    string // as asked, in lower case without the last dot
	CName   string // where the aliases led; Name if there are none
	Secure  bool   // validated by DNSSEC, said by a server we may believe
	Expires time.Time
	MX      []MX         // in order of preference
	Addrs   []netip.Addr // A before AAAA
	Names   []string     // of PTR and CNAME
	Texts   []string     // of TXT, the strings of a record joined
	TLSA    []TLSA
	Partial error // from Host: the address family that could not be asked
}

// IsNullMX tells whether a domain declares that it takes no mail
// (RFC 7505): the only exchanger is the root, Host "".
func IsNullMX(mx []MX) bool { return len(mx) == 1 && mx[0].Host == "" }

// Resolver is all that Client and Fake can do. Consumers declare interfaces
// of the few methods they use.
type Resolver interface {
	Query(ctx context.Context, name string, t Type) (*Answer, error)
	Host(ctx context.Context, host string) (*Answer, error)
	MX(ctx context.Context, domain string) ([]MX, error)
	Addrs(ctx context.Context, host string) ([]netip.Addr, error)
	PTR(ctx context.Context, addr netip.Addr) ([]string, error)
	TXT(ctx context.Context, name string) ([]string, error)
	TLSA(ctx context.Context, name string) ([]TLSA, error)
	CNAME(ctx context.Context, name string) (string, error)
}

// lookups are the short forms over one query method.
type lookups struct {
	query   func(ctx context.Context, name string, t Type) (*Answer, error)
	hosts   func() (*hosts, error) // nil: there is no hosts file
	shuffle bool                   // equal exchangers in random order
}

// MX returns the exchangers by preference, equal ones in random order
// (RFC 5321 §5.1). See IsNullMX.
func (l *lookups) MX(ctx context.Context, domain string) ([]MX, error) {
	a, err := l.query(ctx, domain, TypeMX)
	if err != nil {
		return nil, err
	}
	mx := append([]MX(nil), a.MX...)
	if l.shuffle {
		rand.Shuffle(len(mx), func(i, j int) { mx[i], mx[j] = mx[j], mx[i] })
		sort.SliceStable(mx, func(i, j int) bool { return mx[i].Pref < mx[j].Pref })
	}
	return mx, nil
}

// Addrs returns the IPv4 and IPv6 addresses of a host. It fails only if no
// address is known; Host tells whether one family could not be asked.
func (l *lookups) Addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	a, err := l.Host(ctx, host)
	if err != nil {
		return nil, err
	}
	return append([]netip.Addr(nil), a.Addrs...), nil
}

// PTR returns the names of an address that are well-formed host names.
func (l *lookups) PTR(ctx context.Context, addr netip.Addr) ([]string, error) {
	name, err := dns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return nil, &Error{Status: NotFound, Name: addr.String(), Type: TypePTR, Reason: "not an address"}
	}
	if l.hosts != nil {
		h, err := l.hosts()
		if err != nil {
			return nil, &Error{Status: TempFail, Name: addr.String(), Type: TypePTR, Reason: err.Error(), Err: err}
		}
		if names := h.names[addr.Unmap()]; len(names) > 0 {
			return append([]string(nil), names...), nil
		}
	}
	a, err := l.query(ctx, name, TypePTR)
	if err != nil {
		return nil, err
	}
	return append([]string(nil), a.Names...), nil
}

// TXT returns the texts of a name.
func (l *lookups) TXT(ctx context.Context, name string) ([]string, error) {
	a, err := l.query(ctx, name, TypeTXT)
	if err != nil {
		return nil, err
	}
	return append([]string(nil), a.Texts...), nil
}

// TLSA returns the records of a full name such as _25._tcp.mx.example.org.
// They mean something only if Secure is set in the Answer of Query.
func (l *lookups) TLSA(ctx context.Context, name string) ([]TLSA, error) {
	a, err := l.query(ctx, name, TypeTLSA)
	if err != nil {
		return nil, err
	}
	return append([]TLSA(nil), a.TLSA...), nil
}

// CNAME returns the name that name is an alias of, one step.
func (l *lookups) CNAME(ctx context.Context, name string) (string, error) {
	a, err := l.query(ctx, name, TypeCNAME)
	if err != nil {
		return "", err
	}
	return a.Names[0], nil
}

// clean brings a name to the form used in answers and cache keys; ok is false
// if no host or service can have that name, so that the DNS is not asked.
func clean(name string) (canon string, ok bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return name, false
	}
	label, upper := 0, false
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return name, false
			}
			label = 0
			continue
		case c >= 'A' && c <= 'Z':
			upper = true
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '/':
			// '/' stands in the names of RFC 2317.
		default:
			return name, false
		}
		if label++; label > 63 {
			return name, false
		}
	}
	if label == 0 {
		return name, false
	}
	if upper {
		name = strings.ToLower(name)
	}
	return name, true
}
