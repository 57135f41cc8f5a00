package smtp

import (
	"context"
	"io"

	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// A signedGroup is a content that was signed: further transactions of the job may
// send the same one.
type signedGroup struct {
	group     *spool.Group
	converted bool
	fields    []byte
}

// sign adds the signatures to a content that is as it will go out. Mail of strangers
// is not signed: our signature would say that it comes from us, whatever stands in
// its From. It is sealed instead.
func (j *job) sign(ctx context.Context, ct *content, g *spool.Group) error {
	o := &j.c.opt
	if o.keys == nil || j.passesThrough() && !o.signAll && o.sealer == nil {
		return nil
	}
	if old := &j.signed; old.group == g && old.converted == (ct.convert != nil) {
		ct.signature = old.fields
		return nil
	}
	h, _, err := rfc5322.ParseHeader(g.Header)
	if err != nil {
		return err
	}
	ct.signature, err = j.signatures(ctx, ct, h)
	if err == nil {
		j.signed = signedGroup{g, ct.convert != nil, ct.signature}
	}
	return err
}

// writeWire writes the content with the line ends of SMTP, without its dots.
func (ct *content) writeWire(w io.Writer) error {
	var st stuffer
	buf := getBuffer(pieceSize)
	defer putBuffer(buf)
	err := ct.writeTo(func(p []byte) error {
		*buf = st.append((*buf)[:0], p)
		_, err := w.Write(*buf)
		return err
	})
	if err == nil {
		_, err = w.Write(st.finish((*buf)[:0]))
	}
	return err
}
