package spool

import (
	"sync"
	"testing"
)

// TestPoolShared routes from many workers at once out of a pool that is always
// nearly empty, so that it is looked at again while its files are being reused.
// Each message must end up with a control file of its own.
func TestPoolShared(t *testing.T) {
	s := newSpool(t)
	const workers, rounds = 16, 100
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				id := NewID()
				c := controlFor(&Message{ID: id, Size: 100, Header: 50})
				if err := s.writeControl(c, nil); err != nil {
					t.Errorf("control file of %s: %v", id, err)
					return
				}
				got, err := ReadControl(s.ControlPath(id))
				if err != nil || got.ID != id {
					t.Errorf("control file of %s: %+v, %v", id, got, err)
					return
				}
				if err := s.discardControl(id); err != nil {
					t.Errorf("discard %s: %v", id, err)
				}
			}
		})
	}
	wg.Wait()
}
