package setup

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// tryLimit is how long the two messages may take.
const tryLimit = 30 * time.Second

// TryCommand returns "zmailer try".
func TryCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "try",
		Short: "Start the mailer, send yourself a message by sendmail and one by SMTP, and show both",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			return (&trial{conf: conf, cmd: cmd}).run(cmd.Context())
		},
	}
}

type trial struct {
	conf *shellcfg.Conf
	cmd  *cobra.Command
	me   *user.User
}

func (t *trial) say(format string, args ...any) {
	fmt.Fprintf(t.cmd.OutOrStdout(), format+"\n", args...)
}

// program runs one of the mailer's own programs.
func (t *trial) program(ctx context.Context, stdin string, argv ...string) ([]byte, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Args = argv
	cmd.Env = append(os.Environ(), "ZCONFIG="+t.conf.File)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return out, proc.Exit(proc.Unavailable, "%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return out, nil
}

func (t *trial) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*tryLimit)
	defer cancel()
	var err error
	if t.me, err = user.Current(); err != nil {
		return proc.Exit(proc.OSErr, "who are you? %w", err)
	}
	out, err := t.program(ctx, "", "zmailer", "start")
	if err != nil {
		return err
	}
	t.say("%s", bytes.TrimSpace(out))
	tags := []string{string(spool.NewID()), string(spool.NewID())}
	msg := fmt.Sprintf("To: %s\nSubject: a message by sendmail\nX-Try: %s\n\nIf you can read this, sendmail works.\n", t.me.Username, tags[0])
	if _, err := t.program(ctx, msg, "sendmail", "-t", "-i"); err != nil {
		return err
	}
	if err := t.bySMTP(tags[1]); err != nil {
		return proc.Exit(proc.Unavailable, "SMTP: %w", err)
	}
	for _, tag := range tags {
		text, err := t.await(ctx, tag)
		if err != nil {
			return err
		}
		t.say("\n%s", text)
	}
	// Status 1 is a warning, about a disk that gets full for example.
	out, err = t.program(ctx, "", "mailq", "-ss")
	if err != nil && !strings.Contains(err.Error(), "exit status 1\n") {
		return err
	}
	t.say("%s", out)
	bin, err := os.Executable()
	if err != nil {
		return err
	}
	dir := filepath.Dir(filepath.Dir(bin))
	t.say("Both messages arrived. The mailer is running and listens on %s.\n", t.conf.SMTPListen)
	t.say("  send      echo hello | %s/sbin/sendmail %s", dir, t.me.Username)
	t.say("  look      %s/bin/mailq -ss        logs in %s", dir, t.conf.LogDir)
	t.say("  change    %s, then %s reload", filepath.Dir(t.conf.File), bin)
	t.say("  stop      %s kill", bin)
	return nil
}

func (t *trial) bySMTP(tag string) error {
	addr, _, _ := strings.Cut(t.conf.SMTPListen, " ")
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(tryLimit))
	c, err := smtp.NewClient(conn, t.conf.Hostname)
	if err != nil {
		return err
	}
	defer c.Close()
	rcpt := t.me.Username + "@" + t.conf.Hostname
	if err := c.Mail(rcpt); err != nil {
		return err
	}
	if err := c.Rcpt(rcpt); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "From: %s\r\nTo: %s\r\nSubject: a message by SMTP\r\nX-Try: %s\r\n\r\nIf you can read this, SMTP works.\r\n", rcpt, rcpt, tag)
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// await waits until the message with the tag is in the user's mailbox, and returns it.
func (t *trial) await(ctx context.Context, tag string) (string, error) {
	_, template, _ := strings.Cut(t.conf.Mailbox, ":")
	path := strings.NewReplacer("%u", t.me.Username, "%h", t.me.HomeDir).Replace(template)
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if text := find(path, tag); text != "" {
			return text, nil
		}
		select {
		case <-ctx.Done():
			out, err := t.program(context.WithoutCancel(ctx), "", "mailq", "-v")
			return "", proc.Exit(proc.TempFail, "the message %s is not in %s after %s\n%s%v", tag, path, tryLimit, out, err)
		case <-tick.C:
		}
	}
}

// find returns the message with the tag from an mbox file or a Maildir.
func find(path, tag string) string {
	files := []string{path}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		files, _ = filepath.Glob(filepath.Join(path, "new", "*")) // the pattern is well-formed
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		at := bytes.Index(b, []byte("X-Try: "+tag))
		if at < 0 {
			continue
		}
		start := bytes.LastIndex(b[:at], []byte("\n\nFrom ")) + 2
		if start < 2 {
			start = 0
		}
		text := b[start:]
		if end := bytes.Index(text, []byte("\n\nFrom ")); end >= 0 {
			text = text[:end]
		}
		return string(bytes.TrimSpace(text))
	}
	return ""
}
