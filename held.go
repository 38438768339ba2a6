package juggler

// heldEvents are events that wait for the answers to PUBs of their session: those of
// the session's own publications must not overtake their ACKs. While PUBs are out,
// events are held back until those PUBs are answered that were out when the event came.
// It belongs to the turn.
type heldEvents struct {
	pubsOut int
	lastPub uint32          // number of the newest PUB that went out
	donePub uint32          // it and all PUBs before it were answered
	done    map[uint32]bool // PUBs that were answered before an earlier one
	events  []heldEvent
	size    int // of events, in bytes
}

type heldEvent struct {
	after    uint32 // the PUB that has to be answered first
	framed   []byte
	deflated []byte // and compressed, if the session gets it so
}

// sent numbers a PUB that goes out.
func (e *heldEvents) sent() uint32 {
	e.lastPub++
	e.pubsOut++
	return e.lastPub
}

// answered notes that a PUB was answered, maybe before an earlier one.
func (e *heldEvents) answered(number uint32) {
	e.pubsOut--
	if number != e.donePub+1 {
		if e.done == nil {
			e.done = map[uint32]bool{}
		}
		e.done[number] = true
		return
	}
	for e.donePub = number; e.done[e.donePub+1]; e.donePub++ {
		delete(e.done, e.donePub+1)
	}
}

// hold keeps an event back if a PUB of the session is out. deflated is it compressed, or
// empty.
func (q *workQueue) hold(framed, deflated []byte) bool {
	if q == nil || q.held.pubsOut == 0 {
		return false
	}
	e := &q.held
	e.size += len(framed) + len(deflated)
	if e.size > q.s.shard.h.cfg.maxQueue {
		q.s.end(CloseSlowConsumer, "too many events wait for the answer to a PUB")
		return true
	}
	e.events = append(e.events, heldEvent{e.lastPub, append([]byte(nil), framed...), append([]byte(nil), deflated...)})
	return true
}

// release sends s the events whose PUBs are answered.
func (e *heldEvents) release(s *session) {
	for len(e.events) > 0 && int32(e.donePub-e.events[0].after) >= 0 {
		first := e.events[0]
		e.events[0] = heldEvent{}
		e.events = e.events[1:]
		e.size -= len(first.framed) + len(first.deflated)
		s.writeShared(first.framed, first.deflated) // may end the session, which drops them
	}
	if len(e.events) == 0 {
		e.events = nil
	}
}

// drop drops all events: the session has ended.
func (e *heldEvents) drop() { e.events, e.size = nil, 0 }
