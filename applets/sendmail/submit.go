package sendmail

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// send sends the message on standard input.
func (o *options) send(cmd *cobra.Command) error {
	if !o.verbose && o.delivery != 'i' {
		_, err := o.submit(cmd.Context(), cmd.InOrStdin())
		return err
	}
	f, err := o.newFollower(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	id, err := o.submit(cmd.Context(), cmd.InOrStdin())
	if err != nil {
		return err
	}
	f.follow(cmd.Context(), id)
	return nil
}

// submit reads a message from in and makes it durable.
func (o *options) submit(ctx context.Context, in io.Reader) (spool.ID, error) {
	if len(o.recipients) == 0 && !o.fromHeader {
		return "", noRecipients(false)
	}
	to := &addressees{notify: o.notify, report: o.errors == 'm' || o.errors == 'e'}
	if err := to.addArguments(o.recipients); err != nil {
		return "", err
	}
	m, err := readMessage(newSource(ctx, in, o.ignoreDots))
	if err != nil {
		return "", readError(err)
	}
	if o.fromHeader {
		if err := to.addHeader(m.header); err != nil {
			return "", err
		}
	}
	if len(to.list) == 0 {
		return "", noRecipients(o.fromHeader)
	}
	m.hideBcc()
	env := o.envelope(to.list)
	env.BodyType = bodyType(o.bodyType, m.eightBit())
	id, err := o.store(ctx, env, m)
	if err != nil {
		return "", o.keep(m, err)
	}
	return id, nil
}

// noRecipients says so in Sendmail's words, which callers know.
func noRecipients(fromHeader bool) error {
	if fromHeader {
		return proc.Exit(proc.Usage, "No recipient addresses found in header")
	}
	return proc.Exit(proc.Usage, "Recipient names must be specified")
}

// readError gives an error in reading standard input its status.
func readError(err error) error {
	var exit *proc.ExitError
	switch {
	case err == nil, errors.As(err, &exit):
		return err
	case errors.Is(err, context.Canceled):
		return proc.Exit(proc.TempFail, "stopped by a signal, nothing was sent")
	}
	return proc.Exit(proc.IOErr, "read the message: %w", err)
}

// envelope says what the options and the environment say.
func (o *options) envelope(to []spool.Recipient) *spool.Envelope {
	return &spool.Envelope{
		External: o.external,
		HasFrom:  o.hasSender,
		From:     o.sender,
		To:       to,
		EnvID:    o.envID,
		Ret:      o.ret,
		With:     o.with,
		RcvdFrom: o.rcvdFrom,
		FullName: o.fullName,
		Priority: o.priority,
	}
}

// needsUTF8 tells whether an address of the envelope is not ASCII (RFC 6531 §3.2).
func needsUTF8(env *spool.Envelope) bool {
	return !isASCII([]byte(env.From)) ||
		slices.ContainsFunc(env.To, func(r spool.Recipient) bool { return !isASCII([]byte(r.Addr)) })
}

// bodyType is what to declare: what the caller says, unless the bytes are known
// to say otherwise.
func bodyType(said string, eightBit bool) string {
	if eightBit && (said == "" || said == "7BIT") {
		return "8BITMIME"
	}
	return said
}

// store puts the message into the spool. Whatever goes wrong there may be right
// later: the status is 75.
func (o *options) store(ctx context.Context, env *spool.Envelope, m *message) (spool.ID, error) {
	s, err := o.openSpool()
	if err != nil {
		return "", err
	}
	env.SMTPUTF8 = env.SMTPUTF8 || needsUTF8(env)
	sub, err := s.Submit(env)
	var system syscall.Errno
	switch {
	case errors.As(err, &system): // the file of a large envelope
		return "", proc.Exit(proc.TempFail, "%w", err)
	case err != nil:
		return "", proc.Exit(proc.DataErr, "%w", err)
	}
	if err := m.writeTo(sub); err != nil {
		sub.Abort()
		if errors.Is(err, context.Canceled) {
			return "", readError(err)
		}
		return "", proc.Exit(proc.TempFail, "%w", err)
	}
	if err := ctx.Err(); err != nil {
		sub.Abort()
		return "", readError(err)
	}
	if err := sub.Commit(ctx); err != nil {
		return "", proc.Exit(proc.TempFail, "%w", err)
	}
	return sub.ID, nil
}

// conf is the configuration, from the file that -C and with the spool that -oQ names.
func (o *options) conf() (*shellcfg.Conf, error) {
	path := o.config
	if path == "" {
		path = shellcfg.ConfPath()
	}
	conf, err := shellcfg.LoadConf(path)
	var file *fs.PathError
	switch {
	case errors.As(err, &file) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
		return nil, proc.Exit(proc.TempFail, "%w", err) // out of descriptors, a disk that fails
	case err != nil:
		return nil, proc.Exit(proc.Config, "%w", err)
	}
	if o.spoolDir != "" {
		conf.Postoffice = o.spoolDir
	}
	return conf, nil
}

func (o *options) openSpool() (*spool.Spool, error) {
	conf, err := o.conf()
	if err != nil {
		return nil, err
	}
	s, err := conf.OpenSpool()
	if err != nil {
		return nil, proc.Exit(proc.TempFail, "%w", err)
	}
	return s, nil
}

// environment takes from the environment what the options do not say. What is
// there was not written for us, so it is cleaned and never an error.
func (o *options) environment(getenv func(string) string) {
	const maxName = 200
	if o.fullName == "" {
		o.fullName = rfc5322.OneLine(getenv("NAME"), maxName)
	}
	if o.priority == "" {
		o.priority = priorities[getenv("MAILPRIORITY")]
	}
}
