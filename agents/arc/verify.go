package arc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"

	"zmailer/agents/dkim"
	"zmailer/spool/rfc5322"
)

// A Status is what is known of a chain.
type Status string

// The states of a chain, RFC 8617 §4.4, and one for a key that could not be had.
const (
	None      Status = "none"
	Pass      Status = "pass"
	Fail      Status = "fail"
	TempError Status = "temperror"
)

// A Result is the outcome of Verify.
type Result struct {
	Status  Status
	Reason  string   // why it is no good
	Sealers []Sealer // of a chain that passes, the first handler first
}

// A Sealer is one who has handled the message.
type Sealer struct {
	Domain  string // d= of the seal, in lower case
	Results string // the ARC-Authentication-Results without the instance
}

// A verification is the work on one message.
type verification struct {
	ctx  context.Context
	txt  TXT
	keys map[string]fetched
}

// Verify checks the chain of a message. body is read only if there is one.
func Verify(ctx context.Context, txt TXT, h rfc5322.Header, body io.Reader) Result {
	list, err := sets(h)
	if err == nil && len(list) == 0 {
		return Result{Status: None}
	}
	if err == nil {
		v := &verification{ctx: ctx, txt: txt, keys: make(map[string]fetched)}
		err = v.check(list, h, body)
	}
	var temp *tempError
	switch {
	case errors.As(err, &temp):
		return Result{Status: TempError, Reason: err.Error()}
	case err != nil:
		return Result{Status: Fail, Reason: err.Error()}
	}
	r := Result{Status: Pass}
	for _, s := range list {
		_, text, _ := strings.Cut(s.results.Unfolded(), ";")
		r.Sealers = append(r.Sealers, Sealer{Domain: strings.ToLower(s.tags["d"]), Results: strings.TrimSpace(text)})
	}
	return r
}

// check follows RFC 8617 §5.2.
func (v *verification) check(list []set, h rfc5322.Header, body io.Reader) error {
	for i, s := range list {
		want := "pass"
		if i == 0 {
			want = "none"
		}
		if cv := strings.ToLower(s.tags["cv"]); cv != want {
			return fmt.Errorf("seal %d says cv=%.20q", i+1, cv)
		}
	}
	last := len(list) - 1
	if err := v.checkMessage(list[last].message, h, body); err != nil {
		return fmt.Errorf("signature of instance %d: %w", last+1, err)
	}
	for i := last; i >= 0; i-- {
		if err := v.checkSeal(list[:i+1]); err != nil {
			return fmt.Errorf("seal of instance %d: %w", i+1, err)
		}
	}
	return nil
}

// checkSeal checks the newest seal of a chain: RFC 8617 §5.1.1.
func (v *verification) checkSeal(chain []set) error {
	t := chain[len(chain)-1].tags
	if _, ok := t["h"]; ok {
		return errors.New("it has a tag h")
	}
	return v.verify(t, sealed(chain))
}

// sealed is the text under the newest seal of a chain.
func sealed(chain []set) string {
	var b strings.Builder
	for i := range chain {
		b.WriteString(dkim.RelaxedField(chain[i].results))
		b.WriteString(dkim.RelaxedField(chain[i].message))
		if i < len(chain)-1 {
			b.WriteString(dkim.RelaxedField(chain[i].seal))
		}
	}
	b.WriteString(strings.TrimSuffix(dkim.RelaxedField(dkim.WithoutSignature(chain[len(chain)-1].seal)), "\r\n"))
	return b.String()
}

// verify checks a signature with the key that the tags name.
func (v *verification) verify(t dkim.Tags, text string) error {
	sig, err := base64.StdEncoding.DecodeString(t.Packed("b"))
	if err != nil || len(sig) == 0 {
		return errors.New("bad signature")
	}
	if !rfc5322.ValidDomain(t["d"]) || !rfc5322.ValidDomain(t["s"]) {
		return errors.New("bad domain or selector")
	}
	if at, ok := t["t"]; ok {
		if _, err := strconv.ParseUint(at, 10, 63); err != nil {
			return errors.New("bad time")
		}
	}
	key, err := v.publicKey(strings.ToLower(t["d"]), strings.ToLower(t["s"]))
	if err != nil {
		return err
	}
	return dkim.CheckSignature(key, strings.ToLower(t["a"]), text, sig)
}

// checkMessage checks an ARC-Message-Signature, which is a DKIM signature but for
// its version: RFC 8617 §4.1.2.
func (v *verification) checkMessage(f *rfc5322.Field, h rfc5322.Header, body io.Reader) error {
	t, err := dkim.ParseTags(f.Unfolded())
	if err != nil {
		return err
	}
	if x, ok := t["x"]; ok {
		if at, err := strconv.ParseInt(x, 10, 63); err != nil || time.Now().Unix() > at {
			return errors.New("it has expired")
		}
	}
	headerForm, bodyForm, err := forms(t)
	if err != nil {
		return err
	}
	field := dkim.RelaxedField
	if headerForm == "simple" {
		field = dkim.SimpleField
	}
	names := strings.Split(t.Packed("h"), ":")
	var b strings.Builder
	for _, f := range pick(h, names) {
		b.WriteString(field(f))
	}
	for _, name := range names {
		if strings.EqualFold(name, sealField) {
			return errors.New("it signs a seal")
		}
	}
	b.WriteString(strings.TrimSuffix(field(dkim.WithoutSignature(f)), "\r\n"))
	sum, err := bodyHash(body, bodyForm == "relaxed", t)
	if err != nil {
		return err
	}
	if want, err := base64.StdEncoding.DecodeString(t.Packed("bh")); err != nil || string(want) != string(sum) {
		return errors.New("body has changed")
	}
	return v.verify(t, b.String())
}

// forms reads the tag c. Without it, signers of chains mean the relaxed forms, and
// verifiers take them so, though DKIM's default would be the simple ones.
func forms(t dkim.Tags) (header, body string, err error) {
	c, ok := t["c"]
	if !ok {
		return "relaxed", "relaxed", nil
	}
	header, body, ok = strings.Cut(strings.ToLower(c), "/")
	if !ok {
		body = "simple"
	}
	for _, s := range []string{header, body} {
		if s != "simple" && s != "relaxed" {
			return "", "", fmt.Errorf("canonicalization %.40q", c)
		}
	}
	return header, body, nil
}

// pick takes the fields of these names, from below, RFC 6376 §5.4.2. A name that
// is there more often than the field stands for nothing.
func pick(h rfc5322.Header, names []string) []*rfc5322.Field {
	left := make(map[string][]*rfc5322.Field) // by name, the lowest last
	for i := range h {
		name := strings.ToLower(h[i].Name())
		left[name] = append(left[name], &h[i])
	}
	var out []*rfc5322.Field
	for _, name := range names {
		name = strings.ToLower(name)
		if fields := left[name]; len(fields) > 0 {
			out = append(out, fields[len(fields)-1])
			left[name] = fields[:len(fields)-1]
		}
	}
	return out
}

// bodyHash is the hash of the body in its form, as far as the tag l says.
func bodyHash(body io.Reader, relaxed bool, t dkim.Tags) ([]byte, error) {
	digest := sha256.New()
	var w io.Writer = digest
	if l, ok := t["l"]; ok {
		n, err := strconv.ParseInt(l, 10, 63)
		if err != nil || n < 0 {
			return nil, errors.New("bad length")
		}
		w = &upTo{digest, n}
	}
	b := &dkim.BodyWriter{W: w, Relaxed: relaxed}
	if _, err := io.Copy(b, body); err != nil {
		return nil, &tempError{err}
	}
	if err := b.Close(); err != nil {
		return nil, &tempError{err}
	}
	return digest.Sum(nil), nil
}

// upTo takes n octets and drops the rest.
type upTo struct {
	h hash.Hash
	n int64
}

func (u *upTo) Write(p []byte) (int, error) {
	k := min(u.n, int64(len(p)))
	u.h.Write(p[:k])
	u.n -= k
	return len(p), nil
}
