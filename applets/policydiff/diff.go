package policydiff

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"zmailer/shellcfg/policy"
)

// addressTime bounds the routing of one address by one configuration.
const addressTime = time.Minute

// A Report is what would change.
type Report struct {
	Addresses int     `json:"addresses"` // routed
	Changed   int     `json:"changed"`
	Groups    []Group `json:"groups"` // the largest first
}

// A Group is addresses whose decisions change in the same way.
type Group struct {
	Old       string   `json:"old"`
	New       string   `json:"new"`
	Count     int      `json:"count"`
	Addresses []Change `json:"addresses"` // no more than maxShown
}

// A Change is what would become of one address.
type Change struct {
	Address string   `json:"address"`
	Old     []string `json:"old"`
	New     []string `json:"new"`
}

// maxShown bounds the memory and the output for a group; maxGroups the groups.
const (
	maxShown  = 1000
	maxGroups = 1000
)

// compare routes every address by both configurations.
func compare(ctx context.Context, older, newer *policy.Policy, addrs []string) (*Report, error) {
	r := &Report{Addresses: len(addrs), Groups: []Group{}}
	index := map[[2]string]int{}
	for _, addr := range addrs {
		was := route(ctx, older, addr)
		is := route(ctx, newer, addr)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if slices.Equal(was.decisions, is.decisions) {
			continue
		}
		r.Changed++
		key := [2]string{was.kind, is.kind}
		i, known := index[key]
		if !known {
			if len(r.Groups) == maxGroups {
				key = [2]string{"other", "other"}
				i, known = index[key]
			}
			if !known {
				i = len(r.Groups)
				index[key] = i
				r.Groups = append(r.Groups, Group{Old: key[0], New: key[1]})
			}
		}
		g := &r.Groups[i]
		g.Count++
		if len(g.Addresses) < maxShown {
			g.Addresses = append(g.Addresses, Change{addr, was.decisions, is.decisions})
		}
	}
	slices.SortStableFunc(r.Groups, func(a, b Group) int { return cmp.Compare(b.Count, a.Count) })
	return r, nil
}

// outcome is what a configuration does with an address.
type outcome struct {
	decisions []string // sorted: the order of deliveries changes nothing
	kind      string   // the same for addresses that go the same way
}

// maxDecisions of one address are compared one by one, and the rest by number.
const maxDecisions = 1000

func route(ctx context.Context, p *policy.Policy, addr string) outcome {
	ctx, cancel := context.WithTimeout(ctx, addressTime)
	defer cancel()
	s := p.Session(ctx, &policy.Message{})
	defer s.Close()
	var o outcome
	ways := map[string]bool{}
	more := 0
	s.Route(policy.Recipient{Addr: addr}, func(d *policy.Decision) bool {
		if len(o.decisions) == maxDecisions {
			more++
			return true
		}
		text := d.String()
		if d.Action == policy.Deliver && d.Privilege != p.Nobody() {
			text += fmt.Sprintf(" (privilege %d)", d.Privilege)
		}
		o.decisions = append(o.decisions, text)
		ways[way(d)] = true
		return true
	})
	slices.Sort(o.decisions)
	if more > 0 {
		o.decisions = append(o.decisions, fmt.Sprintf("and %d more", more))
	}
	o.kind = "nobody"
	if len(ways) > 0 {
		names := make([]string, 0, len(ways))
		for w := range ways {
			names = append(names, w)
		}
		slices.Sort(names)
		if len(names) > 4 {
			names = append(names[:4:4], "...")
		}
		o.kind = strings.Join(names, ", ")
	}
	return o
}

// way is a decision without what differs from address to address.
func way(d *policy.Decision) string {
	switch d.Action {
	case policy.Deliver:
		how := "deliver " + d.Channel
		if d.Channel != policy.LocalChannel {
			how += " " + d.Host
		}
		if d.Held() {
			how += " (held)"
		}
		if d.Delay() > 0 {
			how += " (after " + d.Delay().String() + ")"
		}
		return how
	case policy.Reject, policy.Defer:
		return d.Action.String() + " " + d.Status
	}
	return d.Action.String()
}
