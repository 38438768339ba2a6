package memory

import (
	"bytes"
	"container/list"
	"slices"
	"time"
	"unsafe"

	"github.com/juggler-go/juggler/broker"
)

// An eventLog is the newest events of one channel, in a ring. They have numbers in a row,
// so that an event is found by its number, and nothing lies between two of them; a page
// is proved by the tag of the position that it follows. All is guarded by history.mu.
type eventLog struct {
	channel string
	most    int    // events that are kept
	home    *shelf // of its rule

	shelf   *shelf
	element *list.Element // of shelf
	used    time.Duration // when the last event came, or since when there is none

	ring  []entry // holds a power of two
	first int     // where the oldest event is
	count int
	room  []byte          // for payloads to come; see sharers
	base  broker.Position // what the oldest event follows
	last  broker.Position // the newest event, or base if there is none

	// The way to the subscribers. It has a copy, as events may be trimmed before they are
	// delivered.

	pending    []delivery
	bytes      int             // of pending's payloads
	delivering bool            // somebody delivers, and goes on with what is added
	delivered  broker.Position // of what was taken to be delivered last

	isHeard bool   // whether anybody was subscribed
	asOf    uint64 // the change of the topics when that was so
}

// heard reports whether anybody is subscribed to the channel of l. The caller holds the lock of
// the topics, too.
func (l *eventLog) heard(t *topics) bool {
	if l.asOf != t.changes {
		l.isHeard, l.asOf = t.reach(l.channel), t.changes
	}
	return l.isHeard
}

// An entry is a kept event of the log's channel. It has one pointer, since what moves many
// makes the garbage collector work.
type entry struct {
	pos     broker.Position
	id      broker.ID
	payload []byte // headers and args
	headers int    // bytes of payload
}

// event returns the event, whose payloads are the entry's.
func (e *entry) event(channel string) broker.Event {
	n := e.headers
	return broker.Event{ID: e.id, Channel: channel, Headers: e.payload[:n:n], Args: e.payload[n:]}
}

// copyEvent returns an entry for e with a payload of its own.
func (l *eventLog) copyEvent(e *broker.Event) entry {
	size := len(e.Headers) + len(e.Args)
	if size > len(l.room) {
		if size > maxSharing || l.count < 2*sharers {
			return ownEntry(e)
		}
		l.room = make([]byte, sharers*size)
	}
	n := copy(l.room, e.Headers)
	copy(l.room[n:], e.Args)
	payload := l.room[:size:size]
	l.room = l.room[size:]
	return entry{id: e.ID, payload: payload, headers: n}
}

// ownEntry is copyEvent whose payload shares its memory with no other one.
func ownEntry(e *broker.Event) entry {
	if len(e.Headers) == 0 {
		return entry{id: e.ID, payload: bytes.Clone(e.Args)} // which clears no memory first
	}
	return entry{id: e.ID, payload: slices.Concat(e.Headers, e.Args), headers: len(e.Headers)}
}

// Small payloads of a log share memory, as to allocate each would cost more than to keep it.
// The memory lives as long as one of them does; so that this is little beside what the log
// has, only one that has many events shares.
const (
	sharers    = 16  // payloads of one size that share
	maxSharing = 256 // bytes of a payload that shares
)

// A delivery is an event to deliver, or a gap.
type delivery struct {
	entry
	gap bool
}

// fill makes d, which has its topic, the delivery of an event or gap of a channel.
func (k *delivery) fill(d *broker.Delivery, channel string) {
	if d.Gap = k.gap; !k.gap {
		d.Event = k.event(channel)
	}
	if !d.Topic.Pattern {
		d.Pos = k.pos
	}
}

const (
	entrySize = int64(unsafe.Sizeof(entry{}))
	leastRing = 4 // entries that a ring holds at least
)

// What may wait to be delivered on a channel while others deliver. What is beyond becomes
// a gap.
const (
	maxPending      = 4096
	maxPendingBytes = 8 << 20
)

// size returns the bytes of an event that are its own.
func (e *entry) size() int64 { return int64(len(e.payload)) }

// begin begins a life after a position; after none if that is zero.
func (l *eventLog) begin(at broker.Position) {
	l.base, l.last = at, at
	if len(l.pending) == 0 {
		l.delivered = at
	}
}

// at returns an entry, the oldest is 0.
func (l *eventLog) at(i int) *entry { return &l.ring[(l.first+i)&(len(l.ring)-1)] }

// push adds an event and drops the oldest if there are too many. It returns by how many
// bytes the log has grown.
func (l *eventLog) push(event *entry) (grown int64) {
	if l.count == l.most {
		grown = -l.drop()
	}
	if l.count == len(l.ring) {
		ring := make([]entry, max(leastRing, 2*len(l.ring)))
		for i := range l.count {
			ring[i] = *l.at(i)
		}
		grown += int64(len(ring)-len(l.ring)) * entrySize
		l.ring, l.first = ring, 0
	}
	l.count++
	*l.at(l.count - 1), l.last = *event, event.pos
	return grown + event.size()
}

// drop drops the oldest event and returns the bytes of its payload.
func (l *eventLog) drop() (freed int64) {
	e := l.at(0)
	l.base, freed = e.pos, e.size()
	*e = entry{}
	l.first, l.count = (l.first+1)&(len(l.ring)-1), l.count-1
	return freed
}

// trim drops the oldest event, and the ring with the last one. It returns the bytes.
func (l *eventLog) trim() (freed int64) {
	if l.count == 1 {
		return l.clear()
	}
	return l.drop()
}

// clear drops all events and returns their bytes.
func (l *eventLog) clear() (freed int64) {
	for i := range l.count {
		freed += l.at(i).size()
	}
	freed += int64(len(l.ring)) * entrySize
	l.ring, l.room, l.first, l.count, l.base = nil, nil, 0, 0, l.last
	return freed
}

// after returns which entry follows a position, and whether that is proved.
func (l *eventLog) after(pos broker.Position) (i int, proven bool) {
	if pos.IsZero() || pos.At < l.base.At || pos.At > l.last.At {
		return 0, false
	}
	i = int(pos.At - l.base.At)
	return i, l.before(i) == pos
}

// before returns the position that an entry follows, or one that would be the next.
func (l *eventLog) before(i int) broker.Position {
	if i == 0 {
		return l.base
	}
	return l.at(i - 1).pos
}

// tell leaves something to be delivered.
func (l *eventLog) tell(d delivery) {
	size := int(d.size())
	if n := len(l.pending); n >= maxPending || n > 0 && l.bytes+size > maxPendingBytes {
		before := l.pending[n-1].pos
		clear(l.pending)
		l.pending, l.bytes = append(l.pending[:0], delivery{entry{pos: before}, true}), 0
	}
	l.pending = append(l.pending, d)
	l.bytes += size
}
