package memory

import (
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/kept"
)

var (
	_ kept.Loser     = (*Broker)(nil)
	_ kept.CallLoser = (*Broker)(nil)
)

// LoseCall implements [kept.CallLoser]: it is for the faults of package jugglertest. A call
// that no callee has taken is lost with its record.
func (b *Broker) LoseCall(key broker.CallKey) {
	r := &b.rpc
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.records.byKey[key]
	if rec == nil {
		return
	}
	r.records.remove(rec)
	if k := r.calls.find(&rec.to); k != nil && !k.isTaken() {
		r.cancel(k)
	}
}

// LoseKept implements [kept.Loser]: it is for the faults of package jugglertest. Subscribers
// learn of newest events that are lost as they do from an engine that finds out by itself:
// by a gap.
func (b *Broker) LoseKept(loss kept.Loss) {
	h := &b.history
	h.mu.Lock()
	l := h.logs[loss.Channel]
	switch {
	case h.closed || l == nil:
		h.mu.Unlock()
		return
	case loss.Newest == 0:
		h.clear(l, h.now())
	default:
		h.rollBack(l, loss.Newest)
		l.tell(delivery{entry{pos: l.last}, true})
	}
	h.mu.Unlock()
	m := b.topics.scratch.Get().(*matches)
	defer b.topics.release(m)
	b.deliverLog(l, m, maxForOthers)
}

// rollBack takes l back to where it stood some events ago, and forgets the keys of these.
// If that is not known the life of l ends. The caller holds mu.
func (h *history) rollBack(l *eventLog, events int) {
	if events > l.count {
		h.clear(l, h.now())
		h.end(l)
	} else {
		l.last = l.before(l.count - events)
		for range events {
			h.events--
			h.bytes -= l.dropNewest()
		}
	}
	if l.count == 0 && l.shelf != &h.idle {
		h.clear(l, h.now())
	}
	for e := h.byAge.Front(); e != nil; {
		next := e.Next()
		if k := e.Value.(*keyNote); k.id.channel == l.channel && k.pos.At > l.last.At {
			h.forget(e)
		}
		e = next
	}
}

// dropNewest drops the newest event and returns the bytes of its payload.
func (l *eventLog) dropNewest() (freed int64) {
	e := l.at(l.count - 1)
	freed = e.size()
	*e = entry{}
	l.count--
	return freed
}
