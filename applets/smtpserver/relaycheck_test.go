package smtpserver

import (
	"context"
	"strings"
	"testing"
)

// TestCheckRelay checks that the matrix finds what would relay, and nothing else.
func TestCheckRelay(t *testing.T) {
	for config, want := range map[string]string{
		"listen :25\nlisten :587 submission\nrelay_for 127.0.0.0/8\n":               "",
		"listen /run/l lmtp\nlisten :24 lmtp\n":                                     "",
		"listen /run/l lmtp\nsmtp_rcpt() { relay; }\n":                              "local as lmtp, from <> to",
		"listen :24 lmtp\nsmtp_rcpt() { relay; }\n":                                 "192.0.2.1 as lmtp, from <> to",
		"listen :25\nrelay_for 0.0.0.0/0\n":                                         "192.0.2.1 may send to everybody",
		"listen :25\nsmtp_mail() { [ \"$sender\" = \"\" ] && relay; }\n":            "from <> to <a@relay-check.invalid>",
		"listen :25\nsmtp_connect() { client_in 198.51.100.0/24 && relay; }\n":      "198.51.100.25 as mx",
		"listen :25\nsmtp_mail() { reject no; }\nsmtp_rcpt() { relay; reject no; }": "to <a@relay-check.invalid>",
	} {
		conf := testConf(t)
		cfg, err := load(t, config)
		if err != nil {
			t.Fatal(err)
		}
		report, err := checkRelay(context.Background(), conf, cfg, fakeRouterCommand)
		if err != nil {
			t.Errorf("%s: %v", config, err)
			continue
		}
		open := strings.Join(report.Open, "\n")
		if want == "" && open != "" || !strings.Contains(open, want) || report.Tried == 0 {
			t.Errorf("%s\n%d tried, open:\n%s", config, report.Tried, open)
		}
	}
}
