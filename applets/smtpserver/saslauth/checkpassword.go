package saslauth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A CheckPassword asks a program by the interface of checkpassword: it finds
// name, password and time on descriptor 3, each with a NUL behind it, and ends
// with 0 for a right password and 1 for a wrong one. Everything else means that
// it could not tell.
type CheckPassword struct {
	Command []string
	gate    gate
}

// NewCheckPassword makes a checker of a program and its arguments. "true" is run
// by the program when the password is right.
func NewCheckPassword(command ...string) *CheckPassword {
	return &CheckPassword{Command: append(command, "true"), gate: newGate()}
}

// Check is Checker's.
func (p *CheckPassword) Check(ctx context.Context, user, password string) (bool, error) {
	text := user + "\x00" + password + "\x00" + strconv.FormatInt(time.Now().Unix(), 10) + "\x00"
	if len(text) > 512 || strings.Count(text, "\x00") != 3 { // the interface reads no more
		return false, nil
	}
	select {
	case p.gate <- struct{}{}:
		defer func() { <-p.gate }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	r, w, err := os.Pipe()
	if err != nil {
		return false, err
	}
	defer r.Close()
	_, err = w.WriteString(text) // fits into any pipe
	if err = errors.Join(err, w.Close()); err != nil {
		return false, err
	}
	cmd := exec.CommandContext(ctx, p.Command[0], p.Command[1:]...)
	cmd.ExtraFiles = []*os.File{r}
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return false, nil
	}
	return false, fmt.Errorf("%s: %w", p.Command[0], err)
}
