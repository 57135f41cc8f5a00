package smtpserver

import (
	"os"
	"os/exec"
)

// openTLS does for certificates what only root can do: it opens the ports where an
// authority looks for answers, and leaves behind who reads keys.
func (d *daemon) openTLS() error {
	cfg := d.srv.cfg.Load()
	if cfg.acme != nil {
		a, err := newACME(cfg.acme, d.srv.spool, d.log)
		if err != nil {
			return err
		}
		d.carried.acme = a
		cfg.useACME(a)
	}
	return d.openKeeper(cfg)
}

// openKeeper starts the keeper of keys, if this process is about to become somebody
// who may not be able to read them.
func (d *daemon) openKeeper(cfg *config) error {
	if os.Geteuid() != 0 || len(cfg.certs) == 0 {
		return nil
	}
	if uid, _, err := d.conf.TrustedUser(); err != nil || uid == 0 {
		return err
	}
	var files []*certFile
	var pairs []keyPair
	for _, c := range cfg.certs {
		if f, ok := c.(*certFile); ok && len(pairs) < maxPairs {
			files, pairs = append(files, f), append(pairs, f.files)
		}
	}
	if len(pairs) == 0 {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Args = []string{"zmailer", "smtpserver", "--keep-keys"}
	cmd.Stderr = os.Stderr
	cmd.Dir = "/"
	if d.carried.keeper, err = startKeeper(cmd, pairs); err != nil {
		return err
	}
	for _, f := range files {
		f.keeper = d.carried.keeper
	}
	return nil
}

// reloadACME follows a changed acme line. A port that cannot be opened any more is
// no reason to keep the rest of the new configuration back.
func (d *daemon) reloadACME(cfg *config) {
	old := d.carried.acme
	if old != nil && cfg.acme != nil && old.spec.equal(cfg.acme) {
		return
	}
	d.carried.acme = nil
	if err := old.close(); err != nil {
		d.log.Error("close acme", "err", err)
	}
	if cfg.acme == nil {
		return
	}
	a, err := newACME(cfg.acme, d.srv.spool, d.log)
	if err != nil {
		d.log.Error("a changed acme line needs a restart of the server", "err", err)
		return
	}
	d.carried.acme = a
	cfg.useACME(a)
	a.run(d.sessions)
}

func (d *daemon) closeTLS() {
	if err := d.carried.acme.close(); err != nil {
		d.log.Error("close acme", "err", err)
	}
	if err := d.carried.keeper.close(); err != nil {
		d.log.Error("close the keeper of keys", "err", err)
	}
}
