package memory

import (
	"container/heap"
	"time"
)

// schedule has the sweep look at rec at a time: when its call is over, if that still waits
// for a callee then, or when the record ends.
func (s *records) schedule(rec *record, due time.Duration) {
	rec.due = due
	if rec.place >= 0 {
		heap.Fix(&s.due, rec.place)
	} else {
		heap.Push(&s.due, rec)
	}
	s.wake(due)
}

// wake has the timer fire at a time, or before.
func (s *records) wake(at time.Duration) {
	if s.rpc.closed || s.wakeAt <= at {
		return
	}
	s.wakeAt = at
	after := at - s.rpc.now()
	if s.timer == nil {
		s.timer = time.AfterFunc(after, s.sweep)
	} else {
		s.timer.Reset(after)
	}
}

// sweep ends what is due, tells news that nobody has told, and sets the timer for what is
// next. The caller holds no lock.
func (s *records) sweep() {
	s.rpc.mu.Lock()
	s.wakeAt = never
	now := s.rpc.now()
	for len(s.due) > 0 && s.due[0].due <= now {
		rec := s.due[0]
		heap.Pop(&s.due)
		if rec.done {
			s.remove(rec)
		} else {
			s.expire(rec, now)
		}
	}
	untold := s.takeUntold()
	if len(s.due) > 0 {
		s.wake(s.due[0].due)
	}
	s.rpc.mu.Unlock()
	tellAll(untold)
}

// close forgets everything.
func (s *records) close() {
	if s.timer != nil {
		s.timer.Stop()
	}
	clear(s.byKey)
	clear(s.running)
	clear(s.owned)
	s.due, s.untold, s.bytes = nil, nil, 0
}

// dueHeap is a heap of records, that which is due first in front. Records know their places.
type dueHeap []*record

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due < h[j].due }

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *dueHeap) Push(x any) {
	rec := x.(*record)
	rec.place = len(*h)
	*h = append(*h, rec)
}

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	rec := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	rec.place = -1
	return rec
}
