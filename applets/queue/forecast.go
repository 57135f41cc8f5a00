package queue

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool/proc"
)

// A Forecast says what the scheduler is going to do with the messages selected if
// nothing new comes and every attempt fails.
type Forecast struct {
	Steps  []Step     `json:"steps"`
	Held   int        `json:"held"` // recipients that wait for release
	Events []Upcoming `json:"events"`

	now time.Time
	max int
}

// A Step counts the recipients that something happens to by a time.
type Step struct {
	Within   string `json:"within"`
	Attempts int    `json:"attempts"`
	Warnings int    `json:"warnings"`
	Expiries int    `json:"expiries"`

	until time.Duration
}

// An Upcoming is one event to come.
type Upcoming struct {
	Time    int64  `json:"time"`
	What    string `json:"what"` // attempt, warning, expiry
	ID      string `json:"queue_id"`
	Address string `json:"address"`
	Channel string `json:"channel"`
	Host    string `json:"host"`
}

func forecastCommand() *cobra.Command {
	var sel queuesock.Selection
	var asJSON bool
	var number int
	var flags *queuesock.SelectFlags
	cmd := &cobra.Command{
		Use:   "forecast [ID...] [selection]",
		Short: "Say when what will be tried, and what expires when",
		Long: `forecast counts, for the messages selected or for the whole queue, how many recipients
are next tried, warned of or given up within which time, and lists the events that
come first. Times are the earliest ones: limits of rates and concurrency may make
attempts later.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.Finish(args); err != nil {
				return err
			}
			if number < 0 || number > 100_000 {
				return proc.Exit(proc.Usage, "--number: want 0 to 100000")
			}
			f, err := forecast(cmd, &sel, number)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(f)
			} else {
				err = f.print(cmd.OutOrStdout())
			}
			if err != nil {
				return proc.Exit(proc.IOErr, "%w", err)
			}
			return nil
		},
	}
	flags = queuesock.AddSelectFlags(cmd.Flags(), &sel, false)
	cmd.Flags().IntVarP(&number, "number", "n", 20, "how many events are listed")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func forecast(cmd *cobra.Command, sel *queuesock.Selection, number int) (*Forecast, error) {
	s, err := openSpool()
	if err != nil {
		return nil, err
	}
	f := newForecast(time.Now(), number)
	err = queuesock.Ask(cmd.Context(), s, &queuesock.Request{Op: queuesock.OpList, Select: *sel}, func(a *queuesock.Answer) error {
		if a.Entry != nil {
			f.add(a.Entry)
		}
		return nil
	})
	if err != nil {
		return nil, proc.Exit(proc.Unavailable, "%w", err)
	}
	f.trim(0)
	return f, nil
}

func newForecast(now time.Time, number int) *Forecast {
	const day = 24 * time.Hour
	return &Forecast{now: now, max: number, Events: []Upcoming{}, Steps: []Step{
		{Within: "now", until: 0}, {Within: "1m", until: time.Minute}, {Within: "5m", until: 5 * time.Minute},
		{Within: "15m", until: 15 * time.Minute}, {Within: "1h", until: time.Hour}, {Within: "4h", until: 4 * time.Hour},
		{Within: "1d", until: day}, {Within: "3d", until: 3 * day}, {Within: "later", until: 1<<63 - 1},
	}}
}

func (f *Forecast) add(e *queuesock.Entry) {
	for i := range e.Recipients {
		r := &e.Recipients[i]
		if r.State == "held" {
			f.Held++
			continue
		}
		next := r.NextTry
		if next == 0 {
			next = f.now.Unix()
		}
		f.event(e, r, "attempt", next)
		f.event(e, r, "warning", r.Warning)
		f.event(e, r, "expiry", r.Expires)
	}
}

// event enters something that happens to r; at 0 means that it does not.
func (f *Forecast) event(e *queuesock.Entry, r *queuesock.Recipient, what string, at int64) {
	if at == 0 {
		return
	}
	wait := queuesock.Time(at).Sub(f.now)
	i := 0
	for f.Steps[i].until < wait {
		i++
	}
	switch step := &f.Steps[i]; what {
	case "attempt":
		step.Attempts++
	case "warning":
		step.Warnings++
	default:
		step.Expiries++
	}
	f.Events = append(f.Events, Upcoming{at, what, e.QueueID, r.Address, r.Channel, r.Host})
	f.trim(f.max + 4096)
}

// trim keeps the first events, when there are more than slack of them.
func (f *Forecast) trim(slack int) {
	if len(f.Events) <= slack {
		return
	}
	slices.SortStableFunc(f.Events, func(a, b Upcoming) int { return int(a.Time - b.Time) })
	f.Events = f.Events[:min(len(f.Events), f.max)]
}

func (f *Forecast) print(out io.Writer) error {
	_, err := fmt.Fprintf(out, "%-8s%10s%10s%10s   (recipients)\n", "within", "attempts", "warnings", "expiries")
	for _, s := range f.Steps {
		if err == nil && s.Attempts+s.Warnings+s.Expiries > 0 {
			_, err = fmt.Fprintf(out, "%-8s%10d%10d%10d\n", s.Within, s.Attempts, s.Warnings, s.Expiries)
		}
	}
	if err == nil && f.Held > 0 {
		_, err = fmt.Fprintf(out, "%-8s%10d\n", "held", f.Held)
	}
	for _, ev := range f.Events {
		if err == nil {
			_, err = fmt.Fprintf(out, "%s %-8s %s <%s> %s/%s\n", queuesock.Time(ev.Time).Format(timeFormat), ev.What, ev.ID, clean(ev.Address), clean(ev.Channel), clean(ev.Host))
		}
	}
	return err
}
