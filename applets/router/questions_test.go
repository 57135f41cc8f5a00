package router

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestQuestionSocket asks over the socket, with nonsense from others at the same
// time. Questions that were read before the router ends are answered.
func TestQuestionSocket(t *testing.T) {
	st := newSite(t, map[string]string{"db/aliases": "postmaster: joe\n"})
	path := filepath.Join(t.TempDir(), "router.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // of one that died
		t.Fatal(err)
	}
	a, err := listenQuestions(t.Context(), path, st.r.policy, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	dial := func() *net.UnixConn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.(*net.UnixConn)
	}
	endless := dial()
	go io.Copy(endless, io.LimitReader(zeros{}, 1<<20))
	if _, err := io.ReadAll(endless); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("endless question: %v", err)
	}
	c := dial()
	for i := range 100 {
		fmt.Fprintf(c, "%d\trcpt\tpostmaster@example.org\ts@x\t192.0.2.7\tnorelay\t\n", i)
	}
	c.CloseWrite()
	seen := map[string]bool{}
	for r := bufio.NewScanner(c); r.Scan(); {
		n, rest, _ := strings.Cut(r.Text(), "\t")
		if seen[n] = true; !strings.HasPrefix(rest, "ok\t") {
			t.Errorf("%s: %s", n, rest)
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d answers", len(seen))
	}
	idle := dial()
	fmt.Fprint(idle, "1\trcpt\tpostmaster@example.org\ts@x\t192.0.2.7\tnorelay\t\n")
	if _, err := bufio.NewReader(idle).ReadString('\n'); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
