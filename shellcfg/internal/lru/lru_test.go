package lru

import (
	"testing"
	"time"
)

func TestBoundAndOrder(t *testing.T) {
	c := New[int, string](2)
	now := time.Unix(1000, 0)
	c.Put(1, "one", time.Time{})
	c.Put(2, "two", time.Time{})
	if _, ok := c.Get(1, now); !ok {
		t.Fatal("1 was forgotten early")
	}
	c.Put(3, "three", time.Time{})
	if _, ok := c.Get(2, now); ok {
		t.Error("2 was the oldest and is still here")
	}
	for _, k := range []int{1, 3} {
		if _, ok := c.Get(k, now); !ok {
			t.Errorf("%d was forgotten", k)
		}
	}
	if c.Len() != 2 {
		t.Errorf("Len = %d, want 2", c.Len())
	}
	c.Flush()
	if _, ok := c.Get(1, now); ok || c.Len() != 0 {
		t.Error("Flush left something")
	}
}

func TestExpiry(t *testing.T) {
	c := New[string, int](8)
	now := time.Unix(1000, 0)
	c.Put("k", 1, now.Add(time.Second))
	if v, ok := c.Get("k", now); !ok || v != 1 {
		t.Errorf("Get = %d, %v; want 1, true", v, ok)
	}
	if _, ok := c.Get("k", now.Add(time.Second)); ok {
		t.Error("an expired entry was returned")
	}
	c.Put("k", 2, now.Add(time.Second))
	c.Put("k", 3, now.Add(time.Minute))
	if v, ok := c.Get("k", now.Add(2*time.Second)); !ok || v != 3 {
		t.Errorf("Get after replacement = %d, %v; want 3, true", v, ok)
	}
}

func TestNoRoom(t *testing.T) {
	c := New[string, int](0)
	c.Put("k", 1, time.Time{})
	if c.Len() != 0 {
		t.Error("a cache without room kept an entry")
	}
}
