package fsck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool"
)

// plain checks a directory of messages that are not routed.
func (c *checker) plain(dir, state, needs string) {
	c.each(dir, func(name string) {
		rel := filepath.Join(dir, name)
		id, err := spool.ParseID(name)
		if err != nil && dir == spool.FreezerDir && c.beside(name) {
			return
		}
		if err != nil {
			c.unknown(rel, needs)
			return
		}
		c.count(state)
		if _, ok := c.message(rel, id, needs); !ok {
			return
		}
		if dir != spool.RouterDir {
			c.modes(rel, needs)
		}
		// Routing is a rename, so a message cannot be in both places by itself.
		if there(c.s.QueuePath(id)) && there(c.s.Path(dir, id)) {
			c.report(&finding{Path: rel, State: twice, What: "the message is in queue/ as well", Needs: needs,
				Steps: c.asideAs(rel, id, "", "found as "+rel+" while it was in queue/ as well")})
		}
	})
}

// beside says that a file of freezer/ belongs to a message: its reason, or the note
// that it was released and is at the router.
func (c *checker) beside(name string) bool {
	base, ext, _ := strings.Cut(name, ".")
	id, err := spool.ParseID(base)
	if err != nil {
		return false
	}
	switch ext {
	case "why":
		return there(c.s.Path(spool.FreezerDir, id))
	case "released":
		return there(c.s.Path(spool.FreezerDir, id)) || there(c.s.Path(spool.RouterDir, id)) || there(c.s.Path(spool.DeferredDir, id))
	}
	return false
}

// message checks the message file of id and returns its size. If it is not ok, that
// was reported.
func (c *checker) message(rel string, id spool.ID, needs string) (size int64, ok bool) {
	path := filepath.Join(c.s.Root, rel)
	m, err := spool.OpenMessage(path, id)
	var bad *spool.BadEnvelope
	switch {
	case err == nil:
		defer m.Close()
		return m.Size, true
	case errors.As(err, &bad):
		m.Close()
		c.report(&finding{Path: rel, State: damaged, What: err.Error(), Needs: needs, Steps: c.setAside(rel, id, err.Error())})
	case errors.Is(err, spool.ErrNotRegular) || errors.Is(err, unix.ENXIO): // ENXIO: a socket
		what := "something"
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err == nil {
			what = kind(&st)
		}
		c.report(&finding{Path: rel, State: wrongType, What: what + " in place of a message", Needs: needs,
			Steps: c.setAside(rel, id, what+" in place of a message")})
	default:
		c.trouble(rel, err)
	}
	return 0, false
}

// setAside moves a message and its control file, if it has one, to postman/.
func (c *checker) setAside(rel string, id spool.ID, why string) []step {
	steps := c.asideAs(rel, id, "", "found as "+rel+": "+why)
	if rel == c.rel(c.s.QueuePath(id)) && there(c.s.ControlPath(id)) {
		steps = append(steps, step{op: move, path: c.s.ControlPath(id), to: c.free(string(id) + ".control")})
	}
	return steps
}

func (c *checker) rel(path string) string { return path[len(c.s.Root)+1:] }

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// modes checks that nobody but the mailer can change a file of the queue.
func (c *checker) modes(rel, needs string) {
	path := filepath.Join(c.s.Root, rel)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		c.trouble(rel, &fs.PathError{Op: "stat", Path: path, Err: err})
		return
	}
	if !c.trusted[int(st.Uid)] && needs != "router" { // the router copies such a file before it believes it
		c.report(&finding{Path: rel, State: wrongMode, What: fmt.Sprintf("belongs to uid %d", st.Uid), Needs: needs, Steps: []step{
			{op: chown, path: path, uid: c.owner[0], gid: c.owner[1]},
			{op: chmod, path: path, mode: 0o600}}})
		return
	}
	if mode := fs.FileMode(st.Mode & 0o777); mode&^0o640 != 0 || mode&0o400 == 0 {
		c.report(&finding{Path: rel, State: wrongMode, What: fmt.Sprintf("mode is %04o", mode),
			Steps: []step{{op: chmod, path: path, mode: mode&0o640 | 0o600}}})
	}
}

// hashed checks one directory of queue/ with that of transport/.
//
// transport/ is listed first: the router puts the message into queue/ before it
// writes the control file, and the scheduler removes the message first.
func (c *checker) hashed(h string) {
	controls := make(map[spool.ID]struct{})
	c.each(filepath.Join(spool.TransportDir, h), func(name string) {
		rel := filepath.Join(spool.TransportDir, h, name)
		if id, ok := c.placed(rel, name, h); ok {
			controls[id] = struct{}{}
		}
	})
	c.each(filepath.Join(spool.QueueDir, h), func(name string) {
		rel := filepath.Join(spool.QueueDir, h, name)
		id, ok := c.placed(rel, name, h)
		if !ok {
			return
		}
		delete(controls, id)
		size, ok := c.message(rel, id, "scheduler")
		if !ok {
			return
		}
		if _, err := os.Lstat(c.s.ControlPath(id)); errors.Is(err, fs.ErrNotExist) {
			c.unrouted(rel, id, "moving")
			return
		}
		c.routed(rel, id, size)
	})
	if c.ctx.Err() != nil {
		return // what was not looked for in queue/ is no orphan
	}
	for id := range controls {
		c.orphan(id)
	}
}

// placed checks the name of a file in a hash directory.
func (c *checker) placed(rel, name, h string) (spool.ID, bool) {
	id, err := spool.ParseID(name)
	switch {
	case err != nil:
		c.unknown(rel, "scheduler")
		return "", false
	case id.Hash() != h:
		to := filepath.Join(c.s.Root, filepath.Dir(filepath.Dir(rel)), id.Hash(), name)
		f := &finding{Path: rel, State: misplaced, What: "belongs into directory " + id.Hash(), Needs: "scheduler",
			Steps: []step{{op: move, path: filepath.Join(c.s.Root, rel), to: to}}}
		if there(to) {
			f.What += ", where there is one already"
			f.Steps = c.aside(rel, f.What)
		}
		c.report(f)
		return "", false
	}
	return id, true
}

// unrouted is state "moving" or "half": the router did not finish.
func (c *checker) unrouted(rel string, id spool.ID, state string) {
	path := filepath.Join(c.s.Root, rel)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		c.trouble(rel, &fs.PathError{Op: "stat", Path: path, Err: err})
		return
	}
	c.count(state)
	if c.running["router"] != 0 && c.now.Sub(time.Unix(st.Ctim.Unix())) < inWork {
		return // it is being routed right now
	}
	f := &finding{Path: rel, State: state, Needs: "router", What: "routing was interrupted",
		Steps: []step{{op: move, path: path, to: c.s.Path(spool.RouterDir, id)}}}
	if state == "half" {
		f.What += " while the control file was written"
		f.Steps = append([]step{{op: remove, path: c.s.ControlPath(id)}}, f.Steps...)
	}
	c.report(f)
}

// routed checks a message with its control file.
func (c *checker) routed(rel string, id spool.ID, size int64) {
	control := c.rel(c.s.ControlPath(id))
	why := c.controlType(control)
	if why == "" {
		ctl, err := spool.ReadControl(c.s.ControlPath(id))
		var path *fs.PathError
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return // finished meanwhile
		case errors.Is(err, spool.ErrIncomplete):
			c.unrouted(rel, id, "half")
			return
		case errors.As(err, &path):
			c.trouble(control, err)
			return
		case err != nil:
			why = err.Error()
		case ctl.ID != id: // a file that was used again, after a power cut
			c.unrouted(rel, id, "half")
			return
		case ctl.Size != size:
			why = fmt.Sprintf("the message has %d bytes, its control file says %d", size, ctl.Size)
		}
	}
	if why != "" {
		c.report(&finding{Path: control, State: damaged, What: why, Needs: "scheduler", Steps: c.setAside(rel, id, why)})
		return
	}
	c.count("routed")
	c.modes(rel, "scheduler")
	c.modes(control, "scheduler")
}

// controlType says what a control file is if it is no file.
func (c *checker) controlType(rel string) string {
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(c.s.Root, rel), &st); err != nil {
		return "" // reading it will tell
	}
	if what := kind(&st); what != "" {
		return what + " in place of the control file"
	}
	return ""
}

// orphan is a control file without its message.
func (c *checker) orphan(id spool.ID) {
	rel := c.rel(c.s.ControlPath(id))
	if !there(c.s.ControlPath(id)) || there(c.s.QueuePath(id)) {
		return // finished, or routed, meanwhile
	}
	c.count("orphan")
	why := c.controlType(rel)
	if why == "" {
		ctl, err := spool.ReadControl(c.s.ControlPath(id))
		var path *fs.PathError
		switch {
		case errors.As(err, &path):
			c.trouble(rel, err)
			return
		case err == nil && (ctl.Finished() || ctl.ID != id || c.finished(id)):
			c.report(&finding{Path: rel, State: "orphan", What: "the message was finished",
				Steps: []step{{op: remove, path: c.s.ControlPath(id)}}})
			return
		case err != nil:
			why = err.Error()
		default:
			why = "recipients are not finished"
		}
	}
	why = "control file without its message: " + why
	c.report(&finding{Path: rel, State: "orphan", What: why, Needs: "scheduler",
		Steps: c.asideAs(rel, id, ".control", "found as "+rel+": "+why)})
}
