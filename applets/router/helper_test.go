package router

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
)

var questions = []struct{ in, want string }{
	{"rcpt\tjoe@example.org\ts@x\t192.0.2.7\tnorelay\t", "ok\t250\t2.1.5\tOk"},
	{"rcpt\tboth@example.org\ts@x\t192.0.2.7\tnorelay\t", "ok\t250\t2.1.5\tOk"},
	{"rcpt\tx@far.example\ts@x\t192.0.2.7\tnorelay\t", "reject\t550\t5.7.1\trelaying denied"},
	{"rcpt\tx@far.example\ts@x\t127.0.0.1\trelay\tjoe", "ok\t250\t2.1.5\tOk"},
	{"rcpt\tx@partner.example\ts@x\t192.0.2.7\tnorelay\t", "ok\t250\t2.1.5\tOk"},
	{"rcpt\tjoe%far.example@example.org\ts@x\t192.0.2.7\tnorelay\t", "reject\t550\t5.7.1\tno such user here, and no routing by % or ! either"},
	{"rcpt\tnosuch@example.org\ts@x\t192.0.2.7\tnorelay\t", "reject\t550\t5.1.1\tno such user here"},
	{"rcpt\tdead@example.org\ts@x\t192.0.2.7\tnorelay\t", "reject\t550\t5.1.1\tno such user here"},
	{"rcpt\thalf@example.org\ts@x\t192.0.2.7\tnorelay\t", "ok\t250\t2.1.5\tOk"},
	{"rcpt\tx@later.example\ts@x\t192.0.2.7\trelay\t", "defer\t451\t4.4.3\taddress could not be looked up, try again later"},
	{"rcpt\tx@wait.example\ts@x\t192.0.2.7\trelay\t", "defer\t451\t4.7.1\tnot now"},
	{"rcpt\tx@ice.example\ts@x\t192.0.2.7\trelay\t", "freeze\t250\t2.1.5\tOk"},
	{"rcpt\ta b@c d\ts@x\t192.0.2.7\tnorelay\t", "reject\t553\t5.1.3\tbad address syntax"},
	{"rcpt\t\ts@x\t192.0.2.7\tnorelay\t", "ok\t250\t2.1.5\tOk"},
	{"mail\ts@x\t192.0.2.7\tnorelay\t", "ok\t250\t2.1.0\tOk"},
	{"mail\t\t192.0.2.7\tnorelay\t", "ok\t250\t2.1.0\tOk"},
	{"mail\tspammer@x\t192.0.2.7\tnorelay\t", "reject\t550\t5.7.1\tgo away"},
	{"mail\ta b\t192.0.2.7\tnorelay\t", "reject\t553\t5.1.7\tbad sender address syntax"},
	{"vrfy\tjoe\t127.0.0.1\trelay\t", "ok\t250\t2.1.5\t<joe@example.org>"},
	{"expn\tboth\t127.0.0.1\trelay\t", `ok` + "\t250\t2.1.5\t" + `joe\nann@remote.example`},
	{"nonsense\tx\ty", "defer\t451\t4.3.0\taddress could not be checked, try again later"},
	{"rcpt\tjoe", "defer\t451\t4.3.0\taddress could not be checked, try again later"},
	{"", "defer\t451\t4.3.0\taddress could not be checked, try again later"},
}

func TestHelper(t *testing.T) {
	st := newSite(t, map[string]string{
		"db/aliases": "both: joe, ann@remote.example\ndead: nobody1, nobody2\nhalf: nobody1, joe\npostmaster: joe\n",
		"db/relays":  "partner.example\n",
		"router.cf": `. cf/router.cf
relation -t text -f %d/missing missing
mailfrom() { case $1 in spammer@*) reject 5.7.1 'go away' ;; esac; }
elsewhere() {
	case $2 in
	later.example) missing "$2" ;;
	wait.example) defer 4.7.1 'not now' ;;
	ice.example) freeze ;;
	*) deliver smtp "$2" "$1" ;;
	esac
}
`,
	})
	h := newHelper(st.r.policy, slog.New(slog.NewTextHandler(io.Discard, nil)), nil)
	in, out := io.Pipe()
	answers, w := io.Pipe()
	h.out = w
	done := make(chan error, 1)
	go func() { err := h.serve(context.Background(), in); w.Close(); done <- err }()
	go func() {
		for i, q := range questions {
			fmt.Fprintf(out, "%d\t%s\n", i, q.in)
		}
		out.Close()
	}()
	got := map[string]string{}
	for sc := bufio.NewScanner(answers); sc.Scan(); {
		n, rest, _ := strings.Cut(sc.Text(), "\t")
		got[n] = rest
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i, q := range questions {
		if a := got[fmt.Sprint(i)]; a != q.want {
			t.Errorf("%q:\n got %q\nwant %q", q.in, a, q.want)
		}
	}
}

func FuzzQuestion(f *testing.F) {
	for _, q := range questions {
		f.Add(q.in)
	}
	f.Fuzz(func(t *testing.T, line string) {
		q, err := parseQuestion(line)
		if err == nil && q.verb == "" {
			t.Error("question without a verb")
		}
	})
}

func TestConverse(t *testing.T) {
	st := newSite(t, nil)
	var out strings.Builder
	in := "joe\nrouter x@far.example\nfrom <ann@x>\nnosuch\n\nboth"
	if err := converse(context.Background(), st.r.policy.Conf(), strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"deliver local joe joe@example.org\tcf/user.cf:", "deliver smtp far.example x@far.example", "reject 5.1.1 nosuch: no such user here", "deliver smtp remote.example ann@remote.example"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
