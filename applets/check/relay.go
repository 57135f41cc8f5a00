package check

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"zmailer/shellcfg"
)

// A Relay proves that strangers cannot send mail through this host, with sessions of
// every form, and returns what they could.
type Relay func(ctx context.Context, conf *shellcfg.Conf) (open []string, err error)

// maxOpen bounds what is said: the rest will have the same cause.
const maxOpen = 5

// checkRelay belongs to the command alone: a daemon that looks at a changed
// configuration has no second for it.
func checkRelay(ctx context.Context, f *Findings, conf *shellcfg.Conf, relay Relay) {
	if _, err := os.Stat(conf.Path("smtpserver.conf")); errors.Is(err, fs.ErrNotExist) {
		return // a host that takes no mail by SMTP
	}
	if _, err := conf.OpenSpool(); err != nil {
		f.warnf("not looked for open relays: %v", err)
		return // not installed yet
	}
	open, err := relay(ctx, conf)
	if err != nil {
		f.errorf("smtpserver: %v", err)
	}
	for i, what := range open {
		if i == maxOpen {
			f.errorf("open relay: and %d more", len(open)-i)
			break
		}
		f.errorf("open relay: %s", what)
	}
}
