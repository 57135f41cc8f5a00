package policy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
)

// TestReloadUnderLoad changes policy and table while addresses are routed. What
// one session sees is of one version: the two ends of a message agree.
func TestReloadUnderLoad(t *testing.T) {
	h := newHost(t, map[string]string{"db/users": "joe 1 1 /nonexistent\n", "db/aliases": "v0: a@v0.example\n", "router.cf": ". cf/router.cf\nversion=0\n"})
	change := func(i int) {
		h.write("db/aliases", fmt.Sprintf("list: a@v%d.example\n", i))
		h.write("router.cf", fmt.Sprintf(". cf/router.cf\nelsewhere() { deliver smtp version%d \"$1\"; }\n", i))
	}
	change(0)
	c := h.config()
	c.Log = nil
	holder, err := policy.NewHolder(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				p, release := holder.Acquire()
				got := route(p, "x@far.example", "y@far.example", "joe")
				release()
				if len(got) != 3 || got[2] != "local joe joe@example.org" || !strings.HasPrefix(got[0], "smtp version") ||
					strings.Fields(got[0])[1] != strings.Fields(got[1])[1] {
					t.Errorf("%q", got)
					return
				}
			}
		})
	}
	for i := 1; i <= 20; i++ {
		change(i)
		if err := holder.Reload(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
}

// TestAccept: a version that is refused does not take over, and is not tried
// again until a file changes.
func TestAccept(t *testing.T) {
	h := newHost(t, map[string]string{"db/users": "joe 1 1 /nonexistent\n", "router.cf": ". cf/router.cf\n"})
	c := h.config()
	var refuse error
	asked := 0
	c.Accept = func(_ context.Context, conf *shellcfg.Conf) error {
		asked++
		if conf == c.Conf {
			t.Error("asked about the old zmailer.conf")
		}
		return refuse
	}
	holder, err := policy.NewHolder(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if asked != 0 {
		t.Error("the first version was asked for: a host that starts needs one")
	}
	channel := func() string {
		p, release := holder.Acquire()
		defer release()
		return strings.Fields(route(p, "x@far.example")[0])[0]
	}
	h.write("router.cf", ". cf/router.cf\nelsewhere() { deliver first x \"$1\"; }\n")
	refuse = errors.New("tests failed")
	if err := holder.Reload(t.Context()); !errors.Is(err, refuse) || channel() != "smtp" {
		t.Errorf("refused: %v, channel %s", err, channel())
	}
	refuse = nil
	if err := holder.Reload(t.Context()); err != nil || channel() != "first" {
		t.Errorf("accepted: %v, channel %s", err, channel())
	}
}

// TestExaminedFiles: the policy is loaded again when a file comes that its top level has
// looked for, such as the directory of lists.
func TestExaminedFiles(t *testing.T) {
	files := stockFiles()
	delete(files, "lists/mylist")
	h := newHost(t, files)
	p := h.load()
	if got := route(p, "talk@example.org"); len(got) != 1 || !strings.HasPrefix(got[0], "reject 5.1.1") {
		t.Fatal(got)
	}
	if p.Changed() {
		t.Fatal("nothing has changed")
	}
	h.write("lists/talk", "joe\n")
	if !p.Changed() {
		t.Error("the directory of lists is not seen")
	}
	if got := route(h.load(), "talk@example.org"); len(got) != 1 || !strings.HasPrefix(got[0], "local joe") {
		t.Error(got)
	}
}
