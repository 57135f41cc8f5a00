package smtpserver

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"zmailer/shellcfg"
	"zmailer/spool"
)

// dropRights makes the process that user's, for good. What root alone can do has
// been done: ports are bound, the log and the journal are open.
func dropRights(conf *shellcfg.Conf, sp *spool.Spool, log *slog.Logger) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := conf.TrustedUser()
	if err != nil {
		return err
	}
	if uid == 0 {
		log.Warn("serving as root: TRUSTEDUSER says so, or its account does not exist")
		return nil
	}
	if err := handOver(sp, uid, gid); err != nil {
		return err
	}
	// The log is opened again after a rotation; there is none if LOG is not a file.
	if err := os.Lchown(conf.LogPath("smtpserver"), uid, gid); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	groups, err := conf.TrustedGroups()
	if err != nil {
		return err
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("give up the groups of root: %w", err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("give up the group of root: %w", err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("give up the rights of root: %w", err)
	}
	if syscall.Setuid(0) == nil {
		return errors.New("the rights of root came back")
	}
	return maySubmit(sp, uid)
}

// maySubmit finds out before the first client does whether the spool takes mail from
// this user: one that an ordinary user has made does not.
func maySubmit(sp *spool.Spool, uid int) error {
	for _, name := range []string{spool.PublicDir, spool.RouterDir} {
		dir := filepath.Join(sp.Root, name)
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("the server has become uid %d (TRUSTEDUSER), which cannot put mail into %s: %w: let root run zmailer install again, with the same --prefix, and let others pass the directories above it; or set TRUSTEDUSER=root", uid, dir, err)
		}
	}
	return nil
}

// handOver gives the server's directories to the user, with what is in them: the
// segments of the journal come and go while the server runs.
func handOver(sp *spool.Spool, uid, gid int) error {
	for _, d := range spool.Dirs {
		if !d.Server {
			continue
		}
		err := handOverDir(filepath.Join(sp.Root, d.Name), uid, gid)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // an older spool lacks some
			return err
		}
	}
	return nil
}

func handOverDir(dir string, uid, gid int) error {
	if err := os.Lchown(dir, uid, gid); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := os.Lchown(filepath.Join(dir, e.Name()), uid, gid); err != nil {
			return err
		}
	}
	return nil
}
