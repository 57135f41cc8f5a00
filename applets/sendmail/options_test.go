package sendmail

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"zmailer/spool/proc"
)

// optionTests are command lines and the envelope they give, its lines joined by
// "; ", or the status and a part of the message. Words are separated by blanks;
// "_" is an empty word, "~" a blank in a word, "^" a newline.
var optionTests = []struct {
	args string
	want string
	code int
}{
	// Recipients.
	{"joe", "to <joe>", 0},
	{"joe ann@example.net", "to <joe>; to <ann@example.net>", 0},
	{"joe,ann", "to <joe>; to <ann>", 0},
	{"joe joe JOE joe@x.example joe@X.example", "to <joe>; to <JOE>; to <joe@x.example>", 0},
	{"Joe~Doe~<joe@x.example>", "to <joe@x.example>", 0},
	{"<joe@x.example>", "to <joe@x.example>", 0},
	{"joe@x.example~(Joe)", "to <joe@x.example>", 0},
	{`"joe~doe"@x.example`, `to <"joe doe"@x.example>`, 0},
	{"grüße@x.example", "smtputf8; to <grüße@x.example>", 0},
	{"joe+list@[192.0.2.1]", "to <joe+list@[192.0.2.1]>", 0},
	{"-- joe", "to <joe>", 0},
	{"-- -joe", "to <-joe>", 0},
	{"-i -- -f", "to <-f>", 0},
	{"-i joe -f", "-f", 64},
	{"joe -v", "-v", 64},
	{"-", "-", 64},
	{"joe@", "joe@", 65},
	{"joe@x@y", "joe@x@y", 65},
	{"joe~doe", "", 65},
	{"joe^to", "control", 64},
	{"joe@x.example^env-end", "control", 64},
	{"_", "Recipient", 64},
	{"", "Recipient names must be specified", 64},

	// The sender.
	{"-f ann@x.example joe", "from <ann@x.example>; to <joe>", 0},
	{"-fann@x.example joe", "from <ann@x.example>; to <joe>", 0},
	{"-r ann@x.example joe", "from <ann@x.example>; to <joe>", 0},
	{"-rann joe", "from <ann>; to <joe>", 0},
	{"-f _ joe", "from <>; to <joe>", 0},
	{"-f <> joe", "from <>; to <joe>", 0},
	{"-f<> joe", "from <>; to <joe>", 0},
	{"-f ~ joe", "from <>; to <joe>", 0},
	{"-f <ann@x.example> joe", "from <ann@x.example>; to <joe>", 0},
	{"-f Ann~<ann@x.example> joe", "from <ann@x.example>; to <joe>", 0},
	{"-f ann -f bob joe", "from <bob>; to <joe>", 0},
	{"-i -f ann -- joe", "from <ann>; to <joe>", 0},
	{"-tif ann joe", "from <ann>; to <joe>; to <head@x.example>", 0},
	{"-fprvs=1=ann@x.example joe", "from <prvs=1=ann@x.example>; to <joe>", 0},
	{"-f jörg@x.example joe", "smtputf8; from <jörg@x.example>; to <joe>", 0},
	{"-f a,b joe", "one address", 64},
	{"-f a@b@c joe", "-f", 64},
	{"-f ann^to~<evil> joe", "control", 64},
	{"-f", "requires an argument -- 'f'", 64},
	{"-f -t", "Recipient names", 64},

	// Names.
	{"-F Ann joe", "fullname Ann; to <joe>", 0},
	{"-FCronDaemon joe", "fullname CronDaemon; to <joe>", 0},
	{"-F (Cron~Daemon) joe", "fullname (Cron Daemon); to <joe>", 0},
	{"-F Jörg joe", "fullname Jörg; to <joe>", 0},
	{"-F _ joe", "to <joe>", 0},
	{"-F a^external joe", "control", 64},

	// Reading.
	{"-t", "to <head@x.example>", 0},
	{"-t joe", "to <joe>; to <head@x.example>", 0},
	{"-t -i", "to <head@x.example>", 0},
	{"-ti", "to <head@x.example>", 0},
	{"-it head@x.example", "to <head@x.example>", 0},
	{"-i joe", "to <joe>", 0},
	{"-oi joe", "to <joe>", 0},
	{"-B 8BITMIME joe", "bodytype 8BITMIME; to <joe>", 0},
	{"-B8BITMIME joe", "bodytype 8BITMIME; to <joe>", 0},
	{"-B8bitmime joe", "bodytype 8BITMIME; to <joe>", 0},
	{"-B 7BIT joe", "bodytype 7BIT; to <joe>", 0},
	{"-BBINARYMIME joe", "bodytype BINARYMIME; to <joe>", 0},
	{"-B 9BIT joe", "-B", 64},
	{"-B _ joe", "-B", 64},
	{"-B", "requires an argument -- 'B'", 64},

	// Reports.
	{"-N never joe", "todsn NOTIFY=NEVER; to <joe>", 0},
	{"-Nsuccess joe", "todsn NOTIFY=SUCCESS; to <joe>", 0},
	{"-N failure,delay joe ann", "todsn NOTIFY=FAILURE,DELAY; to <joe>; todsn NOTIFY=FAILURE,DELAY; to <ann>", 0},
	{"-N SUCCESS,failure,Delay joe", "todsn NOTIFY=SUCCESS,FAILURE,DELAY; to <joe>", 0},
	{"-N success -t", "todsn NOTIFY=SUCCESS; to <head@x.example>", 0},
	{"-N never,failure joe", "never", 64},
	{"-N failure,failure joe", "each once", 64},
	{"-N always joe", "-N", 64},
	{"-N failure, joe", "-N", 64},
	{"-N _ joe", "-N", 64},
	{"-R full joe", "notaryret FULL; to <joe>", 0},
	{"-Rhdrs joe", "notaryret HDRS; to <joe>", 0},
	{"-R HDRS joe", "notaryret HDRS; to <joe>", 0},
	{"-R body joe", "-R", 64},
	{"-R", "requires an argument -- 'R'", 64},
	{"-V id42 joe", "envid id42; to <joe>", 0},
	{"-Vid+2B joe", "envid id+2B; to <joe>", 0},
	{"-V a=b joe", "xtext", 64},
	{"-V a+zz joe", "xtext", 64},
	{"-V _ joe", "xtext", 64},
	{"-V " + "x123456789x123456789x123456789x123456789x123456789x123456789x123456789x123456789x123456789x1234567890 joe", "100", 64},

	// Priority, protocol, origin.
	{"-P bulk joe", "priority bulk; to <joe>", 0},
	{"-Pjunk joe", "priority junk; to <joe>", 0},
	{"-P HIGH joe", "priority high; to <joe>", 0},
	{"-P normal joe", "to <joe>", 0},
	{"-P 1 joe", "priority bulk; to <joe>", 0},
	{"-P 9 joe", "priority junk; to <joe>", 0},
	{"-P 5 joe", "-P", 64},
	{"-p ESMTP joe", "with ESMTP; to <joe>", 0},
	{"-pUUCP:hosta joe", "rcvdfrom hosta; with UUCP; to <joe>", 0},
	{"-p SMTP:mx.example.net joe", "rcvdfrom mx.example.net; with SMTP; to <joe>", 0},
	{"-p a/b joe", "-p", 64},
	{"-p SMTP:a~b joe", "-p", 64},
	{"-G joe", "external; to <joe>", 0},
	{"-E joe", "external; to <joe>", 0},
	{"-Gi joe", "external; to <joe>", 0},

	// Modes.
	{"-bm joe", "to <joe>", 0},
	{"-b m joe", "to <joe>", 0},
	{"-bs -bm joe", "to <joe>", 0},
	{"-bH", "none", 0},
	{"-bH joe", "none", 0},
	{"-bl", "SMTPLISTEN", 64},
	{"-bx", "-b", 64},
	{"-ba", "-b", 64},
	{"-b _ joe", "-b", 64},
	{"-bmm joe", "-b", 64},
	{"-b", "requires an argument -- 'b'", 64},

	// -o with a letter.
	{"-oem joe", "to <joe>", 0},
	{"-oep joe", "to <joe>", 0},
	{"-oeq joe", "to <joe>", 0},
	{"-oew joe", "to <joe>", 0},
	{"-oee joe", "to <joe>", 0},
	{"-o em joe", "to <joe>", 0},
	{"-em joe", "to <joe>", 0},
	{"-e m joe", "to <joe>", 0},
	{"-oex joe", "errors", 64},
	{"-oe joe", "errors", 64},
	{"-e joe", "errors", 64},
	{"-odb joe", "to <joe>", 0},
	{"-odq joe", "to <joe>", 0},
	{"-odd joe", "to <joe>", 0},
	{"-odx joe", "delivery mode", 64},
	{"-od joe", "delivery mode", 64},
	{"-om joe", "to <joe>", 0},
	{"-oo joe", "to <joe>", 0},
	{"-o7 joe", "to <joe>", 0},
	{"-o8 joe", "to <joe>", 0},
	{"-oL9 joe", "to <joe>", 0},
	{"-oT3d joe", "to <joe>", 0},
	{"-or1h joe", "to <joe>", 0},
	{"-oFoo joe", "to <joe>", 0},
	{"-os joe", "to <joe>", 0},
	{"-oz1 joe", "to <joe>", 0},
	{"-oit joe", "to <joe>", 0},
	{"-oi -oem -odb joe", "to <joe>", 0},
	{"-o! joe", "invalid option -- 'o!'", 64},
	{"-o9 joe", "invalid option -- 'o9'", 64},
	{"-o _ joe", "letter", 64},
	{"-o", "requires an argument -- 'o'", 64},
	{"-oQrelative joe", "absolute", 64},
	{"-oQ/nonexistent joe", "/nonexistent", 75},
	{"-oArelative joe", "absolute", 64},
	{"-C zmailer.conf joe", "absolute", 64},
	{"-C/nonexistent/zmailer.conf joe", "/nonexistent", 78},

	// -O with a name.
	{"-ODeliveryMode=b joe", "to <joe>", 0},
	{"-O DeliveryMode=queueonly joe", "to <joe>", 0},
	{"-O deliverymode=deferred joe", "to <joe>", 0},
	{"-O DeliveryMode=x joe", "delivery mode", 64},
	{"-O DeliveryMode= joe", "delivery mode", 64},
	{"-OErrorMode=m joe", "to <joe>", 0},
	{"-O ErrorMode=x joe", "errors", 64},
	{"-OIgnoreDots=true joe", "to <joe>", 0},
	{"-O IgnoreDots joe", "to <joe>", 0},
	{"-O Timeout.queuereturn=5d joe", "to <joe>", 0},
	{"-O Timeout.ident=0 joe", "to <joe>", 0},
	{"-OLogLevel=9 joe", "to <joe>", 0},
	{"-OMaxHopCount=20 joe", "to <joe>", 0},
	{"-O SendMimeErrors=true joe", "to <joe>", 0},
	{"-OPrivacyOptions=goaway joe", "to <joe>", 0},
	{"-O QueueDirectory=relative joe", "absolute", 64},
	{"-O NoSuchOption=1 joe", "no such option", 64},
	{"-O =1 joe", "no such option", 64},
	{"-O _ joe", "no such option", 64},
	{"-O", "requires an argument -- 'O'", 64},

	// What others give, with nothing to do here.
	{"-Ac joe", "to <joe>", 0},
	{"-A m joe", "to <joe>", 0},
	{"-Ax joe", "-A", 64},
	{"-d joe", "to <joe>", 0},
	{"-d0.1 joe", "to <joe>", 0},
	{"-d0-99.127 joe", "to <joe>", 0},
	{"-D /nonexistent/log joe", "to <joe>", 0},
	{"-X /nonexistent/log joe", "to <joe>", 0},
	{"-X/nonexistent/log joe", "to <joe>", 0},
	{"-h 5 joe", "to <joe>", 0},
	{"-h5 joe", "to <joe>", 0},
	{"-h x joe", "-h", 64},
	{"-h -1 joe", "-h", 64},
	{"-J joe", "to <joe>", 0},
	{"-L tag joe", "to <joe>", 0},
	{"-Lsm-mta joe", "to <joe>", 0},
	{"-M x joe", "to <joe>", 0},
	{"-m joe", "to <joe>", 0},
	{"-n joe", "to <joe>", 0},
	{"-U joe", "to <joe>", 0},
	{"-x joe", "to <joe>", 0},
	{"-mnUx joe", "to <joe>", 0},

	// Unknown letters.
	{"-Z joe", "invalid option -- 'Z'", 64},
	{"-iZ joe", "invalid option -- 'Z'", 64},
	{"-s subject joe", "invalid option -- 's'", 64},
	{"-Q joe", "invalid option -- 'Q'", 64},
	{"-: joe", "invalid option -- ':'", 64},
	{"--from joe", "invalid option -- '-'", 64},

	// -q: without a scheduler it cannot be run; what it says is checked before.
	{"-q", "scheduler does not run", 69},
	{"-q15m", "scheduler does not run", 69},
	{"-q1h30m", "scheduler does not run", 69},
	{"-q1d", "scheduler does not run", 69},
	{"-q30", "scheduler does not run", 69},
	{"-qp15m", "scheduler does not run", 69},
	{"-qf", "scheduler does not run", 69},
	{"-q joe", "scheduler does not run", 69},
	{"-qIabc", "scheduler does not run", 69},
	{"-qRexample.net", "scheduler does not run", 69},
	{"-qSann -qR!x", "scheduler does not run", 69},
	{"-q!Sann", "scheduler does not run", 69},
	{"-qGsmtp/mx", "scheduler does not run", 69},
	{"-qI", "-q", 64},
	{"-qXabc", "-q", 64},
	{"-q15parsec", "-q", 64},

	// What programs really call.
	{"-i -FCronDaemon -B8BITMIME -oem root", "bodytype 8BITMIME; fullname CronDaemon; to <root>", 0},
	{"-FAnacron -odi root", "fullname Anacron; to <root>", 0},
	{"-oem -oi -f ann@x.example -- joe", "from <ann@x.example>; to <joe>", 0},
	{"-t -i -f ann@x.example", "from <ann@x.example>; to <head@x.example>", 0},
	{"-oi -fann@x.example -t", "from <ann@x.example>; to <head@x.example>", 0},
	{"-t -oi -oem", "to <head@x.example>", 0},
	{"-oi -oem -N success,failure -V id1 -R hdrs -- joe", "envid id1; notaryret HDRS; todsn NOTIFY=SUCCESS,FAILURE; to <joe>", 0},
	{"-oi -t -ODeliveryMode=b -OErrorMode=m", "to <head@x.example>", 0},
	{"-f <> -- joe", "from <>; to <joe>", 0},
	{"-i -fann@x.example joe@y.example bob@z.example", "from <ann@x.example>; to <joe@y.example>; to <bob@z.example>", 0},
	{"-oi -odq -oee -f _ joe", "from <>; to <joe>", 0},
}

func optionWords(args string) []string {
	words := strings.Fields(args)
	for i, w := range words {
		if w == "_" {
			w = ""
		}
		words[i] = strings.NewReplacer("~", " ", "^", "\n").Replace(w)
	}
	return words
}

func TestOptions(t *testing.T) {
	in := newInstance(t)
	const msg = "To: head@x.example\nSubject: s\n\nbody\n"
	for _, tt := range optionTests {
		words := optionWords(tt.args)
		out, err := sendmail(msg, words...)
		list := in.take()
		if proc.Code(err) != tt.code {
			t.Errorf("%s: %v, want status %d\n%s", tt.args, err, tt.code, out)
			continue
		}
		if tt.code != 0 {
			if len(list) > 0 {
				t.Errorf("%s: a message was stored in spite of %v", tt.args, err)
			}
			if !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("%s: %v, want %q in it", tt.args, err, tt.want)
			}
			continue
		}
		got := "none"
		if len(list) == 1 {
			got = list[0].lines()
		}
		if got != tt.want {
			t.Errorf("%s: envelope %q, want %q", tt.args, got, tt.want)
		}
	}
	t.Logf("%d rows", len(optionTests))
}

// lines is the envelope as it stands in the file, without its end.
func (s stored) lines() string {
	b, err := s.env.Append(nil)
	if err != nil {
		return err.Error()
	}
	text := strings.TrimSuffix(string(b), "env-end\n")
	return strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "; ")
}

// The environment says what options do not, and nothing that breaks a line.
func TestEnvironment(t *testing.T) {
	in := newInstance(t)
	t.Setenv("NAME", "Ann\nexternal\x01")
	t.Setenv("MAILPRIORITY", "1")
	if got := in.one("\n", "joe").lines(); !strings.HasPrefix(got, "fullname Ann external") || strings.Contains(got, "; external") || !strings.Contains(got, "; priority bulk; ") {
		t.Errorf("envelope %q", got)
	}
	if got := in.one("\n", "-F", "Bob", "-P", "junk", "joe").lines(); got != "fullname Bob; priority junk; to <joe>" {
		t.Errorf("envelope %q", got)
	}
}

// Errors in addresses go back by mail if the caller wants them so.
func TestErrorsByMail(t *testing.T) {
	in := newInstance(t)
	for _, mode := range []string{"-oem", "-oee", "-em"} {
		if got := in.one("\n", mode, "joe", "joe doe", "a@b@c").lines(); got != `to <joe>; to <"joe doe">; to <"a@b@c">` {
			t.Errorf("%s: %s", mode, got)
		}
	}
	for _, mode := range []string{"-oep", "-oeq"} {
		_, err := sendmail("\n", mode, "joe", "a@b@c")
		if proc.Code(err) != proc.DataErr || len(in.take()) > 0 {
			t.Errorf("%s: %v", mode, err)
		}
		if quiet := err.Error() == "exit status 65"; quiet != (mode == "-oeq") {
			t.Errorf("%s: says %q", mode, err)
		}
	}
}

func TestHelp(t *testing.T) {
	newInstance(t)
	out, err := sendmail("", "--help")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range strings.ReplaceAll(letters, ":", "") {
		if !strings.Contains(out, "-"+string(c)) && !strings.ContainsRune("eEIJ", c) {
			t.Errorf("-%c is not in the help", c)
		}
	}
}

// The manual page names every option.
func TestManual(t *testing.T) {
	page, err := os.ReadFile("../../packaging/man/sendmail.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range strings.ReplaceAll(letters, ":", "") {
		named := regexp.MustCompile(`(?m)^(\.It|\.Fl|and).* ` + string(c) + `\b|^\.(It )?Fl ` + string(c) + `\b`)
		if c != 'o' && c != 'b' && !named.Match(page) {
			t.Errorf("-%c is not in the manual page", c)
		}
	}
	for _, c := range "msSpPivtdDhH" {
		if !strings.Contains(string(page), "b"+string(c)) {
			t.Errorf("-b%c is not in the manual page", c)
		}
	}
}

func FuzzOptions(f *testing.F) {
	for _, tt := range optionTests {
		f.Add(strings.Join(optionWords(tt.args), "\x00"))
	}
	f.Fuzz(func(t *testing.T, args string) {
		o, err := parseOptions(strings.Split(args, "\x00"))
		if err != nil && proc.Code(err) != proc.Usage {
			t.Fatalf("status %d: %v", proc.Code(err), err)
		}
		if err != nil {
			return
		}
		to := &addressees{notify: o.notify, report: true}
		if to.addArguments(o.recipients) != nil {
			return
		}
		if _, err := o.envelope(to.list).Append(nil); err != nil {
			t.Fatalf("%q: %v", args, err)
		}
	})
}
