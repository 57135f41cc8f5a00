package dsn

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFormLanguages(t *testing.T) {
	dir := t.TempDir()
	for _, tag := range []string{"de", "pt-BR", "notes.old", "xxxx"} {
		if err := os.Mkdir(filepath.Join(dir, tag), 0o700); err != nil {
			t.Fatal(err)
		}
		text := "Subject: " + tag + "\n\n${recipients}\n"
		if err := os.WriteFile(filepath.Join(dir, tag, "failure"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := LoadFormSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	builtin := builtinForms()[FailureReport].subject
	for _, tt := range []struct{ header, want string }{
		{"Subject: x\n\n", builtin},
		{"Content-Language: de\n\n", "de"},
		{"Content-Language: de-AT\n\n", "de"},
		{"Accept-Language: fr, pt-br;q=0.9, de;q=0.1\nContent-Language: de\n\n", "pt-BR"},
		{"Accept-Language: pt\nContent-Language: DE\n\n", "de"},
		{"Accept-Language: en-GB, de\n\n", builtin},
		{"Accept-Language: ,;,-,--\n\n", builtin},
		{"Accept-Language: de" + strings.Repeat("-x", 1<<20) + "\n\n", builtin}, // each part of it costs a look
		{"no header at all", builtin},
	} {
		if f := set.Choose(FailureReport, []byte(tt.header)); f == nil || f.subject != tt.want {
			t.Errorf("%q: form %+v, want %q", tt.header, f, tt.want)
		}
	}
	if f := set.Choose(DelayReport, []byte("Content-Language: de\n\n")); f == nil || f != builtinForms()[DelayReport] {
		t.Error("a form that the language lacks is not the default one")
	}
	if f := set.Choose(FailureReport, []byte("Content-Language: de\n\n")); f.Language != "de" {
		t.Errorf("language of the report is %q", f.Language)
	}
	if err := os.WriteFile(filepath.Join(dir, "de", "failure"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadFormSet(dir); err == nil {
		t.Error("a bad form is taken")
	}
}

func FuzzChoose(f *testing.F) {
	f.Add([]byte("Accept-Language: de-AT-1996;q=1, en\n\n"))
	set := &FormSet{languages: map[string]Forms{"de": builtinForms()}}
	f.Fuzz(func(t *testing.T, header []byte) { set.Choose(FailureReport, header) })
}
