package smtpserver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"time"

	"zmailer/shellcfg"
	"zmailer/spool"
)

// A LocalUser is who speaks SMTP on standard input. The files he submits are his
// own, which is how the router knows him; nothing else about him is believed.
type LocalUser struct {
	Uid  int
	Name string
}

// CurrentUser is the real user of this process.
func CurrentUser() LocalUser {
	u := LocalUser{Uid: os.Getuid()}
	u.Name = "uid" + strconv.Itoa(u.Uid) // an account may be gone while its processes live
	if acct, err := user.LookupId(strconv.Itoa(u.Uid)); err == nil {
		u.Name = acct.Username
	}
	return u
}

// Session holds one session with a local user, as "sendmail -bs" does. The user
// may send to everybody; recipients are not checked here, since the router will
// bounce what is wrong to the user himself. Messages are synced one by one. It
// returns an error when the input ended without QUIT; a message that was under
// way then is dropped.
func Session(ctx context.Context, conf *shellcfg.Conf, in io.Reader, out io.Writer, who LocalUser) error {
	sp, err := conf.OpenSpool()
	if err != nil {
		return err
	}
	return localSession(ctx, conf, sp, in, out, who)
}

func localSession(ctx context.Context, conf *shellcfg.Conf, sp *spool.Spool, in io.Reader, out io.Writer, who LocalUser) error {
	// Limits and hooks are for the network. A user need not even be able to read
	// smtpserver.conf.
	cfg := &config{conf: conf, limits: defaultLimits()}
	cfg.limits.errors, cfg.limits.rejects, cfg.limits.idle = maxLocal, maxLocal, maxLocal
	log := slog.New(slog.DiscardHandler)
	s := &session{
		srv: newServer(log, sp, cfg), cfg: cfg, limits: &cfg.limits, log: log, ctx: ctx, conn: &pipe{in, out},
		role: roleMX, local: &who, relay: true, name: found("localhost"), begun: time.Now(),
	}
	s.ends = &lineEnds{src: in}
	s.in.init(s.ends, s.beforeRead)
	s.run()
	if errors.Is(s.trouble, io.EOF) || s.trouble == nil && !s.done {
		return io.ErrUnexpectedEOF
	}
	return s.trouble
}

// maxLocal is the bound of what is no harm from a local user.
const maxLocal = 1 << 20

// A pipe is the connection of a local session. It has no deadlines: the user may
// type.
type pipe struct {
	io.Reader
	io.Writer
}

func (*pipe) Close() error                    { return nil }
func (*pipe) SetDeadline(time.Time) error     { return nil }
func (*pipe) SetReadDeadline(time.Time) error { return nil }
