package client

import (
	"time"

	"github.com/juggler-go/juggler/frame"
)

// handover is how a topic moves without loss. The old connection goes on delivering.
//
// If the server keeps the events of a channel, the new connection subscribes to what
// follows the position that the topic has then, and delivers from its confirmation on
// ([topics.switchOver]). Otherwise what it brings is held back until the UNSB of the old one
// is acknowledged. Then what was held back follows, and whatever the new one brings,
// without what the old one had brought too.
type handover struct {
	from   *conn
	wanted bool   // the client has subscribed there itself
	seen   *idSet // publications that from delivered since shortly before
	held   []Event
	pos    frame.Position // that the new connection has reached with held
}

// hold holds back what the new connection brought.
func (h *handover) hold(e Event, pos frame.Position) {
	h.held, h.pos = append(h.held, e), pos
}

// idSet holds the ids that were added last, maxHeldEvents of them at least and
// twice as many at most.
type idSet struct{ young, old map[ID]struct{} }

func newIDSet() *idSet { return &idSet{young: make(map[ID]struct{})} }

func (s *idSet) add(id ID) {
	if id == (ID{}) { // of a juggler.0 publisher that gives none
		return
	}
	if len(s.young) == maxHeldEvents {
		s.young, s.old = make(map[ID]struct{}), s.young
	}
	s.young[id] = struct{}{}
}

func (s *idSet) has(id ID) bool {
	_, young := s.young[id]
	_, old := s.old[id]
	return young || old
}

const (
	// overlap is how long both connections stay subscribed, so that an event
	// that reached the new server is sure to have reached the old one too.
	overlap = 200 * time.Millisecond

	// straggle is how long after a handover an event may still arrive that the
	// old connection had brought already.
	straggle = 5 * time.Second

	// maxHeldEvents bounds handover.held; beyond, the handover ends with a gap.
	maxHeldEvents = 4096
)

// leaveOld ends the subscription of t on the connection that it moves away from.
func (ts *topics) leaveOld(t *topic, h *handover) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t.handover == h {
		// Its answer comes behind all events. Where that fails, its loss ends the handover.
		if t.own {
			h.from.leave(frame.Sub, t)
		} else {
			h.from.leave(frame.Unsb, t)
		}
	}
}

// switchOver ends the handover of t to a connection that goes on right after a position,
// unless it says that events are missing there.
func (ts *topics) switchOver(t *topic, missed bool) {
	if t.handover.wanted {
		t.handover.from.request(frame.Unsb, t) // where that fails, nothing comes from there any more
	}
	ts.endHandover(t)
	if !missed && !t.place.pos.IsZero() {
		t.moved = nil // positions tell what came before, where ids may come again
	}
}

// finishHandover ends the handover of t. From then on its new connection delivers.
func (ts *topics) finishHandover(t *topic, gap bool) {
	h := t.handover
	if t.isLive() {
		t.place.jump(h.pos)
	}
	ts.endHandover(t)
	switch {
	case gap && t.isLive():
		t.push(t.newGap(Position{}), nil) // what is held follows
	case gap:
		t.missed = true
	}
	for _, e := range h.held {
		if e.Gap || !h.seen.has(e.ID) {
			t.push(e, nil)
		}
	}
	ts.settle(t)
}

// endHandover is the part of ending a handover that is the same for all.
func (ts *topics) endHandover(t *topic) {
	h := t.handover
	t.handover, t.moved = nil, h.seen
	time.AfterFunc(straggle, func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if t.moved == h.seen {
			t.moved = nil
		}
	})
	h.from.moved()
}

// prepare is called before the successor of the current connection is opened:
// an event may reach the client just before its SUB there and, as the broker
// may be about to deliver it still, once more just after.
func (ts *topics) prepare() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.all() {
		t.recent = newIDSet()
	}
}

// adopt makes cn the connection of all topics and returns how many of them
// move there from another one that still delivers.
func (ts *topics) adopt(cn *conn) (moving int) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.conn = cn
	for _, t := range ts.all() {
		if t.handover != nil {
			ts.finishHandover(t, true) // the next move came before the end of the last
		}
		if t.on != nil && t.isLive() && len(t.subs) > 0 {
			t.handover = &handover{from: t.on, wanted: t.isThere(), seen: t.recent}
			if t.recent == nil { // subscribed after prepare
				t.handover.seen = newIDSet()
			}
			moving++
		}
		t.leaveConn(cn)
		ts.settle(t)
	}
	ts.adoptEarly(cn)
	ts.awaitServer(cn)
	if cn.lost { // before that
		ts.leaveLost(cn)
	}
	return moving
}
