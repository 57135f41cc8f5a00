package dsn

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"

	"zmailer/spool/rfc5322"
)

// WriteTo writes what Build returns.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	msg, _ := r.Build()
	n, err := w.Write(msg)
	return int64(n), err
}

// Build returns the report as a complete message with LF line ends, and its BODY
// type: 7BIT or 8BITMIME. It reads r.Body, so that it works once.
func (r *Report) Build() (msg []byte, bodyType string) {
	returned, whole := r.returned()
	bodyType = "7BIT"
	if r.SMTPUTF8 || !ascii(string(returned)) {
		bodyType = "8BITMIME"
	}
	return r.build(returned, whole, bodyType != "7BIT"), bodyType
}

// returned collects what goes back of the message. A body that cannot be read
// is no reason to stay silent: the header goes back alone.
func (r *Report) returned() (msg []byte, whole bool) {
	header := endHeader(r.Header)
	if !r.returnsBody() {
		return header, false
	}
	var b bytes.Buffer
	b.Write(header)
	b.WriteByte('\n')
	n, err := io.Copy(&b, io.LimitReader(r.Body, r.BodySize+1))
	if err != nil || n != r.BodySize {
		return header, false
	}
	return b.Bytes(), true
}

// endHeader cuts the empty line off the end of a header and makes it end in a
// line end.
func endHeader(header []byte) []byte {
	h := bytes.TrimRight(header, "\r\n")
	return append(h[:len(h):len(h)], '\n')
}

func (r *Report) build(returned []byte, whole, eightBit bool) []byte {
	subject, text := r.text(whole)
	types := r.partTypes(whole)
	boundary := r.ID + "/" + rand.Text()

	b := make([]byte, 0, len(returned)+4096+256*len(r.Rcpts))
	b = r.appendHeader(b, subject, boundary, eightBit)
	b = append(b, "This is a report in several parts, for people and for programs.\n"...)
	part := func(fields string, body []byte) {
		b = append(b, "\n--"+boundary+"\n"+fields+"\n"...)
		b = append(b, body...)
		if len(body) == 0 || body[len(body)-1] != '\n' {
			b = append(b, '\n')
		}
	}
	fields, body := r.textPart(text)
	part(fields, body)
	part("Content-Description: Delivery status\nContent-Type: "+types.status+"\n", r.appendStatus(nil))
	encoding := ""
	if eightBit {
		encoding = "Content-Transfer-Encoding: 8bit\n"
	}
	part("Content-Description: Your message\nContent-Type: "+types.message+"\n"+encoding, returned)
	return append(b, "\n--"+boundary+"--\n"...)
}

func (r *Report) appendHeader(b []byte, subject, boundary string, eightBit bool) []byte {
	add := func(name, text string) { b = append(b, rfc5322.FoldText(name, text)...) }
	add("From", `Mail Delivery System <MAILER-DAEMON@`+r.ReportingMTA+`>`)
	add("To", "<"+rfc5322.OneLine(r.Sender, maxFieldText)+">")
	if !r.SMTPUTF8 {
		subject = rfc5322.EncodeWord(subject)
	}
	add("Subject", subject)
	add("Date", rfc5322.FormatDate(r.Date))
	add("Message-ID", rfc5322.MessageID(r.ID+"."+r.Kind.String(), r.ReportingMTA))
	if ids := rfc5322.ParseMessageIDs(r.field("Message-ID")); len(ids) > 0 && ascii(ids[0]) && len(ids[0]) <= maxFieldText {
		add("References", ids[0])
	}
	add("Auto-Submitted", "auto-replied")
	add("MIME-Version", "1.0")
	status := "delivery-status"
	if r.SMTPUTF8 {
		status = "global-delivery-status"
	}
	add("Content-Type", fmt.Sprintf("multipart/report; report-type=%s; boundary=%q", status, boundary))
	if eightBit {
		add("Content-Transfer-Encoding", "8bit")
	}
	return append(b, '\n')
}

type partTypes struct{ status, message string }

// partTypes are the types of RFC 3464 and RFC 3462, or those of RFC 6533.
func (r *Report) partTypes(whole bool) partTypes {
	switch {
	case r.SMTPUTF8 && whole:
		return partTypes{"message/global-delivery-status", "message/global"}
	case r.SMTPUTF8:
		return partTypes{"message/global-delivery-status", "message/global-headers"}
	case whole:
		return partTypes{"message/delivery-status", "message/rfc822"}
	}
	return partTypes{"message/delivery-status", "text/rfc822-headers"}
}

// textPart returns the fields and the content of the part for people. Where no
// SMTPUTF8 promises an 8-bit path it is sent as quoted-printable.
func (r *Report) textPart(text string) (fields string, body []byte) {
	fields = "Content-Description: Notification\nContent-Type: text/plain; charset=utf-8\n"
	if r.Form != nil && r.Form.Language != "" {
		fields += "Content-Language: " + r.Form.Language + "\n"
	}
	switch {
	case ascii(text):
		return fields, []byte(text)
	case r.SMTPUTF8:
		return fields + "Content-Transfer-Encoding: 8bit\n", []byte(text)
	}
	var b bytes.Buffer
	qp := quotedprintable.NewWriter(&b)
	io.WriteString(qp, text) // writing to memory does not fail
	qp.Close()
	return fields + "Content-Transfer-Encoding: quoted-printable\n", bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n"))
}

// field returns a field of the message's header.
func (r *Report) field(name string) string {
	h, _, err := rfc5322.ParseHeader(r.Header)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(h.Get(name))
}
