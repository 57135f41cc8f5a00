package mailq

import (
	"fmt"
	"strings"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
)

// showHealth prints the status report.
func (v *viewer) showHealth() (level, error) {
	h := v.examine()
	return h.worst, v.report(h)
}

func (v *viewer) report(h *Health) error {
	if v.json {
		return v.printJSON(h)
	}
	v.printDaemons(h)
	for i := range h.Dirs {
		v.printDir(h, &h.Dirs[i])
	}
	if h.Scheduler != nil {
		v.printScheduler(h.Scheduler)
	}
	fmt.Fprintf(v.out, "%-12s%s free (%.0f %%), %.0f %% of files free\n", "disk", size(int64(h.Disk.FreeBytes)), 100*h.Disk.FreePart, 100*h.Disk.FilesPart)
	for _, p := range h.Problems {
		fmt.Fprintf(v.out, "%s: %s\n    %s\n", strings.ToUpper(p.Level), p.Text, p.Remedy)
	}
	if len(h.Problems) == 0 {
		v.out.WriteString("all is well\n")
	}
	return nil
}

func (v *viewer) printDaemons(h *Health) {
	for _, d := range h.Daemons {
		fmt.Fprintf(v.out, "%-12s%s", d.Name, d.State)
		if d.Pid != 0 {
			fmt.Fprintf(v.out, ", pid %d", d.Pid)
		}
		if st := h.Scheduler; st != nil && d.Name == "scheduler" {
			fmt.Fprintf(v.out, ", up %s, %s of memory", span(time.Duration(st.Uptime)*time.Second), size(st.Memory))
		}
		v.out.WriteByte('\n')
	}
}

func (v *viewer) printDir(h *Health, d *Dir) {
	fmt.Fprintf(v.out, "%-12s", d.Name+"/")
	if d.Error != "" {
		fmt.Fprintf(v.out, "%s\n", d.Error)
		return
	}
	v.out.WriteString(count(d.Count, "message"))
	if d.More {
		v.out.WriteString(" or more")
	}
	if st := h.Scheduler; st != nil && d.Name == spool.TransportDir {
		fmt.Fprintf(v.out, ", %s, %s", count(st.Recipients, "recipient"), size(st.Bytes))
		if st.Held > 0 {
			fmt.Fprintf(v.out, ", %d held", st.Held)
		}
	}
	if d.Count > 0 {
		fmt.Fprintf(v.out, ", oldest %s", span(v.now.Sub(queuesock.Time(d.Oldest))))
	}
	v.out.WriteByte('\n')
}

var threadStates = []string{"running", "ready", "waiting", "backoff", "queueonly", "idle"}

func (v *viewer) printScheduler(st *queuesock.Status) {
	if st.Scan.Running && st.Scan.Scans == 0 {
		fmt.Fprintf(v.out, "%-12sreading the queue: %.0f %% done, %d files in %.0f s\n", "scan", 100*st.Scan.Done, st.Scan.Files, st.Scan.Seconds)
	}
	var parts []string
	for _, s := range threadStates {
		if n := st.Threads[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	if len(parts) == 0 {
		parts = []string{"none"}
	}
	fmt.Fprintf(v.out, "%-12s%s\n", "threads", strings.Join(parts, ", "))
	for i := range st.Agents {
		a := &st.Agents[i]
		fmt.Fprintf(v.out, "%-12s%s: %d running with %s, %d idle", "agents", a.Pattern, a.Running, count(a.Jobs, "job"), a.Idle)
		if a.Waiting > 0 {
			fmt.Fprintf(v.out, ", %s waiting: %s", count(a.Waiting, "thread"), a.Pending)
		}
		v.out.WriteByte('\n')
	}
	fmt.Fprintf(v.out, "%-12s%10s%10s%10s%10s%10s\n", "", "in", "out", "delivered", "deferred", "failed")
	for _, name := range []string{"minute", "hour", "day"} {
		r := st.Rates[name]
		fmt.Fprintf(v.out, "%-12s%10d%10d%10d%10d%10d\n", "last "+name, r.In, r.Out, r.Delivered, r.Deferred, r.Failed)
	}
}

// size writes a number of bytes.
func size(n int64) string {
	f, unit := float64(n), "bytes"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	if unit == "bytes" {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
