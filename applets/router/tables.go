package router

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/spool/proc"
)

// tablesSocket is where the router tells what its tables have answered: whoever
// connects gets one JSON object and the end.
const tablesSocket = "router.tables"

const (
	tellTime = 5 * time.Second
	maxTold  = 16 << 20
)

// tablesReport is what the router tells.
type tablesReport struct {
	Config string       `json:"config"` // version of the configuration, which the counts began with
	Pid    int          `json:"pid"`
	Tables []tableStats `json:"tables"`
}

type tableStats struct {
	Name     string    `json:"name"`
	Type     string    `json:"type"`
	File     string    `json:"file,omitempty"`
	Lookups  int64     `json:"lookups"`
	Hits     int64     `json:"hits"`
	Misses   int64     `json:"misses"`
	Failures int64     `json:"failures"`
	Cached   int64     `json:"cached"`
	Reloads  int64     `json:"reloads"`
	Since    time.Time `json:"since"`            // counted since
	Changed  time.Time `json:"changed,omitzero"` // of the file
}

// A teller answers on the socket.
type teller struct {
	l  net.Listener
	wg sync.WaitGroup
}

// listenTables needs the lock of the router's pid file: a socket that is there is
// of a router that died.
func listenTables(path string, h *policy.Holder, log *slog.Logger) (*teller, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil { // files and servers are named in it
		return nil, errors.Join(err, l.Close())
	}
	t := &teller{l: l}
	t.wg.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				log.Warn("tables cannot be told", "err", err)
				time.Sleep(100 * time.Millisecond) // no descriptors, no memory
				continue
			}
			if err := tell(c, h); err != nil {
				log.Warn("tables cannot be told", "err", err)
			}
		}
	})
	return t, nil
}

// Close ends it and waits.
func (t *teller) Close() error {
	err := t.l.Close()
	t.wg.Wait()
	return err
}

func tell(c net.Conn, h *policy.Holder) error {
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(tellTime)); err != nil {
		return err
	}
	return json.NewEncoder(c).Encode(reportTables(h))
}

func reportTables(h *policy.Holder) tablesReport {
	p, release := h.Acquire()
	defer release()
	r := tablesReport{Config: p.Version, Pid: os.Getpid(), Tables: []tableStats{}}
	for _, t := range p.Tables() {
		s, spec := t.Stats(), t.Spec()
		r.Tables = append(r.Tables, tableStats{
			Name: spec.Name, Type: spec.Type, File: spec.File,
			Lookups: s.Lookups, Hits: s.Hits, Misses: s.Misses, Failures: s.Failures, Cached: s.Cached, Reloads: s.Reloads,
			Since: s.Since, Changed: s.Changed,
		})
	}
	return r
}

// TablesCommand is zmailer tables.
func TablesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tables [--json]",
		Short: "Show what the router's tables have answered",
		Long: `tables asks the running router for its lookup tables: lookups, hits, misses, failures
(could not be asked), answers from the cache, the time since which they are counted (the
tables begin anew with a new configuration), and the age of the file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			s, err := conf.OpenSpool()
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			text, err := askTables(s.RunPath(tablesSocket))
			if err != nil {
				return proc.Exit(proc.Unavailable, "ask the router: %w", err)
			}
			if err := printTables(cmd.OutOrStdout(), text, asJSON, time.Now()); err != nil {
				return proc.Exit(proc.IOErr, "%w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func askTables(path string) ([]byte, error) {
	c, err := net.DialTimeout("unix", path, tellTime)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * tellTime)); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(c, maxTold))
}

func printTables(out io.Writer, text []byte, asJSON bool, now time.Time) error {
	var r tablesReport
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("answer of the router: %w", err)
	}
	if asJSON {
		_, err := out.Write(append(bytes.TrimSpace(text), '\n'))
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TABLE\tTYPE\tLOOKUPS\tHITS\tMISSES\tFAILURES\tCACHED\tRELOADS\tSINCE\tFILE AGE")
	for _, t := range r.Tables {
		age := "-"
		if !t.Changed.IsZero() {
			age = now.Sub(t.Changed).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", t.Name, t.Type, t.Lookups, t.Hits, t.Misses, t.Failures,
			t.Cached, t.Reloads, now.Sub(t.Since).Round(time.Second), age)
	}
	return w.Flush()
}
