package mailauth

import (
	"bufio"
	"context"
	"io"
	"net/netip"
	"strings"

	"github.com/emersion/go-msgauth/authres"

	"zmailer/agents/arc"
	"zmailer/spool/rfc5322"
)

// An ARCResult is what the chain of a message says: RFC 8617.
type ARCResult struct {
	Value   authres.ResultValue
	Reason  string       // why it is no good
	Client  netip.Addr   // who gave us the message
	Sealers []arc.Sealer // of a chain that passes, the first handler first
}

// ARC verifies the chain of a message.
func ARC(ctx context.Context, d DNS, client netip.Addr, msg io.Reader) ARCResult {
	br := bufio.NewReader(msg)
	head, _, err := rfc5322.ReadHeader(br, maxHeader)
	var h rfc5322.Header
	if err == nil {
		h, _, err = rfc5322.ParseHeader(head)
	}
	if err != nil {
		return ARCResult{Value: authres.ResultPermError, Reason: "header cannot be read", Client: client}
	}
	r := arc.Verify(ctx, keyLookup(d), h, br)
	return ARCResult{Value: authres.ResultValue(r.Status), Reason: r.Reason, Client: client, Sealers: r.Sealers}
}

// Vouches tells whether handlers who are trusted have seen the author's domain
// pass DMARC. The newest handlers must all be trusted, down to the one who says
// so: what others have sealed before them, they had checked. by is that one.
func (r *ARCResult) Vouches(author string, trusted func(domain string) bool) (by string, ok bool) {
	if r.Value != authres.ResultPass {
		return "", false
	}
	for i := len(r.Sealers) - 1; i >= 0 && trusted(r.Sealers[i].Domain); i-- {
		if passedDMARC(r.Sealers[i].Results, author) {
			return r.Sealers[i].Domain, true
		}
	}
	return "", false
}

// passedDMARC reads the results of a handler. One that names no author is about
// the only one there is.
func passedDMARC(results, author string) bool {
	_, list, err := authres.Parse(results)
	if err != nil {
		return false
	}
	for _, res := range list {
		d, ok := res.(*authres.DMARCResult)
		if !ok || d.Value != authres.ResultPass {
			continue
		}
		from := d.From[strings.LastIndexByte(d.From, '@')+1:]
		if from == "" || rfc5322.EqualDomain(from, author) {
			return true
		}
	}
	return false
}

func (r *ARCResult) result() authres.Result {
	params := map[string]string{"reason": plain(r.Reason)}
	if r.Client.IsValid() && r.Value != authres.ResultNone {
		params["smtp.remote-ip"] = r.Client.String()
	}
	return &authres.GenericResult{Method: "arc", Value: r.Value, Params: params}
}
