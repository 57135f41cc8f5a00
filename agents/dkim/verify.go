package dkim

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"zmailer/spool/rfc5322"
)

// A Status is the outcome of a signature: RFC 8601 §2.7.1.
type Status string

// The outcomes. PermError is a signature, or a key, that cannot be understood or
// used; TempError a key that could not be asked for.
const (
	Pass      Status = "pass"
	Fail      Status = "fail"
	PermError Status = "permerror"
	TempError Status = "temperror"
)

// A Verification is what is known of one signature.
type Verification struct {
	Status     Status
	Domain     string // d=
	Identifier string // i=
	Selector   string // s=
	Reason     string // why it is no good
}

// maxSignature bounds a field that is looked at.
const maxSignature = 64 << 10

// Verify checks the first signatures of a message, at most so many, in the order of
// the header. Lines may end with LF or CRLF. The work grows with the size of the
// message and the number of signatures, and with nothing else that a sender can choose.
func Verify(ctx context.Context, txt TXT, h rfc5322.Header, body io.Reader, most int) ([]Verification, error) {
	var list []*signature
	for i := range h {
		if h[i].Is("DKIM-Signature") && len(list) < most {
			list = append(list, readSignature(&h[i], time.Now()))
		}
	}
	sums, err := bodySums(list, body)
	if err != nil {
		return nil, err
	}
	fields := byName(h)
	var tasks sync.WaitGroup
	for _, s := range list {
		if s.Status == "" {
			tasks.Go(func() { s.check(ctx, txt, fields, sums) })
		}
	}
	tasks.Wait()
	out := make([]Verification, len(list))
	for i, s := range list {
		out[i] = s.Verification
	}
	return out, nil
}

// A signature is a DKIM-Signature field.
type signature struct {
	Verification
	field           *rfc5322.Field
	algorithm       string
	names           []string // of the fields that it signs
	relaxed         bool     // the fields
	relaxedBody     bool
	value, bodyHash []byte
}

// readSignature reads a field. One that cannot be verified has its status.
func readSignature(f *rfc5322.Field, now time.Time) *signature {
	s := &signature{field: f}
	if len(f.Raw) > maxSignature {
		s.end(PermError, "signature is too long")
		return s
	}
	t, err := ParseTags(f.Unfolded())
	if err == nil {
		err = s.read(t, now)
	}
	if err != nil {
		s.end(PermError, err.Error())
	}
	return s
}

func (s *signature) end(status Status, reason string) { s.Status, s.Reason = status, reason }

// read follows RFC 6376 §6.1.1.
func (s *signature) read(t Tags, now time.Time) error {
	if t["v"] != "1" {
		return errors.New("incompatible version")
	}
	for _, tag := range []string{"a", "b", "bh", "d", "h", "s"} {
		if t.Packed(tag) == "" {
			return fmt.Errorf("tag %s is missing", tag)
		}
	}
	var err1, err2 error
	s.Domain, err1 = rfc5322.CanonicalDomain(t.Packed("d"))
	s.Selector, err2 = rfc5322.CanonicalDomain(t.Packed("s"))
	if err1 != nil || err2 != nil || s.Domain[0] == '[' || s.Selector[0] == '[' {
		s.Domain = ""
		return errors.New("bad domain or selector")
	}
	s.Identifier = "@" + s.Domain
	if id := t.Packed("i"); id != "" {
		domain, err := rfc5322.CanonicalDomain(id[strings.LastIndexByte(id, '@')+1:])
		if err != nil || !strings.Contains(id, "@") || domain != s.Domain && !strings.HasSuffix(domain, "."+s.Domain) {
			return errors.New("identifier is not of the domain")
		}
		s.Identifier = id
	}
	if err := lifetime(t, now); err != nil {
		return err
	}
	if q := t.Packed("q"); q != "" && !slices.Contains(strings.Split(q, ":"), "dns/txt") {
		return errors.New("key is not in the DNS")
	}
	if s.algorithm = t.Packed("a"); s.algorithm != "rsa-sha256" && s.algorithm != "ed25519-sha256" {
		return fmt.Errorf("algorithm %.40q", s.algorithm) // RFC 8301 §3.1: SHA-1 is none
	}
	header, body, _ := strings.Cut(t.Packed("c"), "/")
	s.relaxed, s.relaxedBody = header == "relaxed", body == "relaxed"
	if !isForm(header) || !isForm(body) {
		return fmt.Errorf("canonicalization %.40q", t["c"])
	}
	s.names = strings.Split(t.Packed("h"), ":")
	if !slices.ContainsFunc(s.names, func(name string) bool { return strings.EqualFold(name, "From") }) {
		return errors.New("From is not signed")
	}
	s.value, err1 = base64.StdEncoding.DecodeString(t.Packed("b"))
	s.bodyHash, err2 = base64.StdEncoding.DecodeString(t.Packed("bh"))
	if err1 != nil || err2 != nil {
		return errors.New("signature cannot be decoded")
	}
	if _, ok := t["l"]; ok {
		// RFC 6376 §8.2: anything could have been added to the text.
		s.end(Fail, "a part of the body is not signed")
	}
	return nil
}

func isForm(s string) bool { return s == "" || s == "simple" || s == "relaxed" }

// lifetime checks the times of a signature.
func lifetime(t Tags, now time.Time) error {
	var at [2]uint64
	for i, tag := range []string{"t", "x"} {
		text, ok := t[tag]
		if !ok {
			continue
		}
		var err error
		if at[i], err = strconv.ParseUint(text, 10, 63); err != nil {
			return fmt.Errorf("bad time %s=%.40q", tag, text)
		}
	}
	if _, ok := t["x"]; ok && (at[1] < at[0] || uint64(now.Unix()) > at[1]) {
		return errors.New("signature has expired")
	}
	return nil
}

// bodySums are the hashes of the body in the forms that are needed, the simple one
// first. The body is read once.
func bodySums(list []*signature, body io.Reader) (sums [2][]byte, err error) {
	var writers []io.Writer
	var forms [2]*BodyWriter
	for i, relaxed := range []bool{false, true} {
		if slices.ContainsFunc(list, func(s *signature) bool { return s.Status == "" && s.relaxedBody == relaxed }) {
			forms[i] = &BodyWriter{W: sha256.New(), Relaxed: relaxed}
			writers = append(writers, forms[i])
		}
	}
	if len(writers) == 0 {
		return sums, nil
	}
	if _, err := io.Copy(io.MultiWriter(writers...), body); err != nil {
		return sums, err
	}
	for i, w := range forms {
		if w == nil {
			continue
		}
		if err := w.Close(); err != nil {
			return sums, err
		}
		sums[i] = w.W.(interface{ Sum([]byte) []byte }).Sum(nil)
	}
	return sums, nil
}

// byName are the fields of each name, from above.
func byName(h rfc5322.Header) map[string][]*rfc5322.Field {
	m := make(map[string][]*rfc5322.Field)
	for i := range h {
		name := strings.ToLower(h[i].Name())
		m[name] = append(m[name], &h[i])
	}
	return m
}

// text is what is signed: the fields from below, RFC 6376 §5.4.2, and the signature
// without its value. A name that is there more often than the field stands for none.
func (s *signature) text(fields map[string][]*rfc5322.Field) string {
	form := SimpleField
	if s.relaxed {
		form = RelaxedField
	}
	var b strings.Builder
	used := make(map[string]int)
	for _, name := range s.names {
		name = strings.ToLower(name)
		list := fields[name]
		if used[name]++; used[name] <= len(list) {
			b.WriteString(form(list[len(list)-used[name]]))
		}
	}
	b.WriteString(strings.TrimSuffix(form(WithoutSignature(s.field)), "\r\n"))
	return b.String()
}

// check verifies the signature: RFC 6376 §6.1.2 and 6.1.3.
func (s *signature) check(ctx context.Context, txt TXT, fields map[string][]*rfc5322.Field, sums [2][]byte) {
	texts, err := txt(ctx, s.Selector+"._domainkey."+s.Domain)
	switch {
	case errors.Is(err, ErrNoKey):
		s.end(PermError, "there is no key")
		return
	case err != nil:
		s.end(TempError, "key could not be asked for")
		return
	case len(texts) != 1: // RFC 6376 §3.6.2.2
		s.end(PermError, fmt.Sprintf("%d records instead of a key", len(texts)))
		return
	}
	record, err := ParseRecord(texts[0])
	if err != nil {
		s.end(PermError, "key: "+err.Error())
		return
	}
	if domain, err := rfc5322.CanonicalDomain(s.Identifier[strings.LastIndexByte(s.Identifier, '@')+1:]); record.Exact && (err != nil || domain != s.Domain) {
		s.end(PermError, "key is not for subdomains")
		return
	}
	sum := sums[0]
	if s.relaxedBody {
		sum = sums[1]
	}
	switch {
	case string(sum) != string(s.bodyHash):
		s.end(Fail, "body has changed")
	case CheckSignature(record.Key, s.algorithm, s.text(fields), s.value) != nil:
		s.end(Fail, ErrSignature.Error())
	default:
		s.Status = Pass
	}
}
