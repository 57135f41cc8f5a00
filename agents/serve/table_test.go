package serve

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestOptionalFile: the file need not be there, and is found when it comes and missed
// when it goes.
func TestOptionalFile(t *testing.T) {
	f := &optionalFile{name: "t", path: filepath.Join(t.TempDir(), "t")}
	ask := func(want string) {
		t.Helper()
		f.checked = time.Time{} // as a second later
		if got, found, err := f.lookup(t.Context(), "Key"); err != nil || got != want || found != (want != "") {
			t.Errorf("%q, %v, %v; want %q", got, found, err, want)
		}
	}
	ask("")
	if err := os.WriteFile(f.path, []byte("key value\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask("value")
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	ask("")
}
