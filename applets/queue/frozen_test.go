package queue

import (
	"os"
	"strings"
	"testing"

	"zmailer/spool"
)

// submit puts a message into a directory of those that are not routed.
func (in *instance) submit(dir, from, why string) string {
	in.t.Helper()
	env := &spool.Envelope{HasFrom: true, From: from, To: []spool.Recipient{{Addr: "joe@b.test"}, {Addr: "ben@c.test"}}}
	id, err := in.spool.SubmitMessage(in.t.Context(), env, strings.NewReader("Subject: x\n\nthe body\n"))
	if err != nil {
		in.t.Fatal(err)
	}
	if dir != spool.RouterDir {
		if err := in.spool.SetAside(spool.RouterDir, dir, id, why); err != nil {
			in.t.Fatal(err)
		}
	}
	return string(id)
}

func (in *instance) there(dir, name string) bool {
	_, err := os.Lstat(in.spool.Root + "/" + dir + "/" + name)
	return err == nil
}

// TestFrozen: what the policy froze is listed as held mail, and released and deleted
// with it.
func TestFrozen(t *testing.T) {
	in := newInstance(t)
	held := in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"))
	good := in.submit(spool.FreezerDir, "bob@a.test", "looks like\x1b[2J spam")
	bad := in.submit(spool.FreezerDir, "eve@a.test", "")
	in.start()
	in.want("held: 1 recipients of 1 messages", "hold", held)
	in.want(good+"!", "mailq")
	in.want("frozen by the policy: looks like", "mailq", "--state", "held")
	in.want("Total requests: 3", "mailq", "--state", "held")
	in.want(`"queue_name":"hold"`, "mailq", "--json", bad)
	in.want("why      looks like", "show", good)

	in.want("would be released: 5 recipients of 3 messages", "release", "--state", "held", "--dry-run")
	in.want("would be deleted: 2 recipients of 1 messages", "delete", "--sender", "eve@*", "--dry-run")
	in.want("deleted: 2 recipients of 1 messages", "delete", "--sender", "eve@*")
	if in.there("freezer", bad) || in.there("router", bad) {
		t.Error("deleted, and there")
	}
	in.want("released: 3 recipients of 2 messages", "release", "--state", "held")
	if in.there("freezer", good) || !in.there("router", good) || in.there("freezer", good+".why") {
		t.Error("not given back to the router")
	}
	if !in.spool.Released(spool.ID(good)) {
		t.Error("the router does not know that it was released")
	}
	in.want("released: 0 recipients", "release", good)
}

// TestFrozenReturned: bounce and expire reach what the policy froze, too; the router
// sends it back.
func TestFrozenReturned(t *testing.T) {
	in := newInstance(t)
	ids := []string{in.submit(spool.FreezerDir, "bob@a.test", "secret"), in.submit(spool.FreezerDir, "eve@a.test", "secret"), in.submit(spool.FreezerDir, "ann@a.test", "")}
	in.queue("bob@a.test", rcpt("smtp", "b.test", "joe@b.test"))
	in.start()
	in.want("would be returned to the sender: 3 recipients of 2 messages", "bounce", "--sender", "bob@a.test", "--dry-run")
	in.want("returned to the sender: 3 recipients of 2 messages", "bounce", "--sender", "bob@a.test", "--text", "not wanted\nhere")
	in.want("would be expired: 2 recipients of 1 messages", "expire", "--sender", "eve@a.test", "--dry-run")
	in.want("expired: 2 recipients of 1 messages", "expire", ids[1])
	for i, want := range []string{"5.7.0 not wanted here", "5.4.7 could not be delivered within 0 minutes; last problem: it was held", ""} {
		status, text, err := in.spool.Returned(spool.ID(ids[i]))
		if got := strings.TrimSpace(status + " " + text); err != nil || got != want {
			t.Errorf("%s: %q, %v", ids[i], got, err)
		}
		if in.there("router", ids[i]) != (want != "") || in.there("freezer", ids[i]) != (want == "") {
			t.Errorf("%s is not where it belongs", ids[i])
		}
	}
}

// TestShowStates: a message is shown wherever it is.
func TestShowStates(t *testing.T) {
	in := newInstance(t)
	for dir, why := range map[string]string{spool.RouterDir: "", spool.DeferredDir: "", spool.FreezerDir: "as told", spool.PostmanDir: "not understood"} {
		id := in.submit(dir, "ann@a.test", why)
		for _, want := range []string{" in " + dir + "/", why, "the body", "joe@b.test"} {
			in.want(want, "show", "--body", id)
		}
	}
	for _, cut := range []bool{true, false} {
		id := in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"))
		path := in.spool.ControlPath(spool.ID(id))
		what := "being routed"
		if cut {
			what = "control file:"
			if err := os.Truncate(path, 40); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		in.want(id+" in queue/", "show", id)
		in.want(what, "show", id)
	}
}
