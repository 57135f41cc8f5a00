package relations

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestVerify asks a real server about passwords.
func TestVerify(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	server, add := find(t, "slapd"), find(t, "slapadd")
	conf := d.dir + "/conf"
	if err := os.WriteFile(conf, []byte(fmt.Sprintf(slapdConf, d.dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	d.run(strings.Replace(ldif, "mail: joe@example.org\n", "mail: joe@example.org\nuserPassword: pass word\n", 1), add, "-f", conf)
	sock := d.dir + "/sock"
	url := "ldapi://" + strings.ReplaceAll(sock, "/", "%2F")
	d.start(server, "-d", "0", "-f", conf, "-h", url)
	d.ready("unix", sock)
	r := open(t, Spec{Name: "t", Type: "ldap", File: url + "/dc=example", Options: map[string]string{"filter": "(uid=:key)", "attribute": "mail"}})
	if !r.CanVerify() {
		t.Fatal("cannot judge passwords")
	}
	for _, tt := range []struct {
		user, password string
		want           bool
	}{
		{"joe", "pass word", true}, {"joe", "wrong", false}, {"joe", "", false}, {"nobody", "x", false},
		{"list", "x", false}, {"*", "pass word", false}, {"joe)(uid=*", "pass word", false}, {"", "x", false},
	} {
		if ok, err := r.Verify(t.Context(), tt.user, tt.password); ok != tt.want || err != nil {
			t.Errorf("%s, %s: %v, %v", tt.user, tt.password, ok, err)
		}
	}
	all := open(t, Spec{Name: "all", Type: "ldap", File: url + "/dc=example", Options: map[string]string{"filter": "(|(uid=*)(cn=:key))", "attribute": "mail"}})
	if ok, err := all.Verify(t.Context(), "joe", "pass word"); ok || err != nil {
		t.Errorf("several entries: %v, %v", ok, err)
	}
	gone, err := Env{}.Declare(Spec{Name: "gone", Type: "ldap", File: "ldapi://" + strings.ReplaceAll(sock+"x", "/", "%2F") + "/dc=example", Options: map[string]string{"filter": "(uid=:key)", "attribute": "mail"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if ok, err := gone.Verify(ctx, "joe", "pass word"); ok || err == nil {
		t.Errorf("no server: %v, %v", ok, err)
	}
	other := open(t, Spec{Name: "other", Type: "incore"})
	if _, err := other.Verify(t.Context(), "joe", "x"); err == nil || other.CanVerify() {
		t.Error("a table in memory judges passwords")
	}
}
