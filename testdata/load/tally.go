package load

import "slices"

// A Tally compares what a mailer promised with what came of it.
type Tally struct {
	Acked      int // messages
	Recipients int // of them
	Delivered  int // recipients
	Held       int // recipients whose message is still in the spool
	Lost       int // recipients
	Duplicates int // copies beyond the first
}

// NewTally counts. acked are the messages that were promised with their
// recipients, have the copies that arrived; held says where a message waits.
func NewTally(acked map[string][]string, have map[string]map[string]int, held func(id string) bool) (t Tally, lost []string) {
	t.Acked = len(acked)
	for id, users := range acked {
		t.Recipients += len(users)
		for _, user := range users {
			switch {
			case have[id][user] > 0:
				t.Delivered++
			case held(id):
				t.Held++
			default:
				t.Lost++
				lost = append(lost, id+" to "+user)
			}
		}
	}
	for _, users := range have {
		for _, n := range users {
			t.Duplicates += n - 1
		}
	}
	slices.Sort(lost)
	return t, lost
}
