// Package queuesock is the scheduler's control socket as its clients see it:
// the requests and answers, a client, and a reader of the spool that gives the
// same answers while no scheduler runs.
//
// The socket is run/scheduler.sock below POSTOFFICE. A client sends one request,
// a line of JSON, and gets lines of JSON: items, perhaps progress, and a last one
// with "done":true or "error". Who asks is known from the socket itself: root,
// the scheduler's own user and members of the group zmailer see and may do
// everything, others see totals and their own mail.
package queuesock

import "time"

// Group is the group whose members may do everything.
const Group = "zmailer"

// MaxLine bounds a request, and an answer of which the client accepts.
const MaxLine = 1 << 20

// Socket is the name of the socket in the run directory.
const Socket = "scheduler.sock"

// Operations.
const (
	OpStatus  = "status"  // answer: Status
	OpList    = "list"    // items: Entry, selected
	OpThreads = "threads" // items: Thread, selected
	OpMetrics = "metrics" // answer: Metrics
	OpHold    = "hold"    // changes, of the selected recipients; answer: Changed
	OpRelease = "release"
	OpRequeue = "requeue" // try now, forgetting back-off
	OpFlush   = "flush"   // the same for whole threads, also queueonly ones
	OpDelete  = "delete"
	OpBounce  = "bounce"
	OpExpire  = "expire"
	OpReroute = "reroute" // through the present policy: the router gets them again
)

// A Request is what a client sends.
type Request struct {
	Op     string    `json:"op"`
	Select Selection `json:"select"`
	DryRun bool      `json:"dry_run,omitempty"`
	Text   string    `json:"text,omitempty"` // bounce: the reason given to the sender
}

// An Answer is a line that the scheduler sends.
type Answer struct {
	Entry   *Entry   `json:"entry,omitempty"`
	Thread  *Thread  `json:"thread,omitempty"`
	Status  *Status  `json:"status,omitempty"`
	Changed *Changed `json:"changed,omitempty"` // progress, and with Done the result
	Metrics string   `json:"metrics,omitempty"` // text form of Prometheus
	Error   string   `json:"error,omitempty"`
	Done    bool     `json:"done,omitempty"`
}

// Changed counts what an operation did, or would do.
type Changed struct {
	Messages   int `json:"messages"`
	Recipients int `json:"recipients"`
	Busy       int `json:"busy"`    // recipients being delivered just now: not touched
	Scanned    int `json:"scanned"` // messages looked at

	// Unknown are the ids of the selection that no message in the spool has.
	Unknown []string `json:"unknown,omitempty"`

	// Reading is the part of the queue that the scheduler has read since its start,
	// as long as it waits for the rest.
	Reading float64 `json:"reading,omitempty"`
}

// An Entry is one message in the queue. Names that Postfix's "postqueue -j" has
// mean the same here.
type Entry struct {
	QueueName   string      `json:"queue_name"` // active, deferred, incoming or hold
	QueueID     string      `json:"queue_id"`
	ArrivalTime int64       `json:"arrival_time"`
	MessageSize int64       `json:"message_size"`
	Sender      string      `json:"sender"`
	MessageID   string      `json:"message_id,omitempty"`
	Priority    string      `json:"priority,omitempty"`
	Owner       string      `json:"owner,omitempty"` // uid of the submitter
	Recipients  []Recipient `json:"recipients"`
}

// A Recipient is a recipient of an entry that is not finished.
type Recipient struct {
	N           int    `json:"n"`
	Address     string `json:"address"`
	DelayReason string `json:"delay_reason,omitempty"`
	Status      string `json:"status,omitempty"`
	Channel     string `json:"channel"`
	Host        string `json:"host"`
	Attempts    int    `json:"attempts"`
	NextTry     int64  `json:"next_try,omitempty"`        // 0: as soon as possible
	Warning     int64  `json:"warning,omitempty"`         // when the sender is told of the delay
	Expires     int64  `json:"expires,omitempty"`         // when it goes back to the sender
	DeliverBy   int64  `json:"deliver_by,omitempty"`      // the time that the sender has set: RFC 2852
	ByMode      string `json:"deliver_by_mode,omitempty"` // R: it goes back then; N: the sender is told; T: a trace
	State       string `json:"state"`                     // ready, waiting, running, settling, held
}

// A Thread is all mail for one channel and host.
type Thread struct {
	Channel    string `json:"channel"`
	Host       string `json:"host"`
	State      string `json:"state"` // idle, ready, running, waiting, backoff, queueonly
	Messages   int    `json:"messages"`
	Recipients int    `json:"recipients"`
	Active     int    `json:"active"` // jobs at agents
	Limit      int    `json:"limit"`  // jobs at once, adapted
	Failures   int    `json:"failures"`
	NextTry    int64  `json:"next_try,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Pending    string `json:"pending,omitempty"` // why nothing runs although there is work
}

// Status is the state of the scheduler as a whole.
type Status struct {
	Pid        int              `json:"pid"`
	Uptime     int64            `json:"uptime"` // seconds
	Config     string           `json:"config"`
	Messages   int              `json:"messages"`
	Recipients int              `json:"recipients"`
	Bytes      int64            `json:"bytes"`
	Held       int              `json:"held"`
	Oldest     int64            `json:"oldest,omitempty"` // arrival of the oldest message, to the minute
	Threads    map[string]int   `json:"threads"`          // by state
	Agents     []Agents         `json:"agents"`
	Rates      map[string]Rates `json:"rates"` // minute, hour, day, total
	Scan       Scan             `json:"scan"`
	Problems   Problems         `json:"problems"`
	Memory     int64            `json:"memory"` // bytes in use
}

// Agents are the agents of one pool.
type Agents struct {
	Pattern string `json:"pattern"`
	Channel string `json:"channel"`
	Host    string `json:"host,omitempty"`
	Running int    `json:"running"` // with jobs
	Idle    int    `json:"idle"`
	Jobs    int    `json:"jobs"`
	Waiting int    `json:"waiting"` // threads that could use a job
	Pending string `json:"pending,omitempty"`
	Failing bool   `json:"failing,omitempty"` // the last ones died without having done anything
	Pids    []int  `json:"pids"`
}

// Rates count what happened in a time.
type Rates struct {
	In        int `json:"in"`        // messages that entered the queue
	Out       int `json:"out"`       // messages that left it
	Delivered int `json:"delivered"` // recipients
	Deferred  int `json:"deferred"`  // attempts
	Failed    int `json:"failed"`    // recipients
}

// Add adds u to r.
func (r *Rates) Add(u Rates) {
	r.In += u.In
	r.Out += u.Out
	r.Delivered += u.Delivered
	r.Deferred += u.Deferred
	r.Failed += u.Failed
}

// Scan is the progress of the scan of transport/.
type Scan struct {
	Running bool    `json:"running"`
	Done    float64 `json:"done"` // part of the directories
	Files   int     `json:"files"`
	Seconds float64 `json:"seconds"` // it takes or took
	Scans   int     `json:"scans"`   // complete ones
}

// Problems count what should not happen.
type Problems struct {
	AgentDeaths int `json:"agent_deaths"`
	Garbage     int `json:"garbage"` // lines of agents
	DiskErrors  int `json:"disk_errors"`
}

// Time returns the time of a field of seconds since 1970.
func Time(s int64) time.Time { return time.Unix(s, 0) }
