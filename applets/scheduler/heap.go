package scheduler

// Heaps whose elements know their place, so that any of them can be taken out.
// Written out, not over container/heap: the interface calls and boxing of the
// latter cost more than the comparison.

type vertexHeap []*vertex

func (h *vertexHeap) push(v *vertex) {
	v.heapIdx = int32(len(*h))
	*h = append(*h, v)
	h.up(len(*h) - 1)
}

func (h *vertexHeap) pop() *vertex {
	v := (*h)[0]
	h.remove(v)
	return v
}

func (h *vertexHeap) remove(v *vertex) {
	s := *h
	i, n := int(v.heapIdx), len(s)-1
	s[i] = s[n]
	s[i].heapIdx = int32(i)
	s[n] = nil
	*h = s[:n]
	if i < n && !h.down(i) {
		h.up(i)
	}
	v.heapIdx = -1
	if n == 0 {
		*h = nil // most threads hold one vertex now and then: do not keep arrays for all
	}
}

func (h vertexHeap) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if h[p].order <= h[i].order {
			return
		}
		h.swap(i, p)
		i = p
	}
}

func (h vertexHeap) down(i int) bool {
	start := i
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].order < h[c].order {
			c++
		}
		if h[i].order <= h[c].order {
			break
		}
		h.swap(i, c)
		i = c
	}
	return i > start
}

func (h vertexHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapIdx, h[j].heapIdx = int32(i), int32(j)
}

// A timed is an element of a timeHeap.
type timed interface {
	when() sec
	index() *int32
}

type timeHeap[T timed] []T

// set puts x to its place after its time has changed; never takes it out.
func (h *timeHeap[T]) set(x T) {
	i := *x.index()
	switch {
	case x.when() == never:
		h.remove(x)
	case i < 0:
		*x.index() = int32(len(*h))
		*h = append(*h, x)
		h.up(len(*h) - 1)
	default:
		if !h.down(int(i)) {
			h.up(int(i))
		}
	}
}

func (h *timeHeap[T]) remove(x T) {
	i := int(*x.index())
	if i < 0 {
		return
	}
	s := *h
	n := len(s) - 1
	s[i] = s[n]
	*s[i].index() = int32(i)
	var zero T
	s[n] = zero
	*h = s[:n]
	if i < n && !h.down(i) {
		h.up(i)
	}
	*x.index() = -1
}

// next is when the first element is due.
func (h timeHeap[T]) next() sec {
	if len(h) == 0 {
		return never
	}
	return h[0].when()
}

func (h timeHeap[T]) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if h[p].when() <= h[i].when() {
			return
		}
		h.swap(i, p)
		i = p
	}
}

func (h timeHeap[T]) down(i int) bool {
	start := i
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].when() < h[c].when() {
			c++
		}
		if h[i].when() <= h[c].when() {
			break
		}
		h.swap(i, c)
		i = c
	}
	return i > start
}

func (h timeHeap[T]) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	*h[i].index(), *h[j].index() = int32(i), int32(j)
}

func (m *message) when() sec     { return m.due }
func (m *message) index() *int32 { return &m.heapIdx }
func (th *thread) when() sec     { return th.wake }
func (th *thread) index() *int32 { return &th.heapIdx }
