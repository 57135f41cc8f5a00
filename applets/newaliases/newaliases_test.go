package newaliases

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"zmailer/shellcfg/relations/cdb"
	"zmailer/spool/proc"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func newaliases(args ...string) (string, error) { return execute(Command(), args) }

func execute(cmd *cobra.Command, args []string) (string, error) {
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

func TestNewaliases(t *testing.T) {
	dir := t.TempDir()
	aliases := filepath.Join(dir, "db/aliases")
	write(t, filepath.Join(dir, "zmailer.conf"), "POSTOFFICE="+dir+"\n")
	write(t, aliases, "joe: ann,\n bob\nroot: joe\npostmaster: root\n")
	t.Setenv("ZCONFIG", filepath.Join(dir, "zmailer.conf"))

	out, err := newaliases()
	if want := aliases + ": 3 aliases, longest 8 bytes, 32 bytes total\n"; err != nil || out != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
	if out, err := newaliases("-s"); err != nil || out != "" {
		t.Errorf("-s: %q, %v", out, err)
	}
	lookup(t, aliases, "joe", "ann, bob")

	fqdn := filepath.Join(dir, "db/fqdnaliases")
	write(t, fqdn, "info@x.example: joe\n")
	if out, err := newaliases(); err != nil || !strings.Contains(out, "aliases: 3 aliases,") || !strings.Contains(out, fqdn+": 1 aliases,") {
		t.Errorf("with fqdnaliases: %q, %v", out, err)
	}

	write(t, aliases, "joe: ann\njoe: bob\nno colon\n")
	_, err = newaliases()
	if proc.Code(err) != proc.DataErr {
		t.Errorf("bad file: %v", err)
	}
	for _, want := range []string{"aliases:2:", "aliases:3:", "stays as it was"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("bad file: %v, want %s", err, want)
		}
	}
	lookup(t, aliases, "joe", "ann, bob")
}

func lookup(t *testing.T, aliases, key, want string) {
	t.Helper()
	r, err := cdb.Open(aliases + Suffix)
	if err != nil {
		t.Fatal(err)
	}
	if got, found, err := r.Get(key); got != want || !found || err != nil {
		t.Errorf("%s: %q, %v, %v", key, got, found, err)
	}
}

func TestStatus(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "a: b\n")
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{filepath.Join(dir, "a")}, proc.OK},
		{[]string{filepath.Join(dir, "none")}, proc.NoInput},
		{[]string{dir}, proc.DataErr},
	} {
		if _, err := newaliases(tt.args...); proc.Code(err) != tt.code {
			t.Errorf("%q: %v, want status %d", tt.args, err, tt.code)
		}
	}
	t.Setenv("ZCONFIG", filepath.Join(dir, "none"))
	if _, err := newaliases(); proc.Code(err) != proc.Config {
		t.Errorf("no configuration: %v", err)
	}
}

func TestMeter(t *testing.T) {
	var out bytes.Buffer
	m := newMeter(&out, "aliases", true)
	m.next = time.Now().Add(-time.Second)
	m.show(1, 4)
	m.show(2, 4)
	m.end()
	if out.String() != "aliases: 25%\n" {
		t.Errorf("%q", out.String())
	}
	out.Reset()
	m.tty, m.next = true, time.Time{}
	m.show(3, 4)
	m.end()
	if out.String() != "\raliases: 75%\r\x1b[K" {
		t.Errorf("terminal: %q", out.String())
	}
	out.Reset()
	m = newMeter(&out, "aliases", false)
	m.show(1, 4)
	if out.Len() > 0 {
		t.Errorf("not wanted: %q", out.String())
	}
}

// All tables of the policy in one go, each by itself.
func TestNewdb(t *testing.T) {
	dir := t.TempDir()
	db := func(name string) string { return filepath.Join(dir, "db", name) }
	write(t, filepath.Join(dir, "zmailer.conf"), "POSTOFFICE="+dir+"\n")
	t.Setenv("ZCONFIG", filepath.Join(dir, "zmailer.conf"))
	newdb := func(args ...string) (string, error) { return execute(NewdbCommand(), args) }
	if _, err := newdb(); proc.Code(err) != proc.NoInput {
		t.Errorf("no tables: %v", err)
	}
	write(t, db("aliases"), "joe: ann\n")
	write(t, db("aliases.private"), "secret: bob\n")
	write(t, db("virtual"), "Info@X.example joe, ann\n")
	write(t, db("routes"), "x.example smtp!y.example\n")
	if err := os.Chmod(db("aliases.private"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := newdb()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"aliases: 1 aliases,", "aliases.private: 1 aliases,", "virtual: 1 entries,", "routes: not built, as routes and addressroutes"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q, want %q", out, want)
		}
	}
	lookup(t, db("aliases"), "joe", "ann")
	lookup(t, db("aliases.private"), "secret", "bob")
	lookup(t, db("virtual"), "info@x.example", "joe, ann")
	for name, mode := range map[string]os.FileMode{"aliases": 0o644, "aliases.private": 0o600} {
		if st, err := os.Stat(db(name) + Suffix); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	// One that is bad does not keep the others from being built.
	write(t, db("aliases"), "joe bob\n")
	write(t, db("virtual"), "info@x.example bob\n")
	if _, err := newdb(); proc.Code(err) != proc.DataErr || !strings.Contains(err.Error(), "aliases:1:") {
		t.Errorf("bad aliases: %v", err)
	}
	lookup(t, db("aliases"), "joe", "ann")
	lookup(t, db("virtual"), "info@x.example", "bob")
	if out, err := newdb("-s", "virtual"); err != nil || out != "" {
		t.Errorf("-s virtual: %q, %v", out, err)
	}
	if out, err := newdb("-v", "virtual"); err != nil || !strings.Contains(out, ", in ") {
		t.Errorf("-v virtual: %q, %v", out, err)
	}
	if _, err := newdb("nosuch"); proc.Code(err) != proc.NoInput {
		t.Errorf("nosuch: %v", err)
	}
}
