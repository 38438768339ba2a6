package juggler

import (
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/topk"
)

// WithTop has the handler count which URIs are called, and which channels are published on
// and bring events, most often lately: see [Handler.Top]. It takes so many counters for each
// of these, whatever names clients make up, twice for each event loop; a counter takes up to
// 400 bytes. Default, and 0: nothing is counted; 0 to 1,000.
func WithTop(counters int) Option {
	return optionFunc(func(c *config) { c.top = counters })
}

// Top is what was most frequent on a node lately, by name: see [Handler.Top].
type Top struct {
	Calls        []NameCount // CALLs within the bounds of their sessions, by URI
	Publications []NameCount // PUBs of clients within these, by channel
	Events       []NameCount // EVNTs queued for sessions, by channel

	Over time.Duration // how long was counted
}

// A NameCount is how often something concerned a name.
type NameCount struct {
	Name string // the first 256 bytes of it
	Own  bool   // it is one of the server's own channels

	// Count is how often, or more: too high by at most Error.
	Count, Error uint64
}

// topWindow is for how long is counted before counting begins anew; the counts of the
// window before are kept.
const topWindow = 30 * time.Second

// Top returns what was most frequent in the last 30 to 60 seconds, what certainly was so
// first: at most so many names as [WithTop] says, without which there are none. A count is
// too high by at most what all of its kind come to, divided by the number of counters, and
// no name is left out that was more frequent than that.
func (h *Handler) Top() Top {
	if h.cfg.top == 0 {
		return Top{}
	}
	now := h.clock()
	t := Top{Over: min(now, topWindow+now%topWindow)}
	var parts [topKinds][]topk.Part
	for i := range h.shards {
		if sh := h.shards[i].Load(); sh != nil {
			sh.top.appendTo(&parts, now)
		}
	}
	t.Calls, t.Publications, t.Events = h.topNames(parts[topCalls]), h.topNames(parts[topPublications]), h.topNames(parts[topEvents])
	return t
}

// topNames returns what the parts have together.
func (h *Handler) topNames(parts []topk.Part) []NameCount {
	counts, _ := topk.Merge(parts...)
	names := make([]NameCount, min(len(counts), h.cfg.top))
	for i := range names {
		c := &counts[i]
		names[i] = NameCount{Count: c.N, Error: c.Error}
		names[i].Name, names[i].Own = broker.IsOwn(c.Name)
	}
	return names
}

// What is counted.
const (
	topCalls = iota
	topPublications
	topEvents

	topKinds
)

// shardTop counts names on a shard. A nil *shardTop counts nothing.
type shardTop struct {
	mu      sync.Mutex                // guards the following
	windows [2][topKinds]*topk.Sketch // this one, and the one before
	number  time.Duration             // of this one, from New on
}

// newShardTop returns what counts names with so many counters, nil for none.
func newShardTop(counters int) *shardTop {
	if counters == 0 {
		return nil
	}
	t := &shardTop{}
	for i := range t.windows {
		for kind := range t.windows[i] {
			t.windows[i][kind] = topk.New(counters)
		}
	}
	return t
}

// add counts a name, n times.
func (t *shardTop) add(kind int, name string, n int) {
	if t == nil {
		return
	}
	t.mu.Lock()
	t.windows[0][kind].Add(name, uint64(n))
	t.mu.Unlock()
}

// advance begins a new window if it is time. It is called once a turn.
func (t *shardTop) advance(h *Handler) {
	if t == nil {
		return
	}
	t.mu.Lock()
	t.turn(h.clock())
	t.mu.Unlock()
}

// turn is advance with mu held.
func (t *shardTop) turn(now time.Duration) {
	number := now / topWindow
	for t.number = max(t.number, number-2); t.number < number; t.number++ {
		t.windows[0], t.windows[1] = t.windows[1], t.windows[0]
		for _, s := range t.windows[0] {
			s.Reset()
		}
	}
}

// appendTo appends what was counted, by kind.
func (t *shardTop) appendTo(parts *[topKinds][]topk.Part, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(now)
	for _, window := range t.windows {
		for kind, s := range window {
			parts[kind] = append(parts[kind], s.Part())
		}
	}
}
