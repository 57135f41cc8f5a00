package sendmail

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"zmailer/applets/control"
	"zmailer/applets/explain"
	"zmailer/applets/mailq"
	"zmailer/applets/newaliases"
	"zmailer/applets/router"
	"zmailer/applets/scheduler/queuesock"
	"zmailer/applets/smtpserver"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// do does what the mode says.
func (o *options) do(cmd *cobra.Command) error {
	switch o.mode {
	case 'm':
		return o.runAndSend(cmd)
	case 's':
		return o.speak(cmd)
	case 'S':
		return o.readBatch(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr())
	case 'p':
		return o.showQueue(cmd)
	case 'P':
		return o.countQueue(cmd)
	case 'i':
		return o.buildAliases(cmd)
	case 'd':
		return o.act(cmd, control.Command())
	case 'D':
		return o.act(cmd, control.Command(), "run")
	case 't':
		return o.act(cmd, router.Command(), "-i")
	case 'v':
		return o.verify(cmd)
	case 'h':
		return o.act(cmd, mailq.Command(), "-Q")
	case 'H':
		// What Sendmail purges here is when hosts may be tried again; that is in the
		// scheduler's hands, and -q asks for it.
		return nil
	}
	panic("mode " + string(o.mode)) // setMode knows no other
}

// act lets another program of the mailer do the work, with this one's streams and
// configuration.
func (o *options) act(cmd, other *cobra.Command, args ...string) error {
	if o.config != "" {
		if err := os.Setenv("ZCONFIG", o.config); err != nil {
			return proc.Exit(proc.OSErr, "%w", err)
		}
	}
	other.SetIn(cmd.InOrStdin())
	other.SetOut(cmd.OutOrStdout())
	other.SetErr(cmd.ErrOrStderr())
	other.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	other.SilenceErrors, other.SilenceUsage = true, true
	return other.ExecuteContext(cmd.Context())
}

// runAndSend runs the queue if it is asked to, and sends a message if there is
// one to send.
func (o *options) runAndSend(cmd *cobra.Command) error {
	if o.queue {
		if err := o.runQueue(cmd.Context(), cmd.OutOrStdout()); err != nil {
			return err
		}
		if len(o.recipients) == 0 && !o.fromHeader {
			return nil
		}
	}
	return o.send(cmd)
}

// speak is the SMTP server for the caller, on standard input and output.
func (o *options) speak(cmd *cobra.Command) error {
	conf, err := o.conf()
	if err != nil {
		return err
	}
	err = smtpserver.Session(cmd.Context(), conf, cmd.InOrStdin(), cmd.OutOrStdout(), smtpserver.CurrentUser())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return proc.Exit(proc.IOErr, "the input ended without QUIT: what was not answered with 250 was not sent")
	}
	return proc.Exit(proc.TempFail, "%w", err)
}

// verify says where mail for the addresses would go: here, 67 and 75 speak of the
// addresses.
func (o *options) verify(cmd *cobra.Command) error {
	if len(o.recipients) == 0 {
		return noRecipients(false)
	}
	to := new(addressees)
	if err := to.addArguments(o.recipients); err != nil {
		return err
	}
	conf, err := o.conf()
	if err != nil {
		return err
	}
	addrs := make([]string, len(to.list))
	for i, r := range to.list {
		addrs[i] = r.Addr
	}
	how := explain.Options{From: o.sender, Brief: !o.verbose}
	return explain.Addresses(cmd.Context(), conf, how, addrs, cmd.OutOrStdout(), cmd.ErrOrStderr())
}

func (o *options) showQueue(cmd *cobra.Command) error {
	args := o.recipients // ids
	if o.verbose {
		args = append([]string{"-v"}, args...)
	}
	return o.act(cmd, mailq.Command(), args...)
}

// countQueue prints how many messages wait.
func (o *options) countQueue(cmd *cobra.Command) error {
	s, err := o.openSpool()
	if err != nil {
		return err
	}
	n := 0
	err = queuesock.Ask(cmd.Context(), s, &queuesock.Request{Op: queuesock.OpStatus}, func(a *queuesock.Answer) error {
		if a.Status != nil {
			n = a.Status.Messages
		}
		return nil
	})
	if errors.Is(err, queuesock.ErrDown) {
		all := &queuesock.Selection{All: true}
		err = queuesock.Offline(cmd.Context(), s, all, func(*queuesock.Entry) error { n++; return nil },
			func(spool.ID, error) { n++ }) // one that cannot be read waits too
	}
	if err != nil {
		return proc.Exit(proc.Unavailable, "%w", err)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), n)
	return err
}

func (o *options) buildAliases(cmd *cobra.Command) error {
	if o.aliasFile != "" {
		return o.act(cmd, newaliases.Command(), "--", o.aliasFile)
	}
	return o.act(cmd, newaliases.Command())
}
