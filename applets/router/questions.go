package router

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"zmailer/shellcfg/policy"
)

// maxAskers is how many connections are served at once: the server has one, and a
// second one while it reloads.
const maxAskers = 32

// An answerer serves spool.RouterSocket: the router's daemon answers there what a
// "router -I" answers on its standard input, with the daemon's tables, caches and
// policy, and spares the SMTP server a process. Root and the SMTP server's account
// can open it.
type answerer struct {
	l      net.Listener
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// listenQuestions needs the lock of the router's pid file: a socket that is there is
// of a router that died.
func listenQuestions(ctx context.Context, path string, h *policy.Holder, log *slog.Logger) (*answerer, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// The mode is that of the umask for a moment; the directory is not open to all,
	// and who connected meanwhile learns what "zmailer explain" tells him anyway.
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := giveToServer(path, h); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &answerer{l: l, cancel: cancel}
	a.wg.Go(func() { a.accept(ctx, h, log) })
	return a, nil
}

func giveToServer(path string, h *policy.Holder) error {
	if err := os.Chmod(path, 0o600); err != nil || os.Geteuid() != 0 {
		return err
	}
	uid, gid, err := h.Conf().TrustedUser()
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}

func (a *answerer) accept(ctx context.Context, h *policy.Holder, log *slog.Logger) {
	slots := make(chan struct{}, maxAskers)
	for {
		c, err := a.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Warn("question cannot be taken", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond): // no descriptors, no memory
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			log.Warn("question refused", "err", fmt.Sprintf("%d others ask", maxAskers))
			c.Close()
			continue
		}
		a.wg.Go(func() {
			defer func() { <-slots }()
			a.answer(ctx, c, h, log)
		})
	}
}

// answer serves one connection until its questions or the router end; those open
// then are still answered.
func (a *answerer) answer(ctx context.Context, c net.Conn, h *policy.Holder, log *slog.Logger) {
	defer c.Close()
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		c.(*net.UnixConn).CloseRead() // fails when it is closed already
		time.AfterFunc(grace, stop)
	})()
	if err := newHelper(h, log, c).serve(working, c); err != nil {
		log.Warn("questions ended", "err", err)
	}
}

// Close ends it and waits.
func (a *answerer) Close() error {
	a.cancel()
	err := a.l.Close()
	a.wg.Wait()
	return err
}
