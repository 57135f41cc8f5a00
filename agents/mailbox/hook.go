package mailbox

import (
	"context"
	"strconv"
	"sync"
	"time"

	"zmailer/agents/identity"
	"zmailer/agents/runner"
	"zmailer/shellcfg/users"
	"zmailer/spool/dsn"
)

const (
	hookLimit  = 10 * time.Second // of one command
	hooksTotal = 20               // at once; more are left out
)

// hooks run commands that want to know of new mail, where other systems have biff.
// They run beside the deliveries, which neither wait for them nor hear of them: a
// command that fails, hangs or cannot be run is a line in the log.
type hooks struct {
	wg     sync.WaitGroup
	places chan struct{}
}

// wait returns when all commands have ended.
func (h *hooks) wait() { h.wg.Wait() }

// start runs command in the name of the user whose mailbox at path got a letter.
func (h *hooks) start(ctx context.Context, a *agent, command string, c *copyOf, u users.User, as identity.Identity, path string, size int64) {
	if command == "" {
		return
	}
	select {
	case h.places <- struct{}{}:
	default:
		c.d.Log("event=hook-left-out user=%q err=%q", u.Name, "too many run at once")
		return
	}
	env := runner.Env(a.environment(c, u))
	env.Set("MAILBOX", path)
	env.Set("LETTERSIZE", strconv.FormatInt(size, 10))
	p := runner.Program{Argv: runner.Argv(command), Dir: home(u), Env: env, As: as, Limit: hookLimit}
	log, name := c.d.Log, u.Name
	h.wg.Go(func() {
		defer func() { <-h.places }()
		if r := p.Run(context.WithoutCancel(ctx)).Result("hook", hookLimit); r.Action != dsn.OK {
			log("event=hook-failed user=%q err=%q", name, r.Text)
		}
	})
}
