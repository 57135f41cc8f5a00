package smtpserver

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A keyKeeper is a child that stays root when the server gives the rights of root
// up. It reads the files of certificates and keys that the configuration named at
// the start, and no others, so that a key which only root can read can be renewed.
//
// The two speak JSON: the list of pairs, then a number of a pair there, and its
// files back. The child ends when its input does.
type keyKeeper struct {
	pairs map[keyPair]int

	mu     sync.Mutex
	cmd    *exec.Cmd
	in     io.WriteCloser
	pipe   *os.File // of its answers
	out    *json.Decoder
	broken error // it cannot be asked any more
}

// A keyPair is the paths of a certificate and its key.
type keyPair struct{ Cert, Key string }

// keptPair is what the child answers.
type keptPair struct {
	Cert, Key []byte
	Err       string
}

const (
	maxKeyFile = 1 << 20
	maxPairs   = 1000

	// keptEvery is how often the child is asked, at most: it reads the files each
	// time.
	keptEvery = 5 * time.Second
	keptTime  = 5 * time.Second // for an answer
)

// startKeeper starts the child.
func startKeeper(command *exec.Cmd, pairs []keyPair) (*keyKeeper, error) {
	k := &keyKeeper{pairs: make(map[keyPair]int), cmd: command}
	for i, p := range pairs {
		k.pairs[p] = i
	}
	in, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	command.Stdout = w
	err = command.Start()
	w.Close() // the child has its own
	if err != nil {
		r.Close()
		return nil, err
	}
	k.in, k.pipe, k.out = in, r, json.NewDecoder(r)
	if err := json.NewEncoder(in).Encode(pairs); err != nil {
		return nil, errors.Join(err, k.close())
	}
	return k, nil
}

// knows tells whether the child reads this pair.
func (k *keyKeeper) knows(p keyPair) bool {
	if k == nil {
		return false
	}
	_, ok := k.pairs[p]
	return ok
}

// read has the child read a pair.
func (k *keyKeeper) read(p keyPair) (cert, key []byte, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken != nil {
		return nil, nil, k.broken
	}
	var r keptPair
	err = k.pipe.SetReadDeadline(time.Now().Add(keptTime))
	if err == nil {
		err = json.NewEncoder(k.in).Encode(k.pairs[p])
	}
	if err == nil {
		err = k.out.Decode(&r)
	}
	if err != nil {
		k.broken = fmt.Errorf("the keeper of keys does not answer, restart the server: %w", err)
		return nil, nil, k.broken
	}
	if r.Err != "" {
		return nil, nil, errors.New(r.Err)
	}
	return r.Cert, r.Key, nil
}

// close ends the child and waits for it.
func (k *keyKeeper) close() error {
	if k == nil {
		return nil
	}
	return errors.Join(k.in.Close(), k.cmd.Wait(), k.pipe.Close())
}

// keepKeys is the child.
func keepKeys(in io.Reader, out io.Writer) error {
	dec := json.NewDecoder(bufio.NewReader(in))
	enc := json.NewEncoder(out)
	var pairs []keyPair
	if err := dec.Decode(&pairs); err != nil {
		return err
	}
	for {
		var n int
		err := dec.Decode(&n)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n < 0 || n >= len(pairs):
			return fmt.Errorf("no pair %d", n)
		}
		var r keptPair
		if r.Cert, r.Key, err = readPair(pairs[n]); err != nil {
			r = keptPair{Err: err.Error()}
		}
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
}

// readPair reads the files of a pair.
func readPair(p keyPair) (cert, key []byte, err error) {
	if cert, err = readKeyFile(p.Cert); err != nil {
		return nil, nil, err
	}
	key, err = readKeyFile(p.Key)
	return cert, key, err
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s: not a regular file", path))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(b) > maxKeyFile {
		err = fmt.Errorf("%s: longer than %d octets", path, maxKeyFile)
	}
	return b, err
}
