package proc

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Hangups tells of SIGHUP, which asks a daemon to read its configuration again. A
// daemon calls it before anything else, so that one that comes during its start does
// not end it and is not lost either: what was read before it may be out of date.
var Hangups = sync.OnceValue(func() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
})
