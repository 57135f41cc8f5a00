package smtpserver

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/testdata/peers"
)

// Texts that scanners take for what they are to find. They are in pieces here, or a
// scanner would find this file.
const (
	gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-" + "ANTI-UBE-TEST-EMAIL*C.34X"
	eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-` + `ANTIVIRUS-TEST-FILE!$H+H*`
)

// writeFiles writes files into a directory, with its name for DIR.
func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A scanTest is a message, the reply to it, and what stands in it if it is taken.
type scanTest struct{ name, subject, body, reply, header string }

// scan sends messages through milters.
func scan(t *testing.T, ts *testServer, tests []scanTest) {
	t.Helper()
	for _, tt := range tests {
		before := len(ts.messages())
		got := ts.converse("EHLO c.example\n" + milterMail + "DATA\nFrom: Ann <ann@example.net>\nTo: joe@example.org\nDate: Wed, 25 Nov 2026 10:00:00 +0000\n" +
			"Message-ID: <1@example.net>\nSubject: " + tt.subject + "\nMIME-Version: 1.0\n" + tt.body + "\n.\nQUIT\n")
		list := ts.messages()
		taken := len(list) > before
		if !strings.Contains(got, "\n"+tt.reply) || taken != (tt.reply == "250 2.0.0 Ok: queued") {
			t.Errorf("%s: taken is %v: %s", tt.name, taken, got)
			continue
		}
		if taken && !strings.Contains(list[len(list)-1].text, tt.header) {
			t.Errorf("%s: no %q in %s", tt.name, tt.header, list[len(list)-1].text)
		}
	}
}

// The list of suffixes that comes with rspamd takes it half a minute to compile
// before it listens.
const rspamdConf = `
options {
  tempdir = "DIR"
  cache_file = "DIR/symbols"
  control_socket = "DIR/control"
  hs_cache_dir = "DIR"
  stats_file = "DIR/stats"
  history_file = "DIR/history"
  url_tld = "DIR/suffixes"
  filters = ""
  dns { nameserver = "127.0.0.1:1" }
}
logging { type = "console" }
lua = "DIR/rules.lua"
actions { reject = 15; add_header = 6 }
worker "rspamd_proxy" {
  bind_socket = "DIR/milter mode=0600"
  count = 1
  milter = yes
  upstream "local" { default = yes; self_scan = yes }
}
`

const rspamdRules = `
rspamd_config:register_symbol({name = 'PILLS', score = 7.0, callback = function(task)
  return string.find(task:get_subject() or '', 'pills') ~= nil
end})
rspamd_config:register_symbol({name = 'LATER', score = 0.0, type = 'prefilter', callback = function(task)
  if string.find(task:get_subject() or '', 'later') then task:set_pre_result('soft reject', 'come again') end
end})
rspamd_config:register_symbol({name = 'SEEN', score = 0.0, type = 'postfilter', callback = function(task)
  local ip = task:get_from_ip()
  task:set_milter_reply({add_headers = {['X-Seen'] = string.format('%s %s %s %d', tostring(ip), task:get_helo(), task:get_from('smtp')[1].addr, #task:get_recipients('smtp'))}})
end})
`

// TestRspamd: rspamd sees the whole of a session, and what it says is done.
func TestRspamd(t *testing.T) {
	t.Parallel()
	rspamd := peers.Program(t, "rspamd", "usr/bin/rspamd")
	share := filepath.Join(peers.Dir(t, "rspamd"), "usr/share/rspamd")
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"conf": rspamdConf, "rules.lua": rspamdRules, "suffixes": "com\nnet\norg\nexample\n"})
	vars := ""
	for name, value := range map[string]string{"DBDIR": dir, "SHAREDIR": share, "RULESDIR": share + "/rules", "LUALIBDIR": share + "/lualib", "PLUGINSDIR": share + "/plugins"} {
		vars += " --var=" + name + "=" + value
	}
	sock := filepath.Join(dir, "milter")
	stop := runPeer(t, dir, sock, rspamd+" --no-fork --insecure -c "+dir+"/conf"+vars)
	ts := start(t, "milter unix:"+sock)
	const seen = "X-Seen: 127.0.0.1 c.example ann@example.net 1\n"
	clean := scanTest{"clean", "hello", "\nhello", "250 2.0.0 Ok: queued", seen}
	scan(t, ts, []scanTest{
		clean,
		{"spam", "pills", "\nhello", "250 2.0.0 Ok: queued", "X-Spam: Yes\n"},
		{"test pattern", "hello", "\n" + gtube, "554 5.7.1 Gtube pattern", ""},
		{"greylisting", "later", "\nhello", "451 4.7.1 come again", ""},
		{"large", "hello", "\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 20_000), "250 2.0.0 Ok: queued", seen},
	})
	stop()
	clean.reply = "451 4.7.1 Service unavailable, try again later"
	scan(t, ts, []scanTest{clean})
	clean.reply, clean.header = "250 2.0.0 Ok: queued", "hello"
	scan(t, start(t, "milter unix:"+sock+" fail=accept"), []scanTest{clean})
}

// TestClamAV: what ClamAV finds is refused, and while its daemon is away nothing is
// taken unchecked.
func TestClamAV(t *testing.T) {
	t.Parallel()
	clamd := peers.Program(t, "clamav", "usr/sbin/clamd")
	scanner := peers.Program(t, "clamav", "usr/sbin/clamav-milter")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{
		"db/own.hdb":  "44d88612fea8a8f36de82e1278abb02f:68:Own.EICAR\n", // MD5 and size
		"db/own.ndb":  "Own.Worm:0:*:" + "6d6172696f6e657474652d74657374\n",
		"clamd.conf":  "LocalSocket DIR/clamd\nDatabaseDirectory DIR/db\nForeground yes\nTemporaryDirectory DIR\n",
		"milter.conf": "MilterSocket unix:DIR/milter\nClamdSocket unix:DIR/clamd\nForeground yes\nOnInfected Reject\nRejectMsg %v is not for us\nOnFail Defer\nAddHeader Replace\nTemporaryDirectory DIR\n",
	})
	sock := filepath.Join(dir, "milter")
	stopDaemon := runPeer(t, dir, filepath.Join(dir, "clamd"), clamd+" -c "+dir+"/clamd.conf")
	stop := runPeer(t, dir, sock, scanner+" -c "+dir+"/milter.conf")
	ts := start(t, "milter unix:"+sock)
	attached := func(b string) string {
		return "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nsee\n--b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n" +
			base64.StdEncoding.EncodeToString([]byte(b)) + "\n--b--"
	}
	clean := scanTest{"clean", "hello", "X-Virus-Status: forged\n\nhello", "250 2.0.0 Ok: queued", "X-Virus-Status: Clean\n"}
	scan(t, ts, []scanTest{
		clean,
		{"attachment", "hello", attached(eicar), "550 5.7.1 Own.EICAR", ""},
		{"in the text", "hello", "\na marionette-" + "test here", "550 5.7.1 Own.Worm", ""},
		{"clean attachment", "hello", attached("nothing"), "250 2.0.0 Ok: queued", "X-Virus-Status: Clean\n"},
	})
	if m := ts.messages(); strings.Contains(m[0].text, "forged") {
		t.Errorf("the client's word about viruses stays: %s", m[0].text)
	}
	stopDaemon()
	clean.reply = "451 4."
	scan(t, ts, []scanTest{clean})
	stop()
	clean.reply = "451 4.7.1 Service unavailable, try again later"
	scan(t, ts, []scanTest{clean})
}
