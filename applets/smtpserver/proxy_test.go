package smtpserver

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

var proxyHeaders = []struct{ in, want, rest string }{
	{"PROXY TCP4 192.0.2.7 192.0.2.1 1234 25\r\nEHLO", "192.0.2.7", "EHLO"},
	{"PROXY TCP6 2001:db8::7 ::1 1234 25\r\n", "2001:db8::7", ""},
	{"PROXY UNKNOWN\r\nx", "invalid IP", "x"},
	{"PROXY UNKNOWN anything at all\r\nx", "invalid IP", "x"},
	{"PROXY TCP4 2001:db8::7 ::1 1234 25\r\n", "error", ""},
	{"PROXY TCP4 192.0.2.7 192.0.2.1 x 25\r\n", "error", ""},
	{"PROXY TCP4\r\n" + strings.Repeat("x", 30), "error", ""},
	{"PROXY TCP4 " + strings.Repeat("x", 200), "error", ""},
	{"EHLO client.example\r\n", "error", ""},
	{"", "error", ""},
	{string(proxySignature) + "\x21\x11\x00\x0e\xc0\x00\x02\x07\x7f\x00\x00\x01\x00\x01\x00\x19\x20\x00EHLO", "192.0.2.7", "EHLO"},
	{string(proxySignature) + "\x20\x00\x00\x00EHLO", "invalid IP", "EHLO"},
	{string(proxySignature) + "\x21\x31\x00\x02xxE", "error", ""},
	{string(proxySignature) + "\x31\x11\x00\x0c" + strings.Repeat("x", 12), "error", ""},
	{string(proxySignature) + "\x21\x11\xff\xff", "error", ""},
	{string(proxySignature) + "\x21\x11\x00\x04abcd", "error", ""},
}

func TestReadProxy(t *testing.T) {
	for _, tt := range proxyHeaders {
		r := iotest.HalfReader(strings.NewReader(tt.in))
		ip, err := readProxy(r)
		got := ip.String()
		if err != nil {
			got = "error"
		}
		rest, _ := io.ReadAll(r)
		if got != tt.want || err == nil && string(rest) != tt.rest {
			t.Errorf("%q: %s, %v, rest %q; want %s", tt.in, got, err, rest, tt.want)
		}
	}
}

func FuzzReadProxy(f *testing.F) {
	for _, tt := range proxyHeaders {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, in string) { readProxy(strings.NewReader(in)) })
}
