package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"zmailer/shellcfg"
	"zmailer/shellcfg/resolver"
	"zmailer/spool"
	"zmailer/spool/counters"
	"zmailer/spool/journal"
	"zmailer/spool/proc"
	"zmailer/spool/zlog"
)

// pidFile is the name of the daemon's pid file in the run directory.
const pidFile = "smtpserver.pid"

// A daemon is the server with its listeners and its routers, as long as the
// process lives.
type daemon struct {
	conf    *shellcfg.Conf
	log     *slog.Logger
	logFile *zlog.Output
	srv     *server

	sessions  context.Context // ends after the last session, not with the signal to stop
	listeners map[string]*listener
	accepting sync.WaitGroup
	closing   sync.WaitGroup // routers that have been replaced
	carried   carried
}

// Run is the daemon: it serves until ctx is cancelled, and then as long as
// sessions need to finish the message they are in. SIGHUP makes it reopen its log
// and load its configuration anew. errOut gets a copy of the log.
func Run(ctx context.Context, conf *shellcfg.Conf, errOut io.Writer) error {
	sp, err := conf.EnterSpool()
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	if pid, err := proc.Running(sp.RunPath(pidFile)); err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	} else if pid != 0 {
		return proc.Exit(proc.TempFail, "%w", &proc.ErrRunning{Path: sp.RunPath(pidFile), Pid: pid})
	}
	log, logFile, err := conf.OpenLog("smtpserver", errOut)
	if err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	defer logFile.Close()
	cfg, err := loadConfig(ctx, conf, log)
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	names, err := resolver.New(resolver.Config{Log: log})
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	srv := newServer(log, sp, cfg)
	srv.names = names
	d := &daemon{conf: conf, log: log, logFile: logFile, srv: srv, listeners: make(map[string]*listener)}
	return d.run(ctx)
}

func (d *daemon) run(ctx context.Context) error {
	manager := proc.TakeNotifier()
	var stop context.CancelFunc
	d.sessions, stop = context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	hup := proc.Hangups()

	if err := d.bindAll(ctx); err != nil {
		d.unbind()
		return proc.Exit(proc.Unavailable, "%w", err)
	}
	defer d.unbind()
	closeJournal, err := openJournal(d.srv.spool, d.conf, d.log)
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	defer closeJournal()
	pid, err := proc.LockPidFile(d.srv.spool.RunPath(pidFile))
	if err != nil {
		return proc.Exit(proc.TempFail, "%w", err)
	}
	defer pid.Close()
	if err := d.handOverStore(); err != nil {
		return err
	}
	defer d.closeTLS()
	if err := d.openTLS(); err != nil {
		return proc.Exit(proc.Unavailable, "%w", err)
	}
	if err := dropRights(d.conf, d.srv.spool, d.log); err != nil {
		return proc.Exit(proc.NoPerm, "%w", err)
	}
	if d.carried.acme != nil {
		d.carried.acme.run(d.sessions)
	}
	if err := d.newAsker(); err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		d.srv.counts.set.Keep(d.sessions, counters.Path(d.srv.spool, spool.ServerDir), d.log)
	}()
	defer func() { stop(); <-kept }()
	for _, l := range d.listeners {
		d.accept(l)
	}
	d.log.Info("started", "pid", os.Getpid(), "host", d.addresses())
	go manager.Watch(ctx, d.srv.status)
	d.serve(ctx, hup)
	d.log.Info("stopped", "accepted", d.srv.accepted.Load())
	return nil
}

// serve waits for signals, and ends the sessions after the last one.
func (d *daemon) serve(ctx context.Context, hup <-chan os.Signal) {
	for {
		select {
		case <-hup:
			d.reload(ctx)
			continue
		case <-ctx.Done():
		}
		break
	}
	d.srv.closing.Store(true)
	d.unbind()
	d.srv.close(d.srv.cfg.Load().limits.shutdown)
	d.srv.asker.Load().close()
	d.closing.Wait()
	if err := d.srv.grey.close(); err != nil {
		d.log.Error("close greylist", "err", err)
	}
}

// openJournal gives the spool its journal, if the configuration wants one. The
// function it returns closes it.
func openJournal(sp *spool.Spool, conf *shellcfg.Conf, log *slog.Logger) (func(), error) {
	if conf.SpoolSync != "journal" {
		return func() {}, nil
	}
	j, err := journal.Open(sp, log)
	if err != nil {
		return nil, err
	}
	sp.Journal = j
	return func() {
		if err := j.Close(); err != nil {
			log.Error("close journal", "err", err)
		}
	}, nil
}

// newAsker starts routers for the configuration that is in force, and retires
// those before them.
func (d *daemon) newAsker() error {
	from, err := routers(d.conf, d.srv.spool)
	if err != nil {
		return err
	}
	l := d.srv.cfg.Load().limits
	old := d.srv.asker.Swap(newAsker(d.log, from, l.routers, l.router))
	d.srv.answers.clear()
	if old != nil {
		d.closing.Go(old.close)
	}
	return nil
}

// reload does what SIGHUP asks for. What is wrong with the new configuration is
// logged, and the old one goes on.
func (d *daemon) reload(ctx context.Context) {
	if err := d.logFile.Reopen(); err != nil {
		d.log.Error("reopen log, the old file goes on", "err", err)
	}
	conf, err := shellcfg.LoadConf(d.conf.File)
	if err != nil {
		d.log.Error("reload, the old configuration goes on", "err", err)
		return
	}
	if conf.Postoffice != d.conf.Postoffice || conf.SpoolSync != d.conf.SpoolSync {
		d.log.Error("reload, the old configuration goes on: a new POSTOFFICE or SPOOLSYNC needs a restart")
		return
	}
	cfg, err := d.carried.load(ctx, conf, d.log)
	if err != nil {
		d.log.Error("reload, the old configuration goes on", "err", err)
		return
	}
	d.reloadACME(cfg)
	d.conf = conf
	old := d.srv.cfg.Swap(cfg)
	if err := old.use.retire(); err != nil {
		d.log.Error("close tables", "err", err)
	}
	d.rebind(ctx)
	if err := d.newAsker(); err != nil {
		d.log.Error("reload, the old routers go on", "err", err)
	}
	d.log.Info("reloaded", "host", d.addresses())
}

// bindAll takes the sockets of systemd and opens those that are missing.
func (d *daemon) bindAll(ctx context.Context) error {
	cfg := d.srv.cfg.Load()
	given, err := inherited()
	if err != nil {
		return err
	}
	for i, g := range given {
		spec := adopt(g, g.name, cfg.listens)
		if spec.tls && cfg.tls == nil {
			err = errors.Join(err, fmt.Errorf("inherited socket %s: no certificate (tls CERT KEY)", g.Addr()))
		}
		l := newListener(g.Listener, spec)
		l.given = g.name
		// Two of them can be for the same line, such as IPv4 and IPv6.
		d.listeners[fmt.Sprint("given ", i)] = l
	}
	covered := d.covered()
	for _, spec := range cfg.listens {
		if !covered[spec.key()] {
			err = errors.Join(err, d.bind(ctx, spec))
		}
	}
	return err
}

// covered are the listen lines that have a socket.
func (d *daemon) covered() map[string]bool {
	keys := make(map[string]bool)
	for _, l := range d.listeners {
		keys[l.spec.Load().key()] = true
	}
	return keys
}

func (d *daemon) bind(ctx context.Context, spec listenSpec) error {
	l, err := spec.open(ctx)
	if err == nil {
		d.listeners[spec.key()] = l
	}
	return err
}

// rebind follows a changed list of addresses. A socket whose address is still
// there stays open, so that no client is refused; inherited ones stay always.
func (d *daemon) rebind(ctx context.Context) {
	cfg := d.srv.cfg.Load()
	want := make(map[string]listenSpec)
	for _, spec := range cfg.listens {
		want[spec.key()] = spec
	}
	for key, l := range d.listeners {
		if l.given != "" {
			if spec := adopt(l, l.given, cfg.listens); !spec.tls || cfg.tls != nil {
				l.spec.Store(&spec)
			} else {
				d.log.Error("inherited socket stays as it was: no certificate (tls CERT KEY)", "host", l.Addr().String())
			}
			continue
		}
		if spec, ok := want[key]; ok {
			l.spec.Store(&spec)
		} else if err := l.Close(); err != nil {
			d.log.Error("close listener", "host", l.Addr().String(), "err", err)
		} else {
			delete(d.listeners, key)
		}
	}
	covered := d.covered()
	for key, spec := range want {
		if covered[key] {
			continue
		}
		if err := d.bind(ctx, spec); err != nil {
			d.log.Error("listen", "host", spec.addr, "err", err)
			continue
		}
		d.accept(d.listeners[key])
	}
}

func (d *daemon) accept(l *listener) {
	d.accepting.Go(func() { d.srv.accept(d.sessions, l) })
}

// unbind closes the listeners and waits until nothing more is accepted.
func (d *daemon) unbind() {
	for key, l := range d.listeners {
		if err := l.Close(); err != nil {
			d.log.Error("close listener", "host", l.Addr().String(), "err", err)
		}
		delete(d.listeners, key)
	}
	d.accepting.Wait()
}

// addresses lists what the daemon listens on.
func (d *daemon) addresses() []string {
	var list []string
	for _, l := range d.listeners {
		list = append(list, l.Addr().String())
	}
	return list
}
