package queuesock

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"zmailer/spool"
)

// ErrDown means that no scheduler answers.
var ErrDown = errors.New("the scheduler does not run")

const dialTime = 2 * time.Second

// Ask sends a request and calls each with the lines of the answer, without the
// last one's "done". It returns ErrDown if nobody listens.
func Ask(ctx context.Context, s *spool.Spool, req *Request, each func(*Answer) error) error {
	d := net.Dialer{Timeout: dialTime}
	c, err := d.DialContext(ctx, "unix", s.RunPath(Socket))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return ErrDown
	}
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if _, err := c.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	in := bufio.NewScanner(c)
	in.Buffer(make([]byte, 0, 64<<10), 16*MaxLine)
	for in.Scan() {
		var a Answer
		if err := json.Unmarshal(in.Bytes(), &a); err != nil {
			return fmt.Errorf("scheduler: answer cannot be read: %w", err)
		}
		if a.Error != "" {
			return errors.New(a.Error)
		}
		if err := each(&a); err != nil {
			return err
		}
		if a.Done {
			return nil
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	return errors.New("scheduler: connection ended within the answer")
}
