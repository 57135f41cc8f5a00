package smtpserver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"zmailer/applets/smtpserver/saslauth"
	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

// passwordsFile is the file of those who may log in, unless another one is named.
const passwordsFile = "db/passwords"

// passwdOptions are those of the command.
type passwdOptions struct {
	file                           string
	remove, list, print, withoutSC bool
}

// PasswdCommand is "zmailer passwd".
func PasswdCommand() *cobra.Command {
	var o passwdOptions
	cmd := &cobra.Command{
		Use:   "passwd [-f FILE] USER | -d USER | -n USER | -l",
		Short: "Set the password of a user who sends mail by SMTP",
		Long: `Set the password of a user who may log in at the SMTP server.

The password is asked for twice at a terminal, or is the first line of standard
input. The file gets a hash of argon2id, and keys for SCRAM-SHA-256. A server that
runs sees the change at once.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.list != (len(args) == 0) || o.list && (o.remove || o.print) || o.remove && o.print {
				return proc.Exit(proc.Usage, "want one user, or -l alone")
			}
			return o.run(cmd, args)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "password `file` (default "+passwordsFile+" beside smtpserver.conf)")
	f.BoolVarP(&o.remove, "delete", "d", false, "remove the user")
	f.BoolVarP(&o.list, "list", "l", false, "print the names of the users")
	f.BoolVarP(&o.print, "print", "n", false, "print the line and leave the file alone")
	f.BoolVar(&o.withoutSC, "no-scram", false, "no keys for SCRAM-SHA-256, which a thief of the file can try passwords against faster")
	return cmd
}

func (o *passwdOptions) run(cmd *cobra.Command, args []string) error {
	var conf *shellcfg.Conf
	if o.file == "" && !o.print {
		var err error
		if conf, err = shellcfg.LoadConf(shellcfg.ConfPath()); err != nil {
			return proc.Exit(proc.Config, "%w", err)
		}
		o.file = conf.Path(passwordsFile)
	}
	if o.list {
		return listUsers(o.file, cmd.OutOrStdout())
	}
	user := args[0]
	if !saslauth.ValidUser(user) {
		return proc.Exit(proc.Usage, "%q cannot be the name of a user", user)
	}
	line := ""
	if !o.remove {
		password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return proc.Exit(proc.DataErr, "password: %w", err)
		}
		if line, err = saslauth.Line(user, password, !o.withoutSC); err != nil {
			return proc.Exit(proc.DataErr, "%w", err)
		}
	}
	if o.print {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), line)
		return err
	}
	found, err := changeUser(o.file, user, line, conf)
	if err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	if o.remove && !found {
		return proc.Exit(proc.NoUser, "%s: no user %s", o.file, user)
	}
	return nil
}

// maxPassword bounds a password, in octets.
const maxPassword = 512

// readPassword reads a line; from a terminal twice, unseen.
func readPassword(in io.Reader, prompt io.Writer) (string, error) {
	f, ok := in.(*os.File)
	if ok {
		if old, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			return askPassword(f, old, prompt)
		}
	}
	return passwordText(bufio.NewReader(io.LimitReader(in, maxPassword+2)))
}

func passwordText(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	switch {
	case line == "":
		return "", errors.New("none on standard input")
	case len(line) > maxPassword:
		return "", fmt.Errorf("longer than %d octets", maxPassword)
	}
	return line, nil
}

func askPassword(tty *os.File, old *unix.Termios, prompt io.Writer) (_ string, err error) {
	silent := *old
	silent.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, &silent); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, old)) }()
	r := bufio.NewReader(tty)
	var twice [2]string
	for i, what := range []string{"New password: ", "Again: "} {
		fmt.Fprint(prompt, what)
		twice[i], err = passwordText(r)
		fmt.Fprintln(prompt)
		if err != nil {
			return "", err
		}
	}
	if twice[0] != twice[1] {
		return "", errors.New("the two are not the same")
	}
	return twice[0], nil
}

func listUsers(file string, out io.Writer) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return proc.Exit(proc.NoInput, "%w", err)
	}
	for line := range strings.Lines(string(b)) {
		if user := lineUser(line); user != "" {
			if _, err := fmt.Fprintln(out, user); err != nil {
				return err
			}
		}
	}
	return nil
}

// lineUser is whom a line of the file is about, "" for none.
func lineUser(line string) string {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return ""
	}
	user, _, _ := strings.Cut(line, ":")
	return user
}

// changeUser replaces the line of a user, or removes it if line is empty. The new
// file takes the place of the old one at once, with its owner and mode; two who
// change it do so one after the other.
func changeUser(file, user, line string, conf *shellcfg.Conf) (found bool, err error) {
	lock, err := os.OpenFile(file+".lock", os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return false, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	var text bytes.Buffer
	for l := range strings.Lines(string(old)) {
		switch {
		case lineUser(l) != user:
			text.WriteString(strings.TrimSuffix(l, "\n") + "\n")
		case !found && line != "":
			text.WriteString(line + "\n")
			fallthrough
		default:
			found = true
		}
	}
	if !found && line == "" {
		return false, nil
	}
	if !found {
		text.WriteString(line + "\n")
	}
	return found, replaceFile(file, text.Bytes(), conf)
}

// replaceFile writes a file anew. One that was not there belongs to root and is for
// the server to read.
func replaceFile(file string, text []byte, conf *shellcfg.Conf) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), ".passwords-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	uid, gid, mode := os.Getuid(), os.Getgid(), fs.FileMode(0o600)
	if st, err := os.Stat(file); err == nil {
		sys := st.Sys().(*syscall.Stat_t)
		uid, gid, mode = int(sys.Uid), int(sys.Gid), st.Mode().Perm()
	} else if conf != nil && os.Getuid() == 0 {
		if _, gid, err = conf.TrustedUser(); err != nil {
			return err
		}
		mode = 0o640
	}
	if err = f.Chown(uid, gid); err != nil {
		return err
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if _, err = f.Write(text); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), file); err != nil {
		return err
	}
	return f.Close()
}
