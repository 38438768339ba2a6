package juggler

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/wheel"
)

// streams is what a shard has for all its streams. It belongs to the turn. A nil *streams
// has none.
type streams struct {
	wheel   wheel.Wheel[stream]
	blocked map[*session][]*stream // those that wait for the client to read, in order
	grants  []broker.Grant         // of this turn

	// Calls that have ended before their callee's answer did, the oldest first: their
	// callees are told once more if they still send.
	early map[callPlace]earlyEnd
	order []callPlace
}

// callPlace is what the address of a call holds of its shard.
type callPlace struct{ slot, gen uint32 }

// earlyEnd is a call whose callee was told to stop.
type earlyEnd struct {
	uri string
	at  int64 // when it ended, by the group's time
}

const (
	// maxEarlyEnds is how many calls of a shard are remembered that have ended before
	// their answer. The others end by their time.
	maxEarlyEnds = 1024

	// cancelAgainAfter is how long parts of a call that is over may have been on their way.
	cancelAgainAfter = 200 * time.Millisecond
)

// advance handles the deadlines that are due.
func (ss *streams) advance(now int64) {
	if ss != nil {
		ss.wheel.Advance(now, (*stream).due)
	}
}

// next returns when the next deadline is due.
func (ss *streams) next() (at int64, ok bool) {
	if ss == nil {
		return 0, false
	}
	return ss.wheel.Next()
}

// block has st wait for the client to read.
func (ss *streams) block(st *stream) {
	if st.blocked {
		return
	}
	st.blocked = true
	if ss.blocked == nil {
		ss.blocked = make(map[*session][]*stream)
	}
	s := st.p.s
	ss.blocked[s] = append(ss.blocked[s], st)
	s.TellDrained()
}

// unblock takes st from those that wait.
func (ss *streams) unblock(st *stream) {
	if !st.blocked {
		return
	}
	st.blocked = false
	s := st.p.s
	all := ss.blocked[s]
	if all = slices.DeleteFunc(all, func(other *stream) bool { return other == st }); len(all) > 0 {
		ss.blocked[s] = all
	} else {
		delete(ss.blocked, s)
	}
}

// resume has the streams of s go on that wait for the client to read: one after the other,
// so that one which fills the queue again is the last in the next round.
func (ss *streams) resume(s *session) {
	if ss == nil {
		return
	}
	all := ss.blocked[s]
	delete(ss.blocked, s)
	for i, st := range all {
		st.blocked = false
		if st.goOn(); st.blocked {
			ss.blocked[s] = append(all[i+1:], st)
			return
		}
	}
}

// keptParts returns the bytes of parts that wait for the client of s.
func (s *session) keptParts() (bytes int) {
	for p := s.calls; p != nil; p = p.next {
		if p.stream != nil {
			bytes += p.stream.size
		}
	}
	return bytes
}

// endedEarly remembers the call of st, which ends before its answer.
func (ss *streams) endedEarly(sh *shard, st *stream) {
	if ss.early == nil {
		ss.early = make(map[callPlace]earlyEnd)
	}
	if len(ss.order) == maxEarlyEnds {
		delete(ss.early, ss.order[0])
		ss.order = slices.Delete(ss.order, 0, 1)
	}
	place := callPlace{st.p.slot, st.p.gen}
	ss.early[place] = earlyEnd{st.p.uri, sh.group.Now()}
	ss.order = append(ss.order, place)
}

// late handles a part of a call that is over: its callee is told once more to stop, if it
// had the time to hear of it.
func (ss *streams) late(sh *shard, it *partItem) {
	if ss == nil {
		return
	}
	place := callPlace{it.slot, it.gen}
	end, ok := ss.early[place]
	if !ok || sh.group.Now() < end.at+cancelAgainAfter.Milliseconds() {
		return
	}
	delete(ss.early, place)
	ss.order = slices.DeleteFunc(ss.order, func(other callPlace) bool { return other == place })
	sh.h.cancelCall(end.uri, sh.address(it.slot, it.gen))
}

// sendGrants tells callees what they were granted in this turn.
func (ss *streams) sendGrants(h *Handler) {
	if ss != nil && len(ss.grants) > 0 {
		h.grant(ss.grants)
		ss.grants = emptied(ss.grants)
	}
}

// grantQueue is grants for a broker that may wait. They go out together.
type grantQueue struct {
	mu  sync.Mutex
	all []broker.Grant
}

// grant passes grants on to the broker.
func (h *Handler) grant(grants []broker.Grant) {
	b := &h.broker
	if b.callsNeverWait {
		h.granted(b.streamCaller.Grant(h.ctx, grants))
		return
	}
	q := &b.grants
	q.mu.Lock()
	defer q.mu.Unlock()
	first := len(q.all) == 0
	if len(q.all) >= maxLater {
		h.granted(errBehind)
		return
	}
	q.all = append(q.all, grants...)
	if first {
		b.askLater(func(ctx context.Context) { h.granted(b.streamCaller.Grant(ctx, q.take())) })
	}
}

// take empties q.
func (q *grantQueue) take() []broker.Grant {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.all
	q.all = nil
	return all
}

// granted logs why grants have failed: they are made again.
func (h *Handler) granted(err error) {
	if err != nil && !errors.Is(err, broker.ErrClosed) {
		h.log.Warn("cannot tell callees that clients take more of their answers", "error", err)
	}
}

// partItem is a broker.Part in an inbox.
type partItem struct {
	slot, gen uint32
	n         uint32
	window    broker.Window
	from      broker.ID
	args      []byte // in the inbox's arena
}

// deliverParts takes parts from the broker, on any goroutine.
func (h *Handler) deliverParts(parts []broker.Part) {
	byShard(h, parts, func(p *broker.Part) *broker.Address { return &p.To }, (*shard).postParts)
}

// postParts puts parts into the inbox.
func (sh *shard) postParts(parts []broker.Part) {
	in := &sh.inbox
	in.mu.Lock()
	if !sh.h.broker.callsNeverWait {
		in.awaitRoom(sh.h.ctx)
	}
	for i := range parts {
		p := &parts[i]
		in.parts = append(in.parts, partItem{
			slot:   binary.LittleEndian.Uint32(p.To.Ref[0:]),
			gen:    binary.LittleEndian.Uint32(p.To.Ref[4:]),
			n:      p.N,
			window: p.Window,
			from:   p.From,
			args:   in.arena.Copy(p.Args),
		})
	}
	in.measure()
	in.mu.Unlock()
	sh.group.Wake()
}
