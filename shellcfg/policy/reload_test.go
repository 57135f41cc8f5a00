package policy_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

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
