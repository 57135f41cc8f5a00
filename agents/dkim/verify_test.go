package dkim

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"zmailer/spool/rfc5322"
)

// verifyOwn verifies a message with keys.
func verifyOwn(t testing.TB, message string, record func(name string) (string, error)) []Verification {
	t.Helper()
	h, at, err := rfc5322.ParseHeader([]byte(message))
	if err != nil {
		t.Fatal(err)
	}
	v, err := Verify(context.Background(), func(_ context.Context, name string) ([]string, error) {
		text, err := record(name)
		if text == "twice" {
			return []string{text, text}, nil
		}
		return []string{text}, err
	}, h, strings.NewReader(message[at:]), 10)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The examples of RFC 6376 appendix A.2, with the key of appendix C.2, and of RFC
// 8463 appendix A.
var exampleKeys = map[string]string{
	"brisbane._domainkey.example.com": "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt" +
		"IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB",
	"brisbane._domainkey.football.example.com": "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
	"test._domainkey.football.example.com": "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/b" +
		"yYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
}

const example6376 = `DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
` + exampleText

const example8463 = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
` + exampleText

const exampleText = `From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
`

func outcomes(v []Verification) string {
	var list []string
	for _, s := range v {
		list = append(list, string(s.Status))
	}
	return strings.Join(list, " ")
}

func TestExamples(t *testing.T) {
	record := func(name string) (string, error) {
		if text, ok := exampleKeys[name]; ok {
			return text, nil
		}
		return "", ErrNoKey
	}
	for _, tt := range []struct{ name, message, old, new, want string }{
		{"RFC 6376", example6376, "", "", "pass"},
		{"RFC 6376, subject", example6376, "Is dinner", "Was dinner", "fail"},
		{"RFC 6376, blank in the header", example6376, "Subject: Is", "Subject:  Is", "fail"},
		{"RFC 6376, body", example6376, "Joe.\n", "Jim.\n", "fail"},
		{"RFC 6376, empty lines at the end", example6376, "Joe.\n", "Joe.\n\n\n", "pass"},
		{"RFC 6376, no such key", example6376, "s=brisbane", "s=sydney", "permerror"},
		{"RFC 8463", example8463, "", "", "pass pass"},
		{"RFC 8463, white space", example8463, "Subject: Is dinner", "SUBJECT :  Is\n dinner", "pass pass"},
		{"RFC 8463, second subject", example8463, "Subject: Is", "Subject: x\nSubject: Is", "fail fail"},
		{"RFC 8463, subject above", example8463, "DKIM-Signature: v=1; a=ed", "Subject: x\nDKIM-Signature: v=1; a=ed", "fail fail"},
		{"RFC 8463, body", example8463, "hungry", "angry", "fail fail"},
		{"RFC 8463, wrong key", example8463, "s=brisbane", "s=test", "fail pass"},
	} {
		for _, end := range []string{"\n", "\r\n"} {
			m := strings.ReplaceAll(strings.Replace(tt.message, tt.old, tt.new, 1), "\n", end)
			if got := outcomes(verifyOwn(t, m, record)); got != tt.want {
				t.Errorf("%s, %q: %s, want %s", tt.name, end, got, tt.want)
			}
		}
	}
}

// TestRefuses are signatures and keys that must not count.
func TestRefuses(t *testing.T) {
	const good = "v=1; a=ed25519-sha256; d=football.example.com; s=brisbane; h=From; bh=AAAA; b=AAAA"
	for _, tt := range []struct{ old, new, want string }{
		{"", "", "fail"}, // the octets alone are wrong
		{"v=1", "v=2", "permerror"},
		{"v=1; ", "", "permerror"},
		{"a=ed25519-sha256", "a=rsa-sha1", "permerror"},
		{"h=From", "h=To", "permerror"},
		{"h=From", "h=from:to", "fail"},
		{"h=From", "h=From; l=0", "fail"},
		{"h=From", "h=From; c=odd", "permerror"},
		{"h=From", "h=From; c=relaxed/odd", "permerror"},
		{"h=From", "h=From; q=ldap", "permerror"},
		{"h=From", "h=From; x=1", "permerror"},
		{"h=From", "h=From; x=99999999999; t=1", "fail"},
		{"h=From", "h=From; x=yesterday", "permerror"},
		{"h=From", "h=From; h=From", "permerror"},
		{"h=From", "h=From; i=@example.com", "permerror"},
		{"h=From", "h=From; i=@evilfootball.example.com", "permerror"},
		{"h=From", "h=From; i=joe@a.football.example.com", "fail"},
		{"h=From", "h=From; i=football.example.com", "permerror"},
		{"bh=AAAA", "bh=!", "permerror"},
		{"b=AAAA", "b=", "permerror"},
		{"s=brisbane", "s=[127.0.0.1]", "permerror"},
		{"s=brisbane", "s=down", "temperror"},
		{"s=brisbane", "s=twice", "permerror"},
		{"s=brisbane", "s=revoked", "permerror"},
		{"s=brisbane", "s=sha1", "permerror"},
		{"s=brisbane", "s=tls", "permerror"},
		{"s=brisbane", "s=short", "permerror"},
		{"s=brisbane", "s=v2", "permerror"},
		{"s=brisbane; h=From", "s=exact; h=From", "fail"},
		{"s=brisbane; h=From", "s=exact; h=From; i=@a.football.example.com", "permerror"},
		{"d=football.example.com", "d=" + strings.Repeat("x", 70<<10), "permerror"},
	} {
		key := exampleKeys["brisbane._domainkey.football.example.com"]
		v := verifyOwn(t, "DKIM-Signature: "+strings.Replace(good, tt.old, tt.new, 1)+"\nFrom: a@football.example.com\n\nx\n", func(name string) (string, error) {
			switch selector, _, _ := strings.Cut(name, "."); selector {
			case "brisbane":
				return key, nil
			case "exact":
				return key + "; t=s", nil
			case "down":
				return "", errors.New("SERVFAIL")
			case "twice":
				return "twice", nil
			case "revoked":
				return "v=DKIM1; p=", nil
			case "sha1":
				return key + "; h=sha1", nil
			case "tls":
				return key + "; s=tlsrpt", nil
			case "short":
				return "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAOkbmGvD1UOl4Fd6mbN4oGbsqeDjDhcJwB7aw7V4vKQ8XOHIVeOe9uBVxjQz9yx3g0kxVjG1aK1Jt0TQb0BFuk8CAwEAAQ==", nil
			case "v2":
				return "v=DKIM2; p=x", nil
			}
			t.Errorf("asked for %s", name)
			return "", ErrNoKey
		})
		if got := outcomes(v); got != tt.want {
			t.Errorf("%s for %.40s: %s (%s), want %s", tt.new, tt.old, got, v[0].Reason, tt.want)
		}
	}
}

// TestHostile verifies messages whose verification would take hours if the work grew
// with the square of what is in them.
func TestHostile(t *testing.T) {
	record := func(name string) (string, error) { return exampleKeys["brisbane._domainkey.football.example.com"], nil }
	sign := func(h, c string) string {
		return "DKIM-Signature: v=1; a=ed25519-sha256; d=football.example.com; s=brisbane; c=" + c + "; bh=AAAA; b=AAAA; h=From" + h + "\n"
	}
	for name, m := range map[string]string{
		"empty lines": strings.Repeat(sign("", "simple/simple")+sign("", "relaxed/relaxed"), 5) + "From: a@b\n\n" + strings.Repeat("\r\n", 8<<20) + "x",
		"one line":    strings.Repeat(sign("", "simple/simple")+sign("", "relaxed/relaxed"), 5) + "From: a@b\n\n" + strings.Repeat(" ", 16<<20) + "x",
		"folds":       sign("", "relaxed") + "From: a@b\n" + strings.Repeat(" x\n", 300_000) + "\nx",
		"names":       strings.Repeat(sign(strings.Repeat(":a", 30_000), "relaxed"), 10) + "From: a@b\n" + strings.Repeat("a:\n", 15_000) + "\nx",
	} {
		if got := outcomes(verifyOwn(t, m, record)); strings.Trim(got, "fail ") != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func FuzzReadSignature(f *testing.F) {
	f.Add("v=1; a=ed25519-sha256; d=football.example.com; s=brisbane; h=From; bh=AAAA; b=AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		s := readSignature(&rfc5322.Field{Raw: []byte("DKIM-Signature: " + text)}, time.Now())
		if s.Status == "" && (s.Domain == "" || s.Selector == "" || s.Identifier == "") {
			t.Errorf("%+v", s)
		}
		s.text(nil)
	})
}

func FuzzParseRecord(f *testing.F) {
	for _, text := range exampleKeys {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := ParseRecord(text); (err == nil) != (r.Key != nil) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
