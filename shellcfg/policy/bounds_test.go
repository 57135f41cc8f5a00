package policy

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/shellcfg"
)

// config is an instance with the stock policy.
func config(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "zmailer.conf")
	if err := os.WriteFile(path, []byte("POSTOFFICE=/nonexistent\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	conf, err := shellcfg.LoadConf(path)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Conf: conf, Log: slog.New(slog.DiscardHandler)}
}

// TestTooManyAddresses: recipients behind one that used up what a message may have are
// refused, whether they are members of a list or not.
func TestTooManyAddresses(t *testing.T) {
	p, err := Load(context.Background(), config(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s := p.Session(context.Background(), &Message{})
	defer s.Close()
	s.routes = maxRoutes
	n := 0
	s.Route(Recipient{Addr: "x@far.example"}, func(d *Decision) bool {
		n++
		if d.Action != Reject || d.Status != "5.4.6" {
			t.Errorf("got %v", d)
		}
		return true
	})
	if n != 1 {
		t.Errorf("%d decisions", n)
	}
}

// TestLongList: a list with more members than are routed is an error, not a shorter list.
func TestLongList(t *testing.T) {
	c := config(t)
	list := strings.Repeat("a\n", maxItems+1)
	for name, text := range map[string]string{"list": list, "router.cf": ". cf/router.cf\nelsewhere() { expand < list; }\n"} {
		if err := os.WriteFile(c.Conf.Path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Load(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s := p.Session(context.Background(), &Message{})
	defer s.Close()
	n := 0
	s.Route(Recipient{Addr: "x@far.example"}, func(d *Decision) bool {
		n++
		if d.Action != Defer || !strings.Contains(d.Text, "members") {
			t.Errorf("got %v", d)
		}
		return true
	})
	if n != 1 {
		t.Errorf("%d decisions", n)
	}
}

// TestBrokenConf: a zmailer.conf that cannot be read is told once, not at every look.
func TestBrokenConf(t *testing.T) {
	c := config(t)
	h, err := NewHolder(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(c.Conf.File, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("if\n")
	if !h.changed() {
		t.Fatal("the change is not seen")
	}
	if err := h.Reload(context.Background()); err == nil {
		t.Fatal("a broken zmailer.conf was taken")
	}
	if h.changed() {
		t.Error("the same broken file is a change again")
	}
	write("POSTOFFICE=/nonexistent\nHOSTNAME=mail2.example.org\n")
	if !h.changed() {
		t.Fatal("the mended file is not seen")
	}
	if err := h.Reload(context.Background()); err != nil || h.Conf().Hostname != "mail2.example.org" {
		t.Errorf("%v, %s", err, h.Conf().Hostname)
	}
}
