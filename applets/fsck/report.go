package fsck

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"zmailer/spool/proc"
)

// report repairs a finding, if that is wanted and may be done, and prints it.
func (r *run) report(f *finding) {
	if r.only != nil && !r.only(f) {
		return
	}
	if f.Note {
		r.notes++
		r.print(f, nil, "", nil)
		return
	}
	r.found++
	commands := make([]string, len(f.Steps))
	for i := range f.Steps {
		commands[i] = f.Steps[i].shell() // before the files move
	}
	var err error
	blocked := r.blocked(f)
	if r.repair && blocked == "" && len(f.Steps) > 0 {
		if err = repair(f); err == nil {
			r.repaired++
			if f.State == "orphan" {
				r.orphans++
			}
		} else {
			r.failure = err
		}
	}
	r.print(f, commands, blocked, err)
}

// blocked says why a finding cannot be repaired now, or nothing.
func (r *run) blocked(f *finding) string {
	switch pid := r.running[f.Needs]; {
	case len(f.Steps) == 0:
		return "nothing can be done here"
	case f.Needs != "" && pid != 0:
		return fmt.Sprintf("not while the %s runs (process %d): stop it with zmailer kill", f.Needs, pid)
	}
	return ""
}

func repair(f *finding) error {
	for i := range f.Steps {
		if err := f.Steps[i].do(); err != nil {
			return err
		}
	}
	return nil
}

// A line is a finding in JSON.
type line struct {
	Path     string   `json:"path"`
	State    string   `json:"state"`
	What     string   `json:"what"`
	Commands []string `json:"commands,omitempty"`
	Note     bool     `json:"note,omitempty"`
	Blocked  string   `json:"blocked,omitempty"`
	Repaired bool     `json:"repaired"`
	Error    string   `json:"error,omitempty"`
}

func (r *run) print(f *finding, commands []string, blocked string, err error) {
	r.progress.clear()
	if r.json {
		l := line{Path: f.Path, State: f.State, What: f.What, Commands: commands, Note: f.Note, Blocked: blocked,
			Repaired: r.repair && !f.Note && blocked == "" && err == nil}
		if err != nil {
			l.Error = err.Error()
		}
		r.encode(l)
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s: %s\n", f.State, clean(f.Path), clean(f.What))
	if blocked != "" {
		fmt.Fprintf(&b, "# %s\n", blocked)
	}
	for _, c := range commands {
		if blocked != "" {
			b.WriteString("# ")
		}
		b.WriteString(c + "\n")
	}
	if err != nil {
		fmt.Fprintf(&b, "# not repaired: %s\n", clean(err.Error()))
	}
	r.write(b.String())
}

func (r *run) write(s string) {
	if _, err := fmt.Fprint(r.out, s); err != nil && r.wrote == nil {
		r.wrote = err
	}
}

func (r *run) encode(v any) {
	if err := json.NewEncoder(r.out).Encode(v); err != nil && r.wrote == nil {
		r.wrote = err
	}
}

// summary prints the end, and returns the status of the command.
func (r *run) summary() error {
	left := r.found - r.repaired
	if r.json {
		r.encode(map[string]any{"summary": map[string]any{"states": r.states, "found": r.found, "repaired": r.repaired, "notes": r.notes}})
	} else {
		states := make([]string, 0, len(r.states))
		for name, n := range r.states {
			states = append(states, fmt.Sprintf("%s %d", name, n))
		}
		slices.Sort(states)
		if len(states) == 0 {
			states = []string{"the spool is empty"}
		}
		r.write("# " + strings.Join(states, ", ") + "\n")
		switch {
		case r.found == 0:
			r.write("# nothing is wrong\n")
		case r.repair:
			r.write(fmt.Sprintf("# %d found, %d repaired\n", r.found, r.repaired))
		default:
			r.write(fmt.Sprintf("# %d found; repair with --repair\n", r.found))
		}
	}
	if r.wrote != nil {
		return proc.Exit(proc.IOErr, "%w", r.wrote)
	}
	if left > 0 {
		return proc.Silent(exitFound)
	}
	return nil
}
