package smtpserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"time"
)

// A milterConn is the connection to a milter, with bounds that the library does not
// have: on an answer's size, on its parts together, and on the time for the whole
// of it, however often the milter says that it makes progress. Writes are collected
// until an answer is awaited.
type milterConn struct {
	spec *milterSpec
	ctx  context.Context // ends when sessions are cut off
	net.Conn
	stop func() bool

	r     *bufio.Reader
	w     *bufio.Writer
	until time.Time // when the answer must be there
	left  int64     // octets that it may have

	head [4]byte // the length of a packet
	have int     // octets of head that were read
	body int64   // octets of the packet that follow
}

// maxMilterAnswer bounds what a milter says to anything but a message.
const maxMilterAnswer = 256 << 10

var (
	errMilterTalks  = errors.New("milter says too much")
	errMilterPacket = errors.New("milter sends an empty packet")
)

// expect sets the bounds of the next exchange.
func (c *milterConn) expect(within time.Duration, octets int64) {
	c.until, c.left = time.Now().Add(within), octets
}

// Dial is what the library calls.
func (c *milterConn) Dial(network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: c.spec.command, KeepAlive: -1}
	conn, err := d.DialContext(c.ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.Conn, c.r, c.w = conn, bufio.NewReaderSize(conn, 1<<10), bufio.NewWriterSize(conn, 4<<10)
	c.stop = context.AfterFunc(c.ctx, func() { conn.Close() })
	return c, nil
}

func (c *milterConn) Write(p []byte) (int, error) { return c.w.Write(p) }

func (c *milterConn) flush() error {
	if c.Conn == nil {
		return nil
	}
	return c.w.Flush()
}

func (c *milterConn) Read(p []byte) (int, error) {
	if err := c.w.Flush(); err != nil {
		return 0, err
	}
	if c.body == 0 {
		return c.readHead(p)
	}
	if int64(len(p)) > c.body {
		p = p[:c.body]
	}
	n, err := c.r.Read(p)
	c.body -= int64(n)
	return n, err
}

// readHead reads octets of a length, which the library asks for alone, and looks at
// it before the library makes room for as much.
func (c *milterConn) readHead(p []byte) (int, error) {
	if len(p) > len(c.head)-c.have {
		p = p[:len(c.head)-c.have]
	}
	n, err := c.r.Read(p)
	copy(c.head[c.have:], p[:n])
	if c.have += n; c.have < len(c.head) {
		return n, err
	}
	c.have, c.body = 0, int64(binary.BigEndian.Uint32(c.head[:]))
	if c.left -= c.body; c.left < 0 {
		return 0, errMilterTalks
	}
	if c.body == 0 {
		return 0, errMilterPacket
	}
	return n, err
}

// SetReadDeadline moves the deadline on, but not beyond that of the whole.
func (c *milterConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.bound(t)) }

// SetWriteDeadline does likewise.
func (c *milterConn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(c.bound(t)) }

func (c *milterConn) bound(t time.Time) time.Time {
	if t.IsZero() || t.After(c.until) {
		return c.until
	}
	return t
}

func (c *milterConn) Close() error {
	if c.Conn == nil {
		return nil
	}
	c.stop()
	return errors.Join(c.w.Flush(), c.Conn.Close())
}
