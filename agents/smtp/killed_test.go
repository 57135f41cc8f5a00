package smtp

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"zmailer/agents/protocol"
	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/proc"
)

// agentArgs has the options of the agent that this binary is to be.
const agentArgs = "SMTP_TEST_AGENT"

// beAgent makes the process an agent as the scheduler starts one.
func beAgent(args string) int { return proc.Code(run(context.Background(), strings.Fields(args))) }

// A separateAgent is one in a process of its own, with the scheduler's end of its pipes.
type separateAgent struct {
	cmd    *exec.Cmd
	peer   *protocol.Peer
	events chan protocol.Event // closed at the end of its output
}

func startSeparate(t *testing.T, conf, args string) *separateAgent {
	t.Helper()
	a := &separateAgent{cmd: exec.CommandContext(t.Context(), os.Args[0]), events: make(chan protocol.Event, 100)}
	a.cmd.Env = append(os.Environ(), agentArgs+"="+args, "ZCONFIG="+conf)
	a.cmd.Stderr = os.Stderr
	in, err := a.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a.peer = protocol.NewPeer(in)
	go a.read(out)
	return a
}

func (a *separateAgent) read(out io.Reader) {
	defer close(a.events)
	a.peer.Read(out, func(batch []protocol.Event) {
		for _, ev := range batch {
			a.events <- ev
		}
	})
}

// next is the next event of a kind; false at the end of the agent's output.
func (a *separateAgent) next(kind protocol.SaidKind) (protocol.Event, bool) {
	for ev := range a.events {
		if ev.Kind == kind {
			return ev, true
		}
	}
	return protocol.Event{}, false
}

// An agent that is killed when the content is out and before its reply came: nobody
// knows whether the host has the message. It is sent once more.
func TestKilledInDoubt(t *testing.T) {
	for _, tt := range []struct {
		name, stage string
		ext         []string
	}{
		{"DATA", "DOT", nil},
		{"one flight", "BDAT", []string{"PIPELINING", "CHUNKING"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sp, err := sharedSpool()
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			conf, resolv := filepath.Join(dir, "zmailer.conf"), filepath.Join(dir, "resolv.conf")
			text := fmt.Sprintf("HOSTNAME=us.test\nPOSTOFFICE='%s'\nMAILVAR='%s'\nLOGDIR='%s'\n", sp.Root, dir, dir)
			for path, text := range map[string]string{conf: text, resolv: "nameserver 127.0.0.1\n"} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			arrived := make(chan struct{})
			var first sync.Once
			s := newSink(t, tt.ext...)
			s.script = func(_ *sinkConn, at, _ string) string {
				answer := ""
				if at == tt.stage {
					first.Do(func() { close(arrived); answer = "!stall" })
				}
				return answer
			}
			d := &driver{tb: t, spool: sp}
			c := d.put(simple("a@x.test"), s.host())
			job := &protocol.Job{Number: 1, ID: c.ID, Channel: "smtp", Host: s.host(), Rcpts: []int{0}}

			a := startSeparate(t, conf, "-r "+resolv)
			if _, ok := a.next(protocol.Hungry); !ok {
				t.Fatal("the agent takes no jobs")
			}
			a.peer.Send(job)
			<-arrived
			if err := a.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if ev, ok := a.next(protocol.Result); ok {
				t.Fatalf("a result of a message in doubt: %+v", ev)
			}
			a.cmd.Wait()
			left := a.peer.Abandon(dsn.Temp("4.3.0", "the agent died"))
			if len(left) != 1 || left[0].Results[0].Action != dsn.Deferred {
				t.Fatalf("left by the dead: %+v", left)
			}
			ev := spool.Event{Rcpts: job.Rcpts, At: time.Now(), Result: left[0].Results[0], Next: time.Now()}
			if err := sp.AppendEvents(c.ID, ev.Append(nil)); err != nil {
				t.Fatal(err)
			}

			a = startSeparate(t, conf, "-r "+resolv)
			if _, ok := a.next(protocol.Hungry); !ok {
				t.Fatal("the second agent takes no jobs")
			}
			a.peer.Send(job)
			done, ok := a.next(protocol.Result)
			if !ok || done.Results[0].Action != dsn.OK || len(s.received()) != 1 {
				t.Errorf("second attempt: %+v, %d messages arrived", done, len(s.received()))
			}
			a.peer.CloseInput()
			a.next(protocol.Garbage) // to the end of its output
			if err := a.cmd.Wait(); err != nil {
				t.Errorf("the agent ended with %v", err)
			}
		})
	}
}
