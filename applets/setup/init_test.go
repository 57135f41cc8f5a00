package setup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindNames(t *testing.T) {
	tests := []struct {
		name, hostname                string
		hosts, resolv, mailname, host string
		domain                        string
	}{
		{name: "a full name", hostname: "MX.example.org", host: "mx.example.org", domain: "mx.example.org"},
		{name: "hosts", hostname: "pc7", hosts: "127.0.0.1 localhost\n127.0.1.1 pc7.example.org pc7 # us\n", host: "pc7.example.org", domain: "pc7.example.org"},
		{name: "mailname is a domain", hostname: "pc7", hosts: "127.0.1.1 pc7.example.org pc7\n", mailname: "example.org\n", host: "pc7.example.org", domain: "example.org"},
		{name: "mailname is the host", hostname: "pc7", mailname: "pc7.example.org\n", host: "pc7.example.org", domain: "pc7.example.org"},
		{name: "resolver", hostname: "pc7", resolv: "nameserver ::1\nsearch example.org example.com\n", host: "pc7.example.org", domain: "pc7.example.org"},
		{name: "no search", hostname: "pc7", resolv: "search .\n", host: "pc7", domain: "pc7"},
		{name: "localhost is no name", hostname: "localhost", hosts: "127.0.0.1 localhost.localdomain localhost\n", host: "localhost", domain: "localhost"},
		{name: "rubbish", hostname: "pc7", mailname: "<>@\x00\n", hosts: "127.0.1.1 pc7.exa(mple pc7\n", host: "", domain: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{"hosts": tt.hosts, "resolv.conf": tt.resolv, "mailname": tt.mailname} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := findNames(root, tt.hostname); got != (names{tt.host, tt.domain}) {
				t.Errorf("findNames = %+v, want %s %s", got, tt.host, tt.domain)
			}
		})
	}
}

func TestParseSmartHost(t *testing.T) {
	tests := []struct {
		in   string
		want smartHost
		err  string
	}{
		{in: "smtp://smtp.example.org", want: smartHost{host: "[smtp.example.org]:25"}},
		{in: "smtp://joe@SMTP.example.org", want: smartHost{host: "[smtp.example.org]:587", user: "joe"}},
		{in: "smtp://joe@example.com@smtp.example.org:2525/", want: smartHost{host: "[smtp.example.org]:2525", user: "joe@example.com"}},
		{in: "smtp://joe:a%20b@smtp.example.org", want: smartHost{host: "[smtp.example.org]:587", user: "joe", password: "a b"}},
		{in: "smtp://127.0.0.1:26", want: smartHost{host: "[127.0.0.1]:26", loopback: true}},
		{in: "smtp://[2001:db8::1]", want: smartHost{host: "[IPv6:2001:db8::1]:25"}},
		{in: "smtp.example.org", err: "want smtp://"},
		{in: "http://smtp.example.org", err: "want smtp://"},
		{in: "smtps://joe@smtp.example.org", want: smartHost{host: "[smtp.example.org]:465", user: "joe"}},
		{in: "smtps://smtp.example.org:2465", want: smartHost{host: "smtps://[smtp.example.org]:2465"}},
		{in: "smtp://smtp.example.org/path", err: "want smtp://"},
		{in: "smtp://smtp.example.org:0", err: "port"},
		{in: "smtp://joe:sec%0aret@smtp.example.org", err: "one line"},
		{in: "smtp://", err: "want smtp://"},
	}
	for _, tt := range tests {
		got, err := parseSmartHost(tt.in)
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want %s", tt.in, err, tt.err)
			}
		case err != nil || *got != tt.want:
			t.Errorf("%s: %+v, %v, want %+v", tt.in, got, err, tt.want)
		}
	}
}

func FuzzParseSmartHost(f *testing.F) {
	f.Add("smtp://joe@smtp.example.org:587")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSmartHost(text)
		if err != nil {
			return
		}
		// Each becomes a word of a file of lines.
		if strings.ContainsAny(s.host, " \n'\"$") || strings.ContainsAny(s.user, " \t") || strings.ContainsAny(s.user+s.password, "\n\r") {
			t.Errorf("%q: %+v", text, s)
		}
	})
}
