// Package mailauth finds out whether a message comes from whom it names: SPF
// (RFC 7208), DKIM (RFC 6376, 8463), DMARC (RFC 9989) and ARC (RFC 8617), and writes the
// Authentication-Results field (RFC 8601) that says so.
//
// A check has more than two ends, and none stands for another: "temperror" means
// that nobody could say now, and what to do about it is for the caller to decide.
// Everything that a sender can make expensive is bounded: signatures, names that
// are asked for, and, by the context, time.
package mailauth

import (
	"context"
	"net/netip"
	"strings"

	"github.com/emersion/go-msgauth/authres"

	"zmailer/shellcfg/resolver"
)

// A DNS is what the checks ask; *resolver.Client is one.
type DNS interface {
	Host(ctx context.Context, host string) (*resolver.Answer, error)
	MX(ctx context.Context, domain string) ([]resolver.MX, error)
	PTR(ctx context.Context, addr netip.Addr) ([]string, error)
	TXT(ctx context.Context, name string) ([]string, error)
}

// Results are what is known of a message. A check that was not made has the
// value "".
type Results struct {
	SPF   SPFResult
	DKIM  []DKIMResult
	DMARC DMARCResult
	ARC   ARCResult
}

// TempError tells whether something that was asked for could not be found out.
func (r *Results) TempError() bool {
	if r.SPF.Value == authres.ResultTempError || r.DMARC.Value == authres.ResultTempError {
		return true
	}
	if r.ARC.Value == authres.ResultTempError && r.DMARC.Value != authres.ResultPass {
		return true // a chain that nobody needs does not matter
	}
	for _, d := range r.DKIM {
		if d.Value == authres.ResultTempError {
			return true
		}
	}
	return false
}

// Field is the Authentication-Results field in the name of id, in one line.
func (r *Results) Field(id string) string {
	var list []authres.Result
	if r.SPF.Value != "" {
		list = append(list, &authres.SPFResult{Value: r.SPF.Value, From: plain(r.SPF.From), Helo: plain(r.SPF.Helo)})
	}
	for _, d := range r.DKIM {
		list = append(list, d.result())
	}
	if r.ARC.Value != "" {
		list = append(list, r.ARC.result())
	}
	if r.DMARC.Value != "" {
		list = append(list, r.DMARC.result())
	}
	return "Authentication-Results: " + strings.TrimSpace(authres.Format(id, list))
}

// plain keeps out of the field what could be taken for a part of it: authres
// quotes, but neither escapes backslashes nor minds control characters.
func plain(s string) string {
	const most = 255
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\\' || r == '"' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
