package dsn

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The reports as their readers see them, with the random part of the boundary
// taken out.
func TestGolden(t *testing.T) {
	random := regexp.MustCompile(`(0123456789ABCDEF)/[A-Z2-7]{26}`)
	for name, change := range map[string]func(*Report){
		"failure":  func(*Report) {},
		"delay":    func(r *Report) { r.Kind = DelayReport },
		"success":  func(r *Report) { r.Kind, r.Rcpts = SuccessReport, r.Rcpts[:1] },
		"smtputf8": func(r *Report) { r.SMTPUTF8 = true },
	} {
		r := sample(FailureReport)
		change(r)
		for i := range r.Rcpts {
			switch r.Kind {
			case DelayReport:
				r.Rcpts[i].Result.Action, r.Rcpts[i].Result.Status = Deferred, "4.4.1"
			case SuccessReport:
				r.Rcpts[i].Result.Action, r.Rcpts[i].Result.Status, r.Rcpts[i].Result.Text = OK, "2.1.5", "250 2.1.5 fine"
			}
		}
		msg, _ := r.Build()
		got := random.ReplaceAllString(string(msg), "$1/RANDOM")
		path := filepath.Join("testdata", name+".eml")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from %s:\n%s", name, path, got)
		}
	}
}
