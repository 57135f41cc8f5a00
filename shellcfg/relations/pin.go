package relations

import (
	"context"
	"sync"

	"zmailer/shellcfg/internal/watch"
)

type pinKey struct{}

// pinned are the versions of files that were used under one context.
type pinned struct {
	mu   sync.Mutex
	used map[any]any
}

// Pin returns a context in which every table keeps the version that its first
// lookup saw: a message is routed under one version of everything, however
// long that takes and whatever changes meanwhile.
func Pin(ctx context.Context) context.Context {
	return context.WithValue(ctx, pinKey{}, &pinned{used: map[any]any{}})
}

// PinChoice is what choose says, or has said before under a context of Pin for the
// same key: which of two sources a message is routed by must not change either.
func PinChoice(ctx context.Context, key any, choose func() bool) bool {
	p, ok := ctx.Value(pinKey{}).(*pinned)
	if !ok {
		return choose()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if v, ok := p.used[key]; ok {
		return v.(bool)
	}
	v := choose()
	p.used[key] = v
	return v
}

// current is the version of a file to use in ctx. Failures are not pinned.
func current[T any](ctx context.Context, f *watch.File[T]) (*T, error) {
	p, ok := ctx.Value(pinKey{}).(*pinned)
	if !ok {
		return f.Get()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if v, ok := p.used[f]; ok {
		return v.(*T), nil
	}
	v, err := f.Get()
	if err == nil {
		p.used[f] = v
	}
	return v, err
}

// source is the part that all tables read from a watched file share.
type source[T any] struct {
	file *watch.File[T]
}

func newSource[T any](o *opening, load watch.Loader[T]) source[T] {
	return source[T]{&watch.File[T]{Path: o.File, Load: load, Interval: o.interval(), Log: o.logger()}}
}

func (s source[T]) version(ctx context.Context) any {
	v, err := current(ctx, s.file)
	if err != nil {
		return nil
	}
	return v
}

// Reloads counts the versions that took over.
func (s source[T]) Reloads() int64 { return s.file.Reloads() }
