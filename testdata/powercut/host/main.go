// Host cuts the power of a virtual machine under load, again and again, and checks
// that every message the mailer in it took responsibility for is delivered or
// queued after the next boot. See guest for what runs in the machine, and run.sh,
// which calls this program.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	kernel, modules, guest, mailer string
	work                           string
	rounds                         int
	seed                           uint64
	accel                          string
	maxAcks                        int           // the power is cut after fewer acknowledged messages,
	slack                          time.Duration // and less than this time,
	maxLoad                        time.Duration // or then
	limit                          time.Duration // of one boot
	diskMB                         int64
}

func main() {
	var o options
	flag.StringVar(&o.kernel, "kernel", "", "kernel image")
	flag.StringVar(&o.modules, "modules", "", "directory of its modules")
	flag.StringVar(&o.guest, "guest", "", "the guest's program")
	flag.StringVar(&o.mailer, "zmailer", "", "the mailer's binary")
	flag.StringVar(&o.work, "work", "", "empty directory for disk and logs")
	flag.IntVar(&o.rounds, "rounds", 3, "how often the power is cut")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the random choices")
	flag.StringVar(&o.accel, "accel", "tcg,thread=multi", "how QEMU runs the machine")
	flag.IntVar(&o.maxAcks, "acks", 500, "cut the power after a random number of acknowledged messages below this")
	flag.DurationVar(&o.slack, "slack", 700*time.Millisecond, "and a random time below this")
	flag.DurationVar(&o.maxLoad, "max", time.Minute, "longest time under load")
	flag.DurationVar(&o.limit, "limit", 5*time.Minute, "longest time from power on to the load")
	flag.Int64Var(&o.diskMB, "disk", 512, "size of the disk in MB")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	good, err := o.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}

func (o *options) path(name string) string { return filepath.Join(o.work, name) }

func (o *options) run(ctx context.Context) (good bool, err error) {
	if err := writeInitrd(o.path("initrd"), o.guest, o.mailer, o.modules); err != nil {
		return false, err
	}
	if err := makeDisk(ctx, o.path("stable.img"), o.diskMB); err != nil {
		return false, err
	}
	rnd := rand.New(rand.NewPCG(o.seed, 0))
	fmt.Printf("seed %d; logs of the machine in %s\n\n", o.seed, o.work)
	book := newLedger()
	printHead()
	for round := 1; round <= o.rounds+1; round++ {
		m := &machine{o: o, round: round, rnd: rnd, book: book, last: round > o.rounds}
		row, err := m.boot(ctx)
		if err != nil {
			return false, fmt.Errorf("boot %d: %w (see %s)", round, err, m.log("console"))
		}
		row.print()
	}
	return book.verdict(), nil
}

func makeDisk(ctx context.Context, path string, mb int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := f.Truncate(mb << 20); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// Everything is initialised now: lazy initialisation would write for minutes.
	out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	return nil
}
