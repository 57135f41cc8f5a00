package smtpserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"zmailer/shellcfg/shell"
	"zmailer/spool"
)

// acmeSpec is an acme line: certificates for these names from an authority that
// speaks ACME (RFC 8555).
type acmeSpec struct {
	names     []string
	email     string
	directory string // URL; "": Let's Encrypt
	ca        string // file of the authority that the server at the URL has its own certificate of
	http, tls string // where the authority finds the answers to its challenges
}

func (a *acmeSpec) equal(b *acmeSpec) bool {
	return slices.Equal(a.names, b.names) && a.email == b.email && a.directory == b.directory && a.ca == b.ca &&
		a.http == b.http && a.tls == b.tls
}

const maxACMENames = 100

// acme NAME... [http=ADDRESS:PORT] [tls=ADDRESS:PORT] [email=ADDRESS]
// [directory=URL] [ca=FILE]: certificates are had from an authority, and renewed.
// It asks for each name at port 80 (HTTP-01), or at 443 (TLS-ALPN-01); the first
// is the default; it may knock at 443 first in any case. Whoever writes this line agrees to the terms of the authority.
func (c *config) acmeLine(call *shell.Call) error {
	if c.acme != nil {
		return errors.New("given twice; one line can have many names")
	}
	a := &acmeSpec{}
	for _, arg := range call.Args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			if !acmeName(arg) || len(a.names) == maxACMENames {
				return fmt.Errorf("%s: want the full name of a host, or at most %d of them", arg, maxACMENames)
			}
			a.names = append(a.names, strings.ToLower(arg))
			continue
		}
		field := map[string]*string{"email": &a.email, "directory": &a.directory, "ca": &a.ca, "http": &a.http, "tls": &a.tls}[key]
		if field == nil || value == "" {
			return fmt.Errorf("%s: want http=, tls=, email=, directory= or ca=", arg)
		}
		*field = value
	}
	if len(a.names) == 0 {
		return errors.New("want the names of the server")
	}
	if a.http == "" && a.tls == "" {
		a.http = ":80"
	}
	for _, addr := range []string{a.http, a.tls} {
		if _, _, err := net.SplitHostPort(addr); addr != "" && err != nil {
			return err
		}
	}
	if a.ca != "" {
		a.ca = c.path(a.ca)
	}
	c.acme = a
	return nil
}

func acmeName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return strings.Contains(strings.Trim(s, "."), ".") && !strings.Contains(s, "..") && s[0] != '.' && len(s) <= 253
}

// An acmeClient gets certificates and has them ready. It outlives reloads as long
// as its line is the same.
type acmeClient struct {
	spec    *acmeSpec
	log     *slog.Logger
	manager *autocert.Manager
	ready   []*acmeCert
	stop    context.CancelFunc
	tasks   sync.WaitGroup
	closers []func() error
}

// An acmeCert is the certificate of one name.
type acmeCert struct {
	name    string
	current atomic.Pointer[tls.Certificate]
}

func (c *acmeCert) get() *tls.Certificate { return c.current.Load() }

// newACME opens the ports for challenges. What it is given is kept below the
// spool's directory of the server, which its account owns by the time run is called.
func newACME(spec *acmeSpec, sp *spool.Spool, log *slog.Logger) (*acmeClient, error) {
	client := &acme.Client{DirectoryURL: spec.directory, UserAgent: "zmailer"}
	if client.DirectoryURL == "" {
		client.DirectoryURL = autocert.DefaultACMEDirectory
	}
	web := &http.Client{Timeout: time.Minute}
	if spec.ca != "" {
		pem, err := os.ReadFile(spec.ca)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", spec.ca)
		}
		web.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, Proxy: http.ProxyFromEnvironment}
	}
	client.HTTPClient = web
	a := &acmeClient{spec: spec, log: log, manager: &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(filepath.Join(sp.Root, spool.ServerDir, "acme")),
		HostPolicy: autocert.HostWhitelist(spec.names...), Email: spec.email, Client: client,
	}}
	for _, name := range spec.names {
		a.ready = append(a.ready, &acmeCert{name: name})
	}
	for addr, serve := range map[string]func(net.Listener){spec.http: a.serveHTTP, spec.tls: a.serveTLS} {
		if addr == "" {
			continue
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("acme: %w", err), a.close())
		}
		a.closers = append(a.closers, ln.Close)
		a.tasks.Go(func() { serve(ln) })
	}
	return a, nil
}

// challengers bounds the connections for challenges: there is no end of strangers
// who look at open ports.
const (
	challengers   = 50
	challengeTime = 10 * time.Second
)

// serveHTTP answers challenges, and nothing else.
func (a *acmeClient) serveHTTP(ln net.Listener) {
	nothing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Mail only", http.StatusNotFound) })
	answers := a.manager.HTTPHandler(nothing)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if host, _, err := net.SplitHostPort(r.Host); err == nil {
				r.Host = host // behind a forwarded port
			}
			answers.ServeHTTP(w, r)
		}),
		ReadTimeout: challengeTime, WriteTimeout: challengeTime, IdleTimeout: time.Second,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	srv.SetKeepAlivesEnabled(false)
	err := srv.Serve(&fewAtOnce{Listener: ln, room: make(chan struct{}, challengers)})
	if !errors.Is(err, net.ErrClosed) {
		a.log.Error("challenges cannot be answered", "host", ln.Addr().String(), "err", err)
	}
}

// serveTLS answers challenges in the handshake, RFC 8737; other connections end
// with it.
func (a *acmeClient) serveTLS(ln net.Listener) {
	few := &fewAtOnce{Listener: ln, room: make(chan struct{}, challengers)}
	conf := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{acme.ALPNProto}, SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if !slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
				return nil, errors.New("not a challenge")
			}
			return a.manager.GetCertificate(hello)
		},
	}
	for {
		c, err := few.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		a.tasks.Go(func() {
			defer c.Close()
			ctx, cancel := context.WithTimeout(context.Background(), challengeTime)
			defer cancel()
			_ = tls.Server(c, conf).HandshakeContext(ctx) // whoever it was has his answer
		})
	}
}

// fewAtOnce is a listener of a bounded number of connections.
type fewAtOnce struct {
	net.Listener
	room chan struct{}
}

func (l *fewAtOnce) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.room <- struct{}{}:
			return &oneOfFew{Conn: c, leave: sync.OnceFunc(func() { <-l.room })}, nil
		default:
			c.Close()
		}
	}
}

type oneOfFew struct {
	net.Conn
	leave func()
}

func (c *oneOfFew) Close() error {
	c.leave()
	return c.Conn.Close()
}

// Waits between attempts: authorities allow only some failures an hour.
var acmeRetry = []time.Duration{2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour}

// acmeLook is how often it is looked whether the manager has renewed.
const acmeLook = time.Hour

// run gets the certificates, and looks for renewed ones.
func (a *acmeClient) run(ctx context.Context) {
	ctx, a.stop = context.WithCancel(ctx)
	for _, c := range a.ready {
		a.tasks.Go(func() {
			failures := 0
			for {
				wait := acmeLook
				if err := a.get(ctx, c); err != nil && ctx.Err() == nil {
					wait = acmeRetry[min(failures, len(acmeRetry)-1)]
					failures++
					a.log.Error("no certificate", "host", c.name, "delay", wait, "err", err)
				} else {
					failures = 0
				}
				t := time.NewTimer(wait)
				select {
				case <-ctx.Done():
					t.Stop()
					return
				case <-t.C:
				}
			}
		})
	}
}

// get asks the manager, which has the certificate in memory or in its directory,
// or gets it.
func (a *acmeClient) get(ctx context.Context, c *acmeCert) error {
	type result struct {
		cert *tls.Certificate
		err  error
	}
	done := make(chan result, 1)
	go func() { // it has limits of its own, of minutes, and no context
		cert, err := a.manager.GetCertificate(&tls.ClientHelloInfo{
			ServerName: c.name, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
			SupportedCurves: []tls.CurveID{tls.CurveP256}, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		})
		done <- result{cert, err}
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r := <-done:
		if r.err != nil {
			return r.err
		}
		if old := c.current.Swap(r.cert); old == nil || !slices.Equal(old.Certificate[0], r.cert.Certificate[0]) {
			a.log.Info("certificate", "host", c.name, "expires", r.cert.Leaf.NotAfter.Format(time.DateOnly))
		}
		return nil
	}
}

// close ends everything.
func (a *acmeClient) close() error {
	if a == nil {
		return nil
	}
	if a.stop != nil {
		a.stop()
	}
	var errs []error
	for _, f := range a.closers {
		errs = append(errs, f())
	}
	a.tasks.Wait()
	return errors.Join(errs...)
}
