package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"zmailer/applets/check"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// files has this program check the configuration of each daemon.
func (c *checker) files(ctx context.Context) {
	if err := check.Instance(ctx, c.conf).Err(); err != nil {
		c.say(Stop, "router.cf", "%v (see zmailer check)", err)
	} else {
		c.say(Fine, "router.cf", "loads, with its tables")
	}
	for _, daemon := range []string{"scheduler", "smtpserver"} {
		out, status, err := c.program(ctx, c.self, daemon, "--check")
		switch {
		case err != nil:
			c.say(Stop, daemon+".conf", "%v", err)
		case status != 0:
			c.say(Stop, daemon+".conf", "%s", firstLine(out))
		default:
			c.say(Fine, daemon+".conf", "loads")
		}
	}
}

// queue reads every message file and control file.
func (c *checker) queue(ctx context.Context) error {
	count := 0
	var bad []string
	note := func(path string, err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // that one has been delivered
			if bad = append(bad, fmt.Sprintf("%s: %v", path, err)); len(bad) > maxBad {
				bad = bad[:maxBad+1]
			}
		}
	}
	message := func(path string, id spool.ID) {
		m, err := spool.OpenMessage(path, id)
		var envelope *spool.BadEnvelope
		if err == nil || errors.As(err, &envelope) {
			m.Close()
		}
		note(path, err)
	}
	for _, dir := range []string{spool.RouterDir, spool.DeferredDir, spool.FreezerDir} {
		err := spool.EachID(filepath.Join(c.spool.Root, dir), func(id spool.ID) error {
			count++
			message(c.spool.Path(dir, id), id)
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	for _, h := range spool.HashDirs() {
		err := spool.EachID(filepath.Join(c.spool.Root, spool.TransportDir, h), func(id spool.ID) error {
			count++
			_, err := spool.ReadControl(c.spool.ControlPath(id))
			note(c.spool.ControlPath(id), err)
			message(c.spool.QueuePath(id), id)
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	if len(bad) == 0 {
		c.say(Fine, "queue", "%d messages, which this program can all read", count)
	}
	for i, text := range bad {
		if i == maxBad {
			text = "and more: see zmailer fsck"
		}
		c.say(Stop, "queue", "%s", text)
	}
	return nil
}

// maxBad bounds how many unreadable files are named.
const maxBad = 20

// daemons finds those that run, and whether they are this program.
func (c *checker) daemons() {
	running := 0
	for _, name := range []string{"zmailer", "router", "scheduler", "smtpserver"} {
		pid, err := proc.Running(c.spool.RunPath(name + ".pid"))
		switch {
		case err != nil:
			c.say(Note, name, "%v", err)
			continue
		case pid <= 0:
			continue
		}
		running++
		exe := fmt.Sprintf("/proc/%d/exe", pid)
		theirs, err := os.Stat(exe)
		ours, e := os.Stat(c.self)
		switch {
		case err != nil || e != nil:
			c.say(Note, name, "process %d: which program it is cannot be seen: %v", pid, errors.Join(err, e))
		case os.SameFile(theirs, ours):
			c.say(Fine, name, "process %d is this program", pid)
		default:
			was, err := os.Readlink(exe)
			if err != nil {
				was = "another program"
			}
			c.say(Note, name, "process %d is another program, %s of %s: start it again when this one is in its place (zmailer restart)", pid, was, theirs.ModTime().Format("2006-01-02 15:04"))
			if name == "router" && c.old == "" {
				c.old = exe
			}
		}
	}
	if running == 0 {
		c.say(Fine, "daemons", "none is running")
	}
}
