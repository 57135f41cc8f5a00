// Package lru is a bounded map whose entries also expire.
//
// It forgets the entry that was not asked for the longest when it is full,
// and any entry whose time is over. It is safe for concurrent use. The clock
// is the caller's, so that tests need not wait.
package lru

import (
	"sync"
	"time"
)

// Cache maps keys to values; New makes one.
type Cache[K comparable, V any] struct {
	mu    sync.Mutex
	max   int
	items map[K]*entry[K, V]
	root  entry[K, V] // root.next is the newest, root.prev the oldest
}

type entry[K comparable, V any] struct {
	prev, next *entry[K, V]
	key        K
	val        V
	expires    time.Time // zero: never
}

// New returns a cache of at most max entries; with max < 1 it keeps nothing.
func New[K comparable, V any](max int) *Cache[K, V] {
	c := &Cache[K, V]{max: max, items: make(map[K]*entry[K, V])}
	c.root.prev, c.root.next = &c.root, &c.root
	return c
}

// Get returns the value of key unless it is absent or expired at now.
func (c *Cache[K, V]) Get(key K, now time.Time) (val V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.items[key]
	if e == nil {
		return val, false
	}
	if !e.expires.IsZero() && !now.Before(e.expires) {
		c.drop(e)
		return val, false
	}
	e.unlink()
	c.push(e)
	return e.val, true
}

// Put stores val until expires; the zero time means for good.
func (c *Cache[K, V]) Put(key K, val V, expires time.Time) {
	if c.max < 1 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.items[key]; e != nil {
		e.val, e.expires = val, expires
		e.unlink()
		c.push(e)
		return
	}
	if len(c.items) >= c.max {
		c.drop(c.root.prev)
	}
	e := &entry[K, V]{key: key, val: val, expires: expires}
	c.items[key] = e
	c.push(e)
}

// Flush forgets everything.
func (c *Cache[K, V]) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.items)
	c.root.prev, c.root.next = &c.root, &c.root
}

// Len counts the entries, expired ones included.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.items)
}

func (c *Cache[K, V]) drop(e *entry[K, V]) {
	e.unlink()
	delete(c.items, e.key)
}

func (c *Cache[K, V]) push(e *entry[K, V]) {
	e.prev, e.next = &c.root, c.root.next
	e.prev.next, e.next.prev = e, e
}

func (e *entry[K, V]) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
}
