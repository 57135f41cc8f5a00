package setup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// containerData is the volume of a container: all that the mailer writes.
const containerData = "/data"

// containerPort can be bound by any user.
const containerPort = "2525"

// ContainerCommand returns "zmailer container".
func ContainerCommand(cfg Config) *cobra.Command {
	return &cobra.Command{
		Use:   "container",
		Short: "Run as the only process of a container",
		Long: `container runs the mailer in the foreground, as any user, with a file system of which
only the volume /data is written to, and logs to standard output.

If /etc/zmailer/zmailer.conf is there, or ZCONFIG names another one, it is the
configuration, and all of it is yours; its spool is made if need be. Otherwise one is made
anew at each start from the environment:

  ZMAILER_SMARTHOST           smtp://[USER@]HOST[:PORT]: all mail goes there
  ZMAILER_PASSWORD_FILE       file with the password for it
  ZMAILER_INTERNET=yes        takes mail from everybody for its domain
  ZMAILER_BACKUP_MX           domains whose mail is kept for their own hosts
  ZMAILER_RELAY_FOR           networks whose hosts may send (the private ones with
                              ZMAILER_SMARTHOST, none otherwise)
  ZMAILER_HOSTNAME            name of the host (that of the container)
  ZMAILER_DOMAIN              completes addresses
  ZMAILER_PORT                to listen on (2525)
  ZMAILER_DATA                the volume (/data)
  ZMAILER_LOGFORMAT=json      JSON instead of text`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runContainer(cfg, os.Getenv) },
	}
}

func runContainer(cfg Config, env func(string) string) error {
	path := env("ZCONFIG")
	if path == "" {
		path = "/etc/zmailer/zmailer.conf"
	}
	_, err := os.Stat(path)
	switch {
	case err == nil:
		err = makeSpool(path)
	case errors.Is(err, fs.ErrNotExist) && env("ZCONFIG") == "":
		path, err = containerConf(cfg, env)
	}
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	return proc.Exit(proc.OSErr, "execute %s: %w", exe, unix.Exec(exe, []string{"zmailer", "run"}, append(os.Environ(), "ZCONFIG="+path)))
}

// makeSpool makes the spool of a configuration that is there.
func makeSpool(path string) error {
	conf, err := shellcfg.LoadConf(path)
	if err != nil {
		return err
	}
	if err := spool.Create(conf.Postoffice, false); err != nil {
		return err
	}
	return os.MkdirAll(conf.LogDir, 0o755)
}

// containerConf makes the configuration from the environment.
func containerConf(cfg Config, env func(string) string) (string, error) {
	or := func(name, def string) string {
		if v := env(name); v != "" {
			return v
		}
		return def
	}
	path := filepath.Join(or("ZMAILER_DATA", containerData), "etc/zmailer/zmailer.conf")
	if err := os.Setenv("ZCONFIG", path); err != nil {
		return "", err
	}
	n := &initiation{options: options{cfg: cfg}, force: true}
	n.out, n.in = io.Discard, strings.NewReader("")
	n.forcedPort = or("ZMAILER_PORT", containerPort)
	n.hostname, n.domain = env("ZMAILER_HOSTNAME"), env("ZMAILER_DOMAIN")
	n.smartURL, n.passwordFile = env("ZMAILER_SMARTHOST"), env("ZMAILER_PASSWORD_FILE")
	switch v := env("ZMAILER_INTERNET"); v {
	case "", "no":
	case "yes":
		n.internet = true
	default:
		return "", fmt.Errorf("ZMAILER_INTERNET=%s: want yes or no", v)
	}
	list := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	}
	n.backup = list(env("ZMAILER_BACKUP_MX"))
	n.relayFor = list(env("ZMAILER_RELAY_FOR"))
	if n.smartURL != "" && len(n.relayFor) == 0 {
		n.relayFor = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"}
	}
	n.extra = "LOG=stdout\n"
	switch v := env("ZMAILER_LOGFORMAT"); v {
	case "", "text":
	case "json":
		n.extra += "LOGFORMAT=json\n"
	default:
		return "", fmt.Errorf("ZMAILER_LOGFORMAT=%s: want text or json", v)
	}
	return path, n.run()
}
