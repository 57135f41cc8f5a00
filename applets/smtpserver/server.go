package smtpserver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/shellcfg/resolver"
	"zmailer/spool"
)

// A server is all sessions of the daemon and what they share.
type server struct {
	log     *slog.Logger
	spool   *spool.Spool
	names   resolver.Resolver // nil: clients' names are not looked up
	answers answers
	logins  logins
	rates   rates
	grey    *greylist

	cfg      atomic.Pointer[config]
	asker    atomic.Pointer[asker]
	closing  atomic.Bool
	cut      context.Context // ends when the sessions that are left are cut off
	cutOff   context.CancelFunc
	active   atomic.Int32 // sessions
	accepted atomic.Int64
	counts   *counts
	disk     diskRoom

	mu       sync.Mutex
	sessions map[*session]netip.Prefix
	count    map[netip.Prefix]int
	tasks    sync.WaitGroup // sessions
	turned   time.Time      // when the last line about a refused connection was logged
	cleared  time.Time      // when waiting sessions were last looked for
}

func newServer(log *slog.Logger, sp *spool.Spool, cfg *config) *server {
	srv := &server{log: log, grey: newGreylist(sp), spool: sp, sessions: make(map[*session]netip.Prefix), count: make(map[netip.Prefix]int)}
	srv.cut, srv.cutOff = context.WithCancel(context.Background())
	srv.cfg.Store(cfg)
	srv.counts = newCounts(&srv.active)
	return srv
}

// ask puts a question to the router. An asker that is being replaced is not
// asked any more, so the next try finds the new one; at the end there is none,
// and the answer is temporary.
func (srv *server) ask(fields ...string) *call {
	for range 2 {
		if a := srv.asker.Load(); a != nil {
			if c := a.ask(fields...); c != nil {
				return c
			}
		}
		runtime.Gosched()
	}
	c := calls.Get().(*call)
	c.done <- routerDied
	return c
}

// dns is what the checks ask. Without one nobody can say anything.
func (srv *server) dns() resolver.Resolver {
	if srv.names == nil {
		return noDNS{}
	}
	return srv.names
}

// accept takes connections from l until it is closed. It never waits for a
// client.
func (srv *server) accept(ctx context.Context, l *listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if l.closed.Load() || srv.closing.Load() {
				return
			}
			// Out of descriptors or memory: those in the house are served, and the
			// others wait at the door.
			srv.log.Error("accept", "host", l.Addr().String(), "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		srv.serve(ctx, c, *l.spec.Load())
	}
}

// clientText is a client in the log and in questions.
func clientText(ip netip.Addr) string {
	if !ip.IsValid() {
		return "local"
	}
	return ip.String()
}

const acceptPause = 100 * time.Millisecond

// serve begins a session, or turns the client away.
func (srv *server) serve(ctx context.Context, c net.Conn, spec listenSpec) {
	cfg := srv.cfg.Load()
	for !cfg.use.begin() {
		cfg = srv.cfg.Load() // it has just been replaced
	}
	s := &session{
		srv: srv, cfg: cfg, log: srv.log, ctx: ctx, conn: c, role: spec.role, listens: spec, limits: &cfg.limits,
		begun: time.Now(),
	}
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		s.client = tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	s.clientText = clientText(s.client)
	s.peer = s.client
	s.in.init(c, s.beforeRead)
	if !s.peer.IsValid() || !contains(cfg.proxies, s.peer) {
		srv.begin(s, spec)
		return
	}
	go func() {
		if err := srv.behindProxy(c, s); err != nil {
			srv.log.Warn("turned away", "client", s.clientText, "err", err)
			c.Close()
			srv.endUse(cfg)
			return
		}
		srv.begin(s, spec)
	}()
}

// begin begins a session whose client is known, or turns it away.
func (srv *server) begin(s *session, spec listenSpec) {
	cfg := s.cfg
	if why := srv.enter(s, cfg); why != nil {
		srv.turnAway(s.conn, spec, s, why)
		srv.endUse(cfg)
		return
	}
	s.relay = s.client.IsValid() && cfg.relays(s.client)
	s.name = srv.lookup(s.ctx, s.client)
	go func() {
		defer srv.endUse(cfg)
		defer srv.leave(s)
		if spec.tls {
			s.runTLS()
		} else {
			s.run()
		}
	}()
}

// lookup begins the search for the name of a client.
func (srv *server) lookup(ctx context.Context, ip netip.Addr) *lookup {
	switch {
	case !ip.IsValid() || ip.IsLoopback():
		return found("localhost")
	case srv.names == nil:
		return found("unknown")
	}
	return startLookup(ctx, srv.names, ip)
}

func (srv *server) endUse(cfg *config) {
	if err := cfg.use.end(); err != nil {
		srv.log.Error("close tables", "err", err)
	}
}

// runTLS is run on a port where TLS comes first.
func (s *session) runTLS() {
	if err := s.secure(); err != nil {
		s.trouble, s.done = err, true
	}
	if s.done {
		s.end()
		return
	}
	s.run()
}

// neighbourhood is the unit in which connections are counted: an IPv4 address,
// or the /64 that one subscriber of IPv6 has.
func neighbourhood(ip netip.Addr) netip.Prefix {
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // not an address: a local socket
	}
	return p
}

// A turning is why a client is turned away: what it is told, and what the log
// says to whoever may change it.
type turning struct{ reply, cause string }

// enter counts the session in. It returns why it may not, or nil.
func (srv *server) enter(s *session, cfg *config) *turning {
	key := neighbourhood(s.client)
	host := cfg.conf.Hostname
	srv.mu.Lock()
	defer srv.mu.Unlock()
	switch here := srv.count[key]; {
	case srv.closing.Load():
		return &turning{"4.3.2 " + host + " Service is shutting down, try again", "the server shuts down"}
	case len(srv.sessions) >= cfg.limits.sessions:
		return &turning{"4.7.0 " + host + " Error: too many connections, try again later",
			fmt.Sprintf("%d sessions are all that may be: limit sessions=%d of smtpserver.conf", len(srv.sessions), cfg.limits.sessions)}
	case key.IsValid() && here >= cfg.limits.perAddress && !cfg.trusts(s.client):
		return &turning{"4.7.0 " + host + " Error: too many connections from your address",
			fmt.Sprintf("%d sessions from %s: limit per_address=%d of smtpserver.conf, which does not count for relay_for and xclient_from", here, key, cfg.limits.perAddress)}
	}
	if len(srv.sessions) > cfg.limits.sessions/4*3 {
		srv.makeRoom()
	}
	srv.sessions[s] = key
	srv.active.Add(1)
	srv.count[key]++
	srv.tasks.Add(1)
	return nil
}

func (srv *server) leave(s *session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	key := srv.sessions[s]
	delete(srv.sessions, s)
	srv.active.Add(-1)
	if srv.count[key]--; srv.count[key] <= 0 {
		delete(srv.count, key)
	}
	srv.tasks.Done()
}

// turnAway says why and closes. The few octets fit into the socket's buffer, so
// nobody waits for the client to read them.
func (srv *server) turnAway(c conn, spec listenSpec, s *session, why *turning) {
	srv.counts.turnedAway.Inc()
	srv.mu.Lock()
	quiet := time.Since(srv.turned) < time.Second
	if !quiet {
		srv.turned = time.Now()
	}
	srv.mu.Unlock()
	if !quiet {
		srv.log.Warn("turned away", "client", s.clientText, "reason", why.cause)
	}
	if !spec.tls {
		if err := c.SetDeadline(time.Now().Add(time.Second)); err == nil {
			c.Write([]byte("421 " + why.reply + "\r\n")) // the client is gone, or will see it
		}
	}
	c.Close()
}

// makeRoom ends the sessions that only wait, when most places are taken.
func (srv *server) makeRoom() {
	now := time.Now()
	if now.Sub(srv.cleared) < time.Second {
		return
	}
	srv.cleared = now
	for s := range srv.sessions {
		if s.idle.Load() && now.Sub(time.Unix(0, s.since.Load())) > stressTime {
			s.conn.SetReadDeadline(now) // fails if it has just ended
		}
	}
}

// stressTime is what a client has for its next command when most sessions are
// taken: those who only hold one make room for those who want to send.
const stressTime = 20 * time.Second

// commandTimeout is the time for the next command.
func (srv *server) commandTimeout(cfg *config) time.Duration {
	if int(srv.active.Load()) > cfg.limits.sessions/4*3 {
		return min(stressTime, cfg.limits.command)
	}
	return cfg.limits.command
}

// close ends all sessions: those that wait for a command now, the others when
// their message is in, or when the grace is over. It waits for them.
func (srv *server) close(grace time.Duration) {
	defer srv.cutOff()
	srv.closing.Store(true)
	srv.eachSession(func(s *session) {
		// A session that goes idle after this sees closing by itself.
		if s.idle.Load() {
			s.conn.SetReadDeadline(time.Now()) // fails if it has just ended
		}
	})
	ended := make(chan struct{})
	go func() {
		srv.tasks.Wait()
		close(ended)
	}()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-ended:
		return
	case <-t.C:
	}
	srv.cutOff()
	srv.eachSession(func(s *session) {
		srv.log.Warn("session cut off", "client", s.clientText)
		s.conn.Close() // its own end sees to the rest
	})
	<-ended
}

func (srv *server) eachSession(f func(*session)) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for s := range srv.sessions {
		f(s)
	}
}

// status says how the server is, for the service manager.
func (srv *server) status(context.Context) string {
	return fmt.Sprintf("%d sessions; %d messages accepted", srv.active.Load(), srv.accepted.Load())
}

// room tells whether the spool has n octets left.
func (srv *server) room(n int64) bool { return srv.disk.left(srv.spool.Root) >= n }

// diskRoom asks the file system at most once a second.
type diskRoom struct {
	mu    sync.Mutex
	asked time.Time
	free  int64
}

func (d *diskRoom) left(dir string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if now.Sub(d.asked) < time.Second {
		return d.free
	}
	d.asked = now
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Files > 0 && st.Ffree == 0 {
		d.free = 0 // the commit would fail; say so before the message comes
		return 0
	}
	d.free = int64(st.Bavail) * st.Bsize
	return d.free
}
