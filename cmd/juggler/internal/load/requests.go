package load

// A request is one that has no outcome yet.
type request struct {
	active bool
	acked  bool // a call whose outcome is still to come
	parts  int  // of its answer that have come
	kind   byte
	seq    uint64
	due    int64 // when it should have been sent, in nanoseconds of the run
}

// requests are those of one client: a slot each, and a queue of those that are
// due while all slots are taken.
type requests struct {
	slots []request
	free  []int
	next  uint64  // how many were ever begun; seq = next*slots + slot
	queue []int64 // when they were due
}

func newRequests(slots int) requests {
	r := requests{slots: make([]request, slots), free: make([]int, slots)}
	for i := range r.free {
		r.free[i] = slots - 1 - i
	}
	return r
}

// begin takes a slot, if one is free.
func (r *requests) begin(kind byte, due int64) *request {
	if len(r.free) == 0 {
		return nil
	}
	slot := r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	q := &r.slots[slot]
	*q = request{active: true, kind: kind, due: due, seq: r.next*uint64(len(r.slots)) + uint64(slot)}
	r.next++
	return q
}

// find returns the request with a seq, or nil if it has had its outcome.
func (r *requests) find(kind byte, seq uint64) *request {
	q := &r.slots[seq%uint64(len(r.slots))]
	if !q.active || q.seq != seq || q.kind != kind {
		return nil
	}
	return q
}

// end frees the slot of q.
func (r *requests) end(q *request) {
	q.active = false
	r.free = append(r.free, int(q.seq%uint64(len(r.slots))))
}

// open counts the requests without an outcome.
func (r *requests) open() int { return len(r.slots) - len(r.free) }
