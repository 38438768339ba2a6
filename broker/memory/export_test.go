package memory

import "github.com/juggler-go/juggler/broker"

// Held returns what the broker holds for calls.
func (b *Broker) Held() (queues, calls int, bytes int64) {
	b.rpc.mu.Lock()
	defer b.rpc.mu.Unlock()
	return len(b.rpc.queues), b.rpc.calls.index.Len(), b.rpc.queued
}

// Topics returns for how many channels and patterns there are subscriptions.
func (b *Broker) Topics() (exact, patterns int) {
	b.topics.mu.Lock()
	defer b.topics.mu.Unlock()
	return len(b.topics.exact), b.topics.patterns.Len()
}

// Kept returns the size of the buffer that is kept of a call with n bytes.
func Kept(n int) int {
	k := &call{payload: make([]byte, n)}
	new(callPool).put(k)
	return cap(k.payload)
}

// RetryAfter is retryAfter.
var RetryAfter = retryAfter

// HeldHistory returns of how many channels something is kept, how many events and keys,
// and how many bytes that takes: as they are counted, and as they add up.
func (b *Broker) HeldHistory() (channels, events, keys int, bytes, sum int64) {
	h := &b.history
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, l := range h.logs {
		events += l.count
		sum += logCost + int64(len(name)) + int64(len(l.ring))*entrySize
		for i := range l.count {
			sum += l.at(i).size()
		}
	}
	for _, e := range h.keys {
		sum += e.Value.(*keyNote).cost()
	}
	return len(h.logs), events, h.byAge.Len(), h.bytes, sum
}

// MaxFacts is maxFacts.
const MaxFacts = maxFacts

// HeldFacts returns how many facts the registry holds.
func (b *Broker) HeldFacts() int {
	b.registry.mu.Lock()
	defer b.registry.mu.Unlock()
	return len(b.registry.byEnd)
}

// MaxChanges and MaxChangedMembers are maxChanges and maxChangedMembers.
const (
	MaxChanges        = maxChanges
	MaxChangedMembers = maxChangedMembers
)

// HeldChannels returns of how many channels the broker knows who is there.
func (b *Broker) HeldChannels() int {
	b.presence.mu.Lock()
	defer b.presence.mu.Unlock()
	return len(b.presence.channels)
}

// HeldChanges returns what waits to be told to a connection.
func HeldChanges(conn broker.PresenceConn) (changes, members, lost int) {
	c := conn.(*presenceConn)
	c.presence.mu.Lock()
	defer c.presence.mu.Unlock()
	return len(c.pending), c.members, len(c.lost)
}
