package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool/dsn"
)

// The counters for monitoring, in the text form of Prometheus. All label sets are
// bounded: channels beyond maxChannels are one, "other"; classes and reasons are
// those of RFC 3463.

const (
	maxChannels  = 64
	otherChannel = "other"
)

// A channelStats is the account of the threads and attempts of one channel.
type channelStats struct {
	threads  [threadStates]int
	rcpts    int
	attempts [len(replyClasses)][len(replyReasons)]int // results by recipients
}

var (
	replyClasses = [...]string{"success", "temporary", "permanent"}
	// replyReasons are the subjects of RFC 3463, the second number of a status.
	replyReasons = [...]string{"other", "address", "mailbox", "system", "network", "protocol", "content", "policy"}
)

// latencyBounds are the upper bounds, in seconds, of the histogram of times from
// acceptance to delivery.
var latencyBounds = [...]int{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}

// ageBounds are those of the ages of the messages in the queue.
var ageBounds = [...]int{60, 300, 900, 3600, 4 * 3600, 24 * 3600, 3 * 24 * 3600}

// A histogram counts values below latencyBounds, and above all of them.
type histogram struct {
	counts [len(latencyBounds) + 1]int
	sum    time.Duration
}

func (h *histogram) add(d time.Duration, n int) {
	i := 0
	for i < len(latencyBounds) && d > time.Duration(latencyBounds[i])*time.Second {
		i++
	}
	h.counts[i] += n
	h.sum += d * time.Duration(n)
}

// channel returns the account of a channel.
func (s *stats) channel(name string) *channelStats {
	if c := s.channels[name]; c != nil {
		return c
	}
	if len(s.channels) >= maxChannels && name != otherChannel {
		return s.channel(otherChannel)
	}
	c := new(channelStats)
	s.channels[name] = c
	return c
}

// attempt enters the result of n recipients, after delay from their acceptance.
func (s *stats) attempt(c *channelStats, r *dsn.Result, n int, delay time.Duration) {
	class := 1
	switch r.Action {
	case dsn.Expanded:
		return
	case dsn.OK:
		class = 0
		s.latency.add(delay, n)
	case dsn.Failed:
		class = 2
	}
	reason := 0
	// FullStatus is class.subject.detail.
	if f := strings.Split(r.FullStatus(), "."); len(f) == 3 && len(f[1]) == 1 {
		if i := int(f[1][0] - '0'); i < len(replyReasons) {
			reason = i
		}
	}
	c.attempts[class][reason] += n
}

// metrics answers with the counters.
func (c *client) metrics() error {
	var m metricsText
	if err := c.ask(func() { c.q.writeMetrics(&m) }); err != nil {
		return err
	}
	m.family("memory_bytes", "gauge", "Memory in use")
	m.value("", memoryInUse())
	return c.send(&queuesock.Answer{Metrics: m.b.String(), Done: true})
}

// A metricsText is being written; values belong to the family begun last.
type metricsText struct {
	b    strings.Builder
	name string
}

func (m *metricsText) family(name, kind, help string) {
	m.name = "zmailer_" + name
	fmt.Fprintf(&m.b, "# HELP %s %s.\n# TYPE %s %s\n", m.name, help, m.name, kind)
}

// value writes a value; labels are pairs of names and values.
func (m *metricsText) value(suffix string, v any, labels ...string) {
	m.b.WriteString(m.name + suffix)
	for i := 0; i+1 < len(labels); i += 2 {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		m.b.WriteString(sep + labels[i] + `="` + labelEscape.Replace(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		m.b.WriteByte('}')
	}
	fmt.Fprintf(&m.b, " %v\n", v)
}

var labelEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (q *Queue) writeMetrics(m *metricsText) {
	s := &q.stats
	m.family("up_seconds", "gauge", "Time since the scheduler was started")
	m.value("", int64(q.now.Sub(s.start)/time.Second))
	m.family("queue_messages", "gauge", "Messages in the queue")
	m.value("", s.messages)
	m.family("queue_bytes", "gauge", "Size of the messages in the queue")
	m.value("", s.bytes)
	m.family("queue_held_messages", "gauge", "Messages that an administrator holds, or the policy until he releases them")
	m.value("", s.held)
	q.writeAges(m)
	q.writeChannels(m)
	q.writeLatency(m)
	q.writeTotals(m)
	q.writeAgents(m)
}

func (q *Queue) writeAges(m *metricsText) {
	var counts [len(ageBounds)]int
	for minute, n := range q.stats.arrivals {
		age := int64(q.sec()) - int64(minute)*60
		for i, bound := range ageBounds {
			if age > int64(bound) {
				counts[i] += n
			}
		}
	}
	m.family("queue_older_messages", "gauge", "Messages in the queue that are older than so many seconds")
	for i, bound := range ageBounds {
		m.value("", counts[i], "seconds", itoa(bound))
	}
	m.family("queue_oldest_seconds", "gauge", "Age of the oldest message, to the minute")
	oldest := int64(0)
	if q.stats.messages > 0 {
		oldest = max(0, int64(q.sec())-int64(q.stats.oldest()))
	}
	m.value("", oldest)
}

func (q *Queue) writeChannels(m *metricsText) {
	var names []string
	for name := range q.stats.channels {
		names = append(names, name)
	}
	slices.Sort(names)
	m.family("queue_recipients", "gauge", "Recipients in the queue")
	for _, name := range names {
		m.value("", q.stats.channels[name].rcpts, "channel", name)
	}
	m.family("queue_threads", "gauge", "Destinations with mail, by state")
	for _, name := range names {
		for state, n := range q.stats.channels[name].threads {
			m.value("", n, "channel", name, "state", threadStateNames[state])
		}
	}
	m.family("attempts_total", "counter", "Results of attempts, by recipients: class of the reply and its reason")
	for _, name := range names {
		for class, reasons := range q.stats.channels[name].attempts {
			for reason, n := range reasons {
				if n > 0 {
					m.value("", n, "channel", name, "class", replyClasses[class], "reason", replyReasons[reason])
				}
			}
		}
	}
}

func (q *Queue) writeLatency(m *metricsText) {
	h := &q.stats.latency
	m.family("delivery_seconds", "histogram", "Time from acceptance to delivery, of recipients")
	n := 0
	for i, bound := range latencyBounds {
		n += h.counts[i]
		m.value("_bucket", n, "le", itoa(bound))
	}
	n += h.counts[len(latencyBounds)]
	m.value("_bucket", n, "le", "+Inf")
	m.value("_sum", h.sum.Seconds())
	m.value("_count", n)
}

func (q *Queue) writeTotals(m *metricsText) {
	s := &q.stats
	for _, row := range []struct {
		name, help string
		n          int
	}{
		{"messages_in_total", "Messages that entered the queue", s.total.In},
		{"messages_out_total", "Messages that left the queue", s.total.Out},
		{"recipients_delivered_total", "Recipients delivered", s.total.Delivered},
		{"recipients_deferred_total", "Attempts that are to be repeated", s.total.Deferred},
		{"recipients_failed_total", "Recipients failed", s.total.Failed},
		{"agent_starts_total", "Transport agents started", s.agentStarts},
		{"agent_deaths_total", "Transport agents that died", s.agentDeaths},
		{"agent_garbage_total", "Lines of agents that do not follow the protocol", s.garbage},
		{"disk_errors_total", "Control files or reports that could not be written", s.diskErrors},
		{"scans_total", "Complete scans of the queue directory", q.scan.scans},
	} {
		m.family(row.name, "counter", row.help)
		m.value("", row.n)
	}
}

func (q *Queue) writeAgents(m *metricsText) {
	type counts struct{ running, idle, jobs int }
	by := make(map[string]*counts)
	for _, p := range q.pools {
		name := p.key.channel
		if q.stats.channels[name] == nil {
			name = otherChannel
		}
		c := by[name]
		if c == nil {
			c = new(counts)
			by[name] = c
		}
		a := p.describe()
		c.running += a.Running
		c.idle += a.Idle
		c.jobs += a.Jobs
	}
	var names []string
	for name := range by {
		names = append(names, name)
	}
	slices.Sort(names)
	m.family("agents", "gauge", "Transport agents, with jobs and without")
	for _, name := range names {
		m.value("", by[name].running, "channel", name, "state", "running")
		m.value("", by[name].idle, "channel", name, "state", "idle")
	}
	m.family("jobs", "gauge", "Jobs at transport agents")
	for _, name := range names {
		m.value("", by[name].jobs, "channel", name)
	}
}
