package scheduler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"zmailer/applets/mailq"
	"zmailer/shellcfg"
	"zmailer/spool"
)

// An exporter serves the metrics by HTTP, where scheduler.conf says so: what
// "zmailer metrics" prints.
type exporter struct {
	ctx   context.Context // of the scheduler
	log   *slog.Logger
	spool *spool.Spool

	mu     sync.Mutex
	conf   *shellcfg.Conf
	addr   string // empty: nothing is served
	server *http.Server

	page sync.Mutex // of text
	text []byte
	made time.Time
}

const (
	maxScrapes = 8                // connections
	scrapeTime = 30 * time.Second // for one answer
	pageTime   = time.Second      // how old an answer can be
)

// checkMetrics says what is wrong with an address for the metrics. They are for this
// host: who wants them elsewhere puts a server with access control before them.
func checkMetrics(addr string) error {
	if addr == "" || filepath.IsAbs(addr) {
		return nil
	}
	ap, err := netip.ParseAddrPort(strings.Replace(addr, "localhost:", "127.0.0.1:", 1))
	if err != nil || ap.Port() == 0 {
		return errors.New("want a loopback address and port such as 127.0.0.1:9225, or the path of a socket")
	}
	if !ap.Addr().IsLoopback() {
		return errors.New("metrics are served on a loopback address or a socket alone; for other hosts put a server with access control before it")
	}
	return nil
}

// serve follows the configuration: it begins, ends or moves the service.
func (e *exporter) serve(conf *shellcfg.Conf, addr string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conf = conf
	if addr == e.addr {
		return nil
	}
	var l net.Listener
	if addr != "" {
		var err error
		if l, err = listenMetrics(addr); err != nil {
			return fmt.Errorf("queue metrics=%s: %w", addr, err)
		}
	}
	if e.server != nil {
		e.server.Close() // scrapes in work are tried again
	}
	e.addr, e.server = addr, nil
	if l == nil {
		return nil
	}
	e.server = &http.Server{
		Handler: e, ReadTimeout: requestTime, WriteTimeout: scrapeTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
	}
	go func(s *http.Server) {
		if err := s.Serve(netutil.LimitListener(l, maxScrapes)); !errors.Is(err, http.ErrServerClosed) {
			e.log.Error("metrics are not served any more", "err", err)
		}
	}(e.server)
	e.log.Info("metrics", "host", l.Addr().String())
	return nil
}

func listenMetrics(addr string) (net.Listener, error) {
	if !filepath.IsAbs(addr) {
		return net.Listen("tcp", addr)
	}
	st, err := os.Lstat(addr)
	switch {
	case err == nil && st.Mode()&fs.ModeSocket == 0:
		return nil, errors.New("is there, and not a socket")
	case err == nil:
		err = os.Remove(addr)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", addr)
	if err != nil {
		return nil, err
	}
	// They are totals, which everybody may see.
	if err := os.Chmod(addr, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (e *exporter) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil {
		e.server.Close() // nothing is lost
	}
}

// ServeHTTP implements http.Handler.
func (e *exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/metrics" {
		http.Error(w, "the metrics are at /metrics", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "GET alone", http.StatusMethodNotAllowed)
		return
	}
	text, err := e.metrics()
	if err != nil {
		e.log.Warn("metrics", "err", err)
		http.Error(w, "the metrics cannot be collected: see the scheduler's log", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(text) // an error is the client's
}

// metrics collects what is served. Many clients together cost what one does.
func (e *exporter) metrics() ([]byte, error) {
	e.page.Lock()
	defer e.page.Unlock()
	if time.Since(e.made) < pageTime {
		return e.text, nil
	}
	e.mu.Lock()
	conf := e.conf
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(e.ctx, scrapeTime)
	defer cancel()
	var b bytes.Buffer
	if err := mailq.WriteMetrics(ctx, conf, e.spool, &b); err != nil {
		return nil, err
	}
	e.text, e.made = b.Bytes(), time.Now()
	return e.text, nil
}
