package dkimkey

import (
	"testing"

	"zmailer/agents/dkim"
	"zmailer/shellcfg/resolver"
	"zmailer/shellcfg/resolver/dnstest"
)

func TestPublished(t *testing.T) {
	p := dkim.Place{Dir: t.TempDir()}
	key := func(selector, kind string) *dkim.Key {
		k, _, err := p.Generate("a.test", selector, kind)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	good, other, none, down, twice := key("good", "rsa"), key("other", "rsa"), key("none", "ed25519"), key("down", "ed25519"), key("twice", "ed25519")
	text := func(k *dkim.Key) string {
		s, err := k.Record()
		if err != nil {
			t.Fatal(err)
		}
		return `"` + s + `"`
	}
	long := text(good)
	dns := dnstest.Start(t,
		good.Name()+" TXT "+long[:200]+`" "`+long[200:], other.Name()+" TXT "+text(none), down.Name()+" SERVFAIL TXT",
		twice.Name()+" TXT "+text(twice), twice.Name()+" TXT x")
	rv, err := resolver.New(resolver.Config{Servers: []string{dns.Addr()}, Hosts: "-", FailTTL: -1})
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[*dkim.Key]bool{good: true, other: false, none: false, down: false, twice: false} {
		if state, ok := published(t.Context(), rv, k); ok != want {
			t.Errorf("%s: %s", k.Name(), state)
		}
	}
}
