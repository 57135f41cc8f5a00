package main

import (
	"fmt"
	"strconv"
	"strings"

	"zmailer/testdata/load"
)

// A ledger is what the mailer promised, and what came of it.
type ledger struct {
	acked   map[string][]string       // message -> users
	have    map[string]map[string]int // message -> user -> copies
	held    map[string]string         // message -> where it lay at the last look
	trouble []string

	refused, permanent, fsck int
}

func newLedger() *ledger {
	return &ledger{acked: make(map[string][]string), have: make(map[string]map[string]int), held: make(map[string]string)}
}

// line takes one line of the guest.
func (l *ledger) line(s string) {
	word, rest, _ := strings.Cut(s, " ")
	f := strings.Fields(rest)
	switch {
	case word == "ack" && len(f) == 2:
		l.acked[f[0]] = strings.Split(f[1], ",")
	case word == "have" && len(f) == 3:
		n, err := strconv.Atoi(f[2])
		if err != nil {
			l.trouble = append(l.trouble, s)
			return
		}
		if l.have[f[0]] == nil {
			l.have[f[0]] = make(map[string]int)
		}
		l.have[f[0]][f[1]] += n
	case word == "held" && len(f) == 2:
		l.held[f[0]] = f[1]
		if f[1] == "postman" || f[1] == "freezer" { // nobody but an administrator moves it on
			l.trouble = append(l.trouble, s)
		}
	case word == "no":
		l.refused++
		if len(f) > 1 && strings.HasPrefix(f[1], "5") {
			l.permanent++
			l.trouble = append(l.trouble, s)
		}
	case word == "fsck" && rest != "0":
		l.fsck++
		l.trouble = append(l.trouble, s)
	case word == "bad":
		l.trouble = append(l.trouble, s)
	}
}

// booted forgets where messages lay before.
func (l *ledger) booted() { clear(l.held) }

func (l *ledger) tally() (load.Tally, []string) {
	return load.NewTally(l.acked, l.have, func(id string) bool { return l.held[id] != "" })
}

func (l *ledger) verdict() bool {
	t, lost := l.tally()
	fmt.Printf("\n%d messages acknowledged for %d recipients: %d delivered, %d still queued, %d lost, %d duplicates; %d refused for now, %d for good\n",
		t.Acked, t.Recipients, t.Delivered, t.Held, t.Lost, t.Duplicates, l.refused-l.permanent, l.permanent)
	for _, s := range lost[:min(len(lost), 20)] {
		fmt.Println("  lost:", s)
	}
	for _, s := range l.trouble[:min(len(l.trouble), 20)] {
		fmt.Println("  trouble:", s)
	}
	good := t.Lost == 0 && len(l.trouble) == 0 && t.Acked > 0
	if good {
		fmt.Println("PASS: nothing that was acknowledged is lost")
	} else {
		fmt.Println("FAIL")
	}
	return good
}

// A row is one boot in the summary.
type row struct {
	boot          int
	seconds       float64 // from power on to the end of the check
	load          float64 // seconds
	acks, flushes int
	loss          loss
	t             load.Tally
	last          bool
}

func printHead() {
	fmt.Println("The counts stand for all rounds so far, as found after the boot; 'cache' is what became of the")
	fmt.Println("writes that the disk had not flushed when the power went: kept, lost, torn.")
	fmt.Println()
	fmt.Printf("%4s %7s | %9s %9s %4s %4s | %6s %6s %8s  %s\n", "boot", "check s", "delivered", "queued", "lost", "dup", "load", "acks", "flushes", "cache k/l/t")
}

func (r *row) print() {
	fmt.Printf("%4d %7.1f | %9d %9d %4d %4d |", r.boot, r.seconds, r.t.Delivered, r.t.Held, r.t.Lost, r.t.Duplicates)
	if r.last {
		fmt.Printf(" turned off\n")
		return
	}
	fmt.Printf(" %5.1fs %6d %8d  %d/%d/%d\n", r.load, r.acks, r.flushes, r.loss.kept, r.loss.lost, r.loss.torn)
}
