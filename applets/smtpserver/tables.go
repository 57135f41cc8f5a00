package smtpserver

import (
	"errors"
	"fmt"
	"sync"

	"zmailer/shellcfg/relations"
	"zmailer/shellcfg/shell"
	"zmailer/spool/proc"
)

// relation declares a lookup table, as in router.cf; it becomes a command that
// prints what it finds. Status 0 found, 1 not found, 75 could not be asked.
func (c *config) relation(call *shell.Call) error {
	spec, err := relations.ParseSpec(call.Args)
	if err != nil {
		return err
	}
	rel, err := relations.Env{Log: c.log}.Declare(spec)
	if err != nil {
		return err
	}
	c.use.tables = append(c.use.tables, rel)
	if !call.Define(spec.Name, func(call *shell.Call) int { return lookupTable(call, rel) }) {
		return errors.New("tables are declared outside of functions")
	}
	return nil
}

func lookupTable(call *shell.Call, rel *relations.Relation) int {
	q, err := relations.ParseQuery(call.Args)
	if err != nil {
		return call.Fail(fmt.Errorf("%s: %w", rel.Name(), err))
	}
	value, found, err := rel.Ask(call.Ctx, q)
	switch {
	case err != nil:
		if s, ok := call.Host.(*session); ok {
			s.log.Error("table cannot be asked", "client", s.clientText, "err", err)
		}
		return proc.TempFail
	case !found:
		return 1
	}
	if _, err := fmt.Fprintln(call.Stdout, value); err != nil {
		return call.Fail(err)
	}
	return 0
}

// usage counts the sessions of a configuration: its tables are open until the
// last one ends.
type usage struct {
	mu       sync.Mutex
	sessions int
	retired  bool
	tables   []*relations.Relation
}

// begin counts a session in. It returns false if the configuration is history.
func (u *usage) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.retired {
		return false
	}
	u.sessions++
	return true
}

func (u *usage) end() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sessions--
	return u.closeUnused()
}

// retire says that no session will begin any more.
func (u *usage) retire() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.retired = true
	return u.closeUnused()
}

func (u *usage) closeUnused() error {
	if !u.retired || u.sessions > 0 {
		return nil
	}
	var errs []error
	for _, t := range u.tables {
		errs = append(errs, t.Close())
	}
	u.tables = nil
	return errors.Join(errs...)
}
