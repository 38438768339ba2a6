package juggler

import (
	"time"

	"github.com/juggler-go/juggler/internal/topk"
)

// Lends reports whether the loops of h, which has had a connection, lend their
// goroutines to callees.
func Lends(h *Handler) bool { return h.shards[0].Load().loan != nil }

// LogAll has every line of h logged.
func LogAll(h *Handler) { h.logs.Close() }

// EnterUserCode notes on the turn of a shard of h, which has had no connection, that f is
// called. leave notes that it has returned.
func EnterUserCode(h *Handler, f any) (leave func()) {
	h.shards[0].CompareAndSwap(nil, &shard{h: h})
	call := h.shards[0].Load().enter(pcOf(f))
	return func() { h.leave(call) }
}

// Waiting returns how many commands, and requests to be settled, wait for the shards of h.
func Waiting(h *Handler) (commands, settled int) {
	for i := range h.shards {
		if sh := h.shards[i].Load(); sh != nil {
			sh.inbox.mu.Lock()
			commands, settled = commands+len(sh.inbox.commands), settled+len(sh.inbox.settled)
			sh.inbox.mu.Unlock()
		}
	}
	return commands, settled
}

// TopCounter is what counts names on a shard, with times since New of the test's own.
type TopCounter struct {
	h *Handler
	t *shardTop
}

// NewTopCounter returns one with so many counters for each kind.
func NewTopCounter(counters int) TopCounter {
	return TopCounter{&Handler{cfg: &config{top: counters}}, newShardTop(counters)}
}

// Call counts a call to a URI.
func (c TopCounter) Call(uri string, now time.Duration) {
	c.t.turn(now)
	c.t.add(topCalls, uri, 1)
}

// Calls returns what was counted.
func (c TopCounter) Calls(now time.Duration) []NameCount {
	var parts [topKinds][]topk.Part
	c.t.appendTo(&parts, now)
	return c.h.topNames(parts[topCalls])
}
