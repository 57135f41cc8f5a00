package tlsrpt

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"zmailer/agents/tlsrpt"
	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// submit puts a report into the spool, as mail to all of its places: RFC 8460 §5.3.
// It leaves as our other mail does, with a DKIM signature.
func (r *reporter) submit(ctx context.Context, report *tlsrpt.Report, places []string) error {
	packed, err := report.Gzip()
	if err != nil {
		return err
	}
	env := &spool.Envelope{HasFrom: true, From: r.contact.String()}
	for _, p := range places {
		env.To = append(env.To, spool.Recipient{Addr: p, Notify: "NEVER"})
	}
	sub, err := r.spool.Submit(env)
	if err != nil {
		return err
	}
	if _, err := sub.Write(r.message(report, packed, places)); err != nil {
		sub.Abort()
		return err
	}
	if err := sub.Commit(ctx); err != nil {
		return errors.Join(errors.New("report may have been sent"), err)
	}
	return nil
}

const boundary = "=_tlsrpt_report"

// message is the mail. It may go without encryption that is in order, since that
// is what it reports (RFC 8689 §4).
func (r *reporter) message(report *tlsrpt.Report, packed []byte, places []string) []byte {
	domain := report.Policies[0].Policy.Domain
	name := fmt.Sprintf("%s!%s!%d!%d.json.gz", r.domain, domain, report.Range.Start.Unix(), report.Range.End.Unix())
	var b bytes.Buffer
	field := func(name, text string) { b.WriteString(rfc5322.FoldText(name, text)) }
	field("From", r.contact.String())
	b.WriteString(rfc5322.FoldList("To", places))
	field("Subject", "Report Domain: "+domain+" Submitter: "+r.domain+" Report-ID: <"+report.ID+">")
	field("TLS-Report-Domain", domain)
	field("TLS-Report-Submitter", r.domain)
	field("TLS-Required", "No")
	field("Auto-Submitted", "auto-generated")
	field("MIME-Version", "1.0")
	field("Content-Type", `multipart/report; report-type="tlsrpt"; boundary="`+boundary+`"`)
	fmt.Fprintf(&b, "\n--%s\nContent-Type: text/plain; charset=utf-8\n\n", boundary)
	var good, bad int64
	for _, p := range report.Policies {
		good, bad = good+p.Summary.Successes, bad+p.Summary.Failures
	}
	fmt.Fprintf(&b, "This is a report about TLS of mail from %s to %s on %s (UTC):\n%d sessions were encrypted as they should be, %d were not. The attachment has the\ndetails (RFC 8460).\n",
		r.domain, domain, report.Range.Start.Format("2006-01-02"), good, bad)
	fmt.Fprintf(&b, "\n--%s\nContent-Type: application/tlsrpt+gzip\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment;\n\tfilename=\"%s\"\n\n", boundary, name)
	for text := base64.StdEncoding.EncodeToString(packed); text != ""; {
		n := min(len(text), 76)
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	fmt.Fprintf(&b, "\n--%s--\n", boundary)
	return b.Bytes()
}

// unescape decodes the address of a mailto: URI.
func unescape(s string) string {
	if d, err := url.PathUnescape(s); err == nil && !strings.ContainsAny(d, "\r\n\x00") {
		return d
	}
	return s
}
