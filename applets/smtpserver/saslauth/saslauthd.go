package saslauth

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A Saslauthd asks the daemon of Cyrus SASL over its socket. It is the usual way
// to PAM for a program without rights.
type Saslauthd struct {
	Socket  string
	Service string // of PAM; "smtp" if empty
	Realm   string
}

// SaslauthdSocket is where the daemon listens unless it is told otherwise.
const SaslauthdSocket = "/run/saslauthd/mux"

// maxField bounds a field of the question: what the daemon's own library sends.
const maxField = 1024

// Check is Checker's: four counted strings there, one back that begins with OK or
// NO.
func (s *Saslauthd) Check(ctx context.Context, user, password string) (bool, error) {
	service := s.Service
	if service == "" {
		service = "smtp"
	}
	var msg []byte
	for _, field := range []string{user, password, service, s.Realm} {
		if len(field) > maxField {
			return false, nil
		}
		msg = binary.BigEndian.AppendUint16(msg, uint16(len(field)))
		msg = append(msg, field...)
	}
	c, err := dialUnix(ctx, s.Socket)
	if err != nil {
		return false, err
	}
	defer c.Close()
	if _, err := c.Write(msg); err != nil {
		return false, fmt.Errorf("saslauthd: %w", err)
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return false, fmt.Errorf("saslauthd: %w", err)
	}
	answer := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, answer); err != nil || len(answer) < 2 {
		return false, fmt.Errorf("saslauthd: %w", errors.Join(err, errors.New("short answer")))
	}
	switch string(answer[:2]) {
	case "OK":
		return true, nil
	case "NO":
		return false, nil
	}
	return false, fmt.Errorf("saslauthd: answer %.60q", answer)
}

// dialUnix connects for a question that must be answered within ctx.
func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(30 * time.Second)
	}
	if err := c.SetDeadline(deadline); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
