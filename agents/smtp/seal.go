package smtp

import (
	"context"
	"errors"

	"github.com/emersion/go-msgauth/authres"

	"zmailer/agents/arc"
	"zmailer/agents/dkim"
	"zmailer/shellcfg"
	"zmailer/spool/rfc5322"
)

// A sealer adds to the chain (ARC, RFC 8617) of mail that strangers have sent and
// that leaves again, by an alias or a list: the next host then knows what this one
// found when it came.
type sealer struct {
	domain string   // whose key seals
	names  []string // of this host in Authentication-Results
}

// newSealer is for the instance: ARCDOMAIN, or else MYDOMAIN; none switches it off.
func newSealer(conf *shellcfg.Conf) (*sealer, error) {
	domain := conf.Get("ARCDOMAIN")
	if domain == "none" {
		return nil, nil
	}
	if domain == "" {
		domain = conf.MyDomain
	}
	if domain == "" {
		return nil, nil
	}
	domain, err := rfc5322.CanonicalDomain(domain)
	if err != nil {
		return nil, err
	}
	return &sealer{domain: domain, names: []string{conf.Hostname, conf.MyDomain}}, nil
}

// seal returns the fields of the next set, nil where there is nothing to seal: no
// key, no finding of this host, or a chain that nobody can add to. Findings in our
// name are ours: the router takes away those that came with the message.
func (j *job) seal(ct *content, h rfc5322.Header) ([]byte, error) {
	o := &j.c.opt
	if o.sealer == nil {
		return nil, nil
	}
	results := o.sealer.results(h)
	if results == "" {
		return nil, nil
	}
	keys, err := o.keys.OfDomain(o.sealer.domain)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	k := keys[0]
	for _, other := range keys {
		if other.Type() == "rsa" {
			k = other // which every verifier knows
			break
		}
	}
	fields, err := arc.Seal(arcKey(k), results, chainStatus(results), ct.writeWire)
	if errors.Is(err, arc.ErrNoSeal) {
		return nil, nil
	}
	return fields, err
}

func arcKey(k *dkim.Key) *arc.Key {
	return &arc.Key{Domain: k.Domain, Selector: k.Selector, Signer: k.Signer()}
}

// results is the body of the newest Authentication-Results field in our name.
func (s *sealer) results(h rfc5322.Header) string {
	for i := range h {
		if !h[i].Is("Authentication-Results") {
			continue
		}
		body := h[i].Unfolded()
		for _, name := range s.names {
			if rfc5322.EqualDomain(rfc5322.ResultsBy(body), name) {
				return body
			}
		}
	}
	return ""
}

// chainStatus is what the results say of the chain that the message came with.
func chainStatus(results string) arc.Status {
	_, list, err := authres.Parse(results)
	if err != nil {
		return arc.None
	}
	for _, r := range list {
		switch r := r.(type) {
		case *authres.ARCResult:
			return arc.Status(r.Value)
		case *authres.GenericResult:
			if r.Method == "arc" {
				return arc.Status(r.Value)
			}
		}
	}
	return arc.None
}

// passesThrough tells whether the content is mail that strangers sent through us.
func (j *job) passesThrough() bool { return !j.d.Control.Attr.Ours }

// signatures are the fields that go before the header of a content.
func (j *job) signatures(ctx context.Context, ct *content, h rfc5322.Header) ([]byte, error) {
	o := &j.c.opt
	var fields []byte
	var err error
	if j.passesThrough() {
		if fields, err = j.seal(ct, h); err != nil || !o.signAll {
			return fields, err
		}
	}
	keys, err := o.keys.For(ctx, h)
	if err != nil || len(keys) == 0 {
		return fields, err
	}
	own, err := dkim.Sign(keys, ct.writeWire)
	return append(fields, own...), err
}
