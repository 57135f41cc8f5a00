package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"time"
)

// A machine is one boot: from power on to the cut, or to the orderly end.
type machine struct {
	o     *options
	round int
	last  bool // turn it off after the check
	rnd   *rand.Rand
	book  *ledger

	disk *disk
}

func (m *machine) log(name string) string { return m.o.path(fmt.Sprintf("%s.%d", name, m.round)) }

func (m *machine) boot(ctx context.Context) (r *row, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if m.disk, err = openDisk(m.o.path("stable.img"), m.o.path("now.img")); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.disk.close()) }()
	sockets := make([]net.Listener, 2)
	for i, name := range []string{"nbd.sock", "report.sock"} {
		if sockets[i], err = net.Listen("unix", m.o.path(name)); err != nil {
			return nil, err
		}
		defer sockets[i].Close()
	}
	cmd := m.command(ctx)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		cancel() // kills it, if it still runs
		<-ended
	}()
	go m.serveDisk(sockets[0])
	lines, err := m.report(sockets[1])
	if err != nil {
		return nil, err
	}
	r = &row{boot: m.round, last: m.last}
	return r, m.follow(ctx, r, lines, cancel)
}

func (m *machine) command(ctx context.Context) *exec.Cmd {
	round := m.round
	if m.last {
		round = 0
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", m.o.accel, "-smp", "2", "-m", "1024", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", m.o.kernel, "-initrd", m.o.path("initrd"),
		"-append", fmt.Sprintf("console=ttyS0 loglevel=4 panic=-1 tsc=unstable powercut=%d", round),
		"-chardev", "file,id=console,path="+m.log("console"), "-serial", "chardev:console",
		"-chardev", "socket,id=report,path="+m.o.path("report.sock"), "-serial", "chardev:report",
		// The disk has a write cache, and the guest is told so.
		"-blockdev", "driver=nbd,node-name=disk,server.type=unix,server.path="+m.o.path("nbd.sock")+",export=disk,cache.direct=on",
		"-device", "virtio-blk-pci,drive=disk,write-cache=on")
	cmd.WaitDelay = 5 * time.Second
	// SIGKILL: the machine and its memory are gone at once.
	cmd.Cancel = func() error { return cmd.Process.Kill() }
	if f, err := os.Create(m.log("qemu")); err == nil {
		cmd.Stdout, cmd.Stderr = f, f
	}
	return cmd
}

func (m *machine) serveDisk(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return // the machine did not start; report tells
	}
	defer conn.Close()
	// Its end is the end of the machine, which the report shows.
	_ = m.disk.serve(conn)
}

// report returns the lines of the guest; the channel is closed at its end.
func (m *machine) report(l net.Listener) (<-chan string, error) {
	if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	conn, err := l.Accept()
	if err != nil {
		return nil, fmt.Errorf("QEMU did not start, see %s: %w", m.log("qemu"), err)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		defer conn.Close()
		br := bufio.NewReader(conn)
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return // what has no line end was cut off
			}
			lines <- line[:len(line)-1]
		}
	}()
	return lines, nil
}

// follow reads the guest's report, cuts the power under load, and takes in what was
// said before that.
func (m *machine) follow(ctx context.Context, r *row, lines <-chan string, kill func()) error {
	start := time.Now()
	limit := time.After(m.o.limit)
	var cut <-chan time.Time
	checked := false
	var loaded time.Time
	after := -1 // so many acknowledged messages
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			if cut == nil {
				return fmt.Errorf("not ready after %s", m.o.limit)
			}
		case <-cut:
			// First the disk, then the machine: what it was told to be durable until
			// now, and nothing later, is.
			var err error
			r.flushes = m.disk.flushCount()
			r.load = time.Since(loaded).Seconds()
			if r.loss, err = m.disk.powerCut(m.rnd); err != nil {
				return err
			}
			kill()
			for line := range lines {
				m.take(r, line)
			}
			return nil
		case line, more := <-lines:
			if !more {
				if m.last && checked {
					return nil
				}
				return errors.New("the machine went down by itself")
			}
			switch line {
			case "boot":
				m.book.booted()
			case "checked":
				checked = true
				r.seconds = time.Since(start).Seconds()
				r.t, _ = m.book.tally()
			case "load":
				loaded = time.Now()
				after = m.rnd.IntN(m.o.maxAcks)
				cut = time.After(m.o.maxLoad)
			default:
				m.take(r, line)
				if r.acks == after && cut != nil {
					// Somewhere in what is under way now.
					cut = time.After(time.Duration(m.rnd.Int64N(int64(m.o.slack))))
				}
			}
		}
	}
}

func (m *machine) take(r *row, line string) {
	if len(line) > 4 && line[:4] == "ack " {
		r.acks++
	}
	m.book.line(line)
}
