package control

import (
	"context"
	"strings"
	"time"
)

// statusInterval is how often the manager's text about us is made anew.
const statusInterval = 10 * time.Second

// watch gives signs of life until ctx ends. A supervisor that cannot look at its
// daemons gives none.
func (s *supervisor) watch(ctx context.Context, names []string) {
	tick := time.NewTicker(s.notify.Interval(statusInterval))
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		text := s.summary(names)
		s.notify.Alive()
		if text != last {
			s.notify.Say("STATUS=" + text)
			last = text
		}
	}
}

// summary is one line about the daemons.
func (s *supervisor) summary(names []string) string {
	var trouble []string
	for _, name := range names {
		if d := s.keepers[name].get(); d.State != running {
			trouble = append(trouble, strings.TrimSpace(name+" "+string(d.State)+" "+strings.ReplaceAll(d.Error, "\n", " ")))
		}
	}
	if len(trouble) == 0 {
		return "all daemons run"
	}
	return strings.Join(trouble, "; ")
}
