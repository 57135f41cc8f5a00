package scheduler

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/applets/scheduler/queuesock"
)

// Bounds of the control socket: clients at once, and how long one may keep us
// waiting for its request or for its reading of the answer.
const (
	maxClients  = 64
	requestTime = 10 * time.Second
	answerTime  = 30 * time.Second
)

// listen makes the control socket. The caller holds the pid file: a socket that is
// there belongs to nobody.
func (q *Queue) listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// Everybody may ask; what is answered depends on who asks.
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// serveSocket answers clients until ctx ends.
func (q *Queue) serveSocket(ctx context.Context, l *net.UnixListener) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	slots := make(chan struct{}, maxClients)
	for {
		c, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// Out of descriptors, most likely: a moment later there may be some.
			q.log.Error("control socket", "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
			continue
		}
		select {
		case slots <- struct{}{}:
			go func() {
				defer func() { <-slots }()
				q.serveClient(ctx, c)
			}()
		default:
			// A full house: say so without waiting for anything.
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_ = json.NewEncoder(c).Encode(queuesock.Answer{Error: "too many clients: try again"})
			c.Close()
		}
	}
}

// A client is a connection to the control socket.
type client struct {
	q     *Queue
	ctx   context.Context
	conn  *net.UnixConn
	out   *bufio.Writer
	enc   *json.Encoder // to out
	uid   int
	admin bool
}

func (q *Queue) serveClient(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c := &client{q: q, ctx: ctx, conn: conn, out: bufio.NewWriterSize(conn, 32<<10)}
	c.enc = json.NewEncoder(c.out)
	c.enc.SetEscapeHTML(false)
	err := c.authorise()
	if err == nil {
		err = c.serve()
	}
	if err != nil {
		_ = c.send(&queuesock.Answer{Error: err.Error()}) // it may be the connection that failed
	}
	_ = c.flush()
}

// authorise finds out who asks.
func (c *client) authorise() error {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var bad error
	if err := raw.Control(func(fd uintptr) { cred, bad = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if bad != nil {
		return fmt.Errorf("who asks cannot be found out: %w", bad)
	}
	c.uid = int(cred.Uid)
	c.admin = c.uid == 0 || c.uid == os.Geteuid() || inGroup(cred)
	return nil
}

// inGroup says whether the peer belongs to the group that may do everything.
func inGroup(cred *unix.Ucred) bool {
	g, err := user.LookupGroup(queuesock.Group)
	if err != nil {
		return false
	}
	if strconv.Itoa(int(cred.Gid)) == g.Gid {
		return true
	}
	u, err := user.LookupId(strconv.Itoa(int(cred.Uid)))
	if err != nil {
		return false
	}
	gids, err := u.GroupIds()
	if err != nil {
		return false
	}
	for _, gid := range gids {
		if gid == g.Gid {
			return true
		}
	}
	return false
}

func (c *client) serve() error {
	if err := c.conn.SetReadDeadline(time.Now().Add(requestTime)); err != nil {
		return err
	}
	in := bufio.NewScanner(c.conn)
	in.Buffer(make([]byte, 0, 4<<10), queuesock.MaxLine)
	if !in.Scan() {
		if err := in.Err(); err != nil {
			return fmt.Errorf("request: %w", err)
		}
		return nil // a connection to see whether we are there
	}
	var req queuesock.Request
	if err := json.Unmarshal(in.Bytes(), &req); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	return c.do(&req)
}

var errNotAllowed = fmt.Errorf("only root, the scheduler's user and members of the group %s may do this", queuesock.Group)

func (c *client) do(req *queuesock.Request) error {
	switch req.Op {
	case queuesock.OpStatus:
		return c.status()
	case queuesock.OpThreads:
		if !c.admin {
			return errNotAllowed
		}
		return c.threads(&req.Select)
	case queuesock.OpMetrics:
		return c.metrics()
	case queuesock.OpList:
		return c.list(&req.Select)
	}
	change, ok := changes[req.Op]
	switch {
	case !ok:
		return fmt.Errorf("unknown operation %.40q", req.Op)
	case !c.admin:
		return errNotAllowed
	case req.Select.Empty() && !req.Select.All:
		return queuesock.ErrEmpty
	}
	return c.change(req, change)
}

// send queues a line of the answer.
func (c *client) send(a *queuesock.Answer) error {
	if c.out.Available() < c.out.Size()/2 {
		if err := c.flush(); err != nil {
			return err
		}
	} else if err := c.conn.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return err // for a line that is longer than the buffer
	}
	return c.enc.Encode(a)
}

func (c *client) flush() error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	return c.out.Flush()
}

// ask runs fn by the owner of the queue.
func (c *client) ask(fn func()) error {
	if !c.q.ask(c.ctx, fn) {
		return errors.New("the scheduler is stopping")
	}
	return nil
}
