package relations

import (
	"context"
	"slices"
	"strings"
	"sync"
)

// incore is a table whose content the declaration says, as in a test.
type incore struct {
	mu    sync.RWMutex
	items map[string]string
}

func openIncore(*opening) (Table, error) { return &incore{items: map[string]string{}}, nil }

func (t *incore) Lookup(_ context.Context, key string) (string, bool, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v, ok := t.items[key]
	return v, ok, nil
}

func (t *incore) Add(key, value string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.items[key] = value
	return nil
}

func (t *incore) Len(context.Context) (int, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.items), nil
}

func (t *incore) Each(_ context.Context, f func(Entry) error) error {
	t.mu.RLock()
	list := make([]Entry, 0, len(t.items))
	for key, value := range t.items {
		list = append(list, Entry{Key: key, Value: value})
	}
	t.mu.RUnlock() // f may change the table
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return each(list, f)
}
