package memory

import (
	"container/list"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/kept"
)

// What kept things cost beside their payloads, in bytes, book-keeping included.
const (
	logCost = 400
	keyCost = 300
)

// positionLife is for how long a position of a channel can still be proved after its
// events have gone: nothing came after it, or its last event was it.
const positionLife = 24 * time.Hour

// history is the kept events of a Broker. Nothing is called while mu is held but the
// topics, whose lock is taken under it.
type history struct {
	rules    kept.Rules
	maxBytes int64
	seed     maphash.Seed
	began    time.Time // times are counted from here, as the clock is asked for each event

	mu      sync.Mutex // guards the following
	closed  bool
	logs    map[string]*eventLog
	recent  *eventLog // that was asked for last: publications on one channel come in a row
	shelves []shelf   // of each rule: the logs that have events
	idle    shelf     // the logs that have none
	keys    map[keyID]*list.Element
	byAge   list.List // of *keyNote, the oldest first
	events  int       // of all logs
	bytes   int64     // of all of these
	floor   uint64    // no number of a life that is over is above it
	timer   *time.Timer
	due     time.Duration // when timer fires; zero: it does not

	running sync.WaitGroup // goroutines that deliver what others published
}

// A shelf is logs that are kept for the same time, the least recently used first.
type shelf struct {
	life time.Duration
	logs list.List
}

// A keyNote is what is known of a publication that had one.
type keyNote struct {
	id    keyID
	args  uint64 // a hash
	pos   broker.Position
	until time.Duration
}

type keyID struct{ channel, key string }

func (h *history) init(cfg config) {
	h.rules, h.maxBytes = cfg.rules, cfg.historyBytes
	if h.rules.Len() == 0 {
		return
	}
	h.seed, h.began = maphash.MakeSeed(), time.Now()
	h.logs = make(map[string]*eventLog)
	h.keys = make(map[keyID]*list.Element)
	h.shelves = make([]shelf, h.rules.Len())
	for i := range h.shelves {
		h.shelves[i].life = h.rules.At(i).For
	}
	h.idle.life = positionLife
}

// keeps reports whether a rule keeps the events of channel.
func (h *history) keeps(channel string) bool {
	return h.rules.Len() > 0 && h.rules.Find(channel) >= 0
}

// now returns the time.
func (h *history) now() time.Duration { return time.Since(h.began) }

// log returns the log of a channel that a rule keeps, made if it is not there. The caller
// holds mu.
func (h *history) log(channel string, now time.Duration) *eventLog {
	l := h.recent
	if l == nil || l.channel != channel {
		l = h.logs[channel]
	}
	if l != nil {
		h.recent = l
		h.expire(l, now)
		return l
	}
	rule := h.rules.Find(channel)
	l = &eventLog{channel: channel, most: h.rules.At(rule).Events, home: &h.shelves[rule]}
	h.logs[channel] = l
	h.bytes += logCost + int64(len(channel))
	h.place(l, &h.idle, now)
	return l
}

// place puts l on a shelf, as the one that was used last. The caller holds mu.
func (h *history) place(l *eventLog, s *shelf, now time.Duration) {
	l.used = now
	if l.shelf == s {
		s.logs.MoveToBack(l.element)
	} else {
		if l.shelf != nil {
			l.shelf.logs.Remove(l.element)
		}
		l.shelf, l.element = s, s.logs.PushBack(l)
	}
	h.wake(now + s.life)
}

// live makes sure that l has a position. The caller holds mu.
func (h *history) live(l *eventLog, now time.Duration) {
	if l.last.IsZero() {
		l.begin(broker.Position{At: max(uint64(time.Now().UnixMicro()), h.floor+1), Tag: rand.Uint64()})
	}
}

// add keeps a publication of a channel that has a rule, and leaves it with its log to be
// delivered. The log is nil if there is nothing to deliver. The caller holds mu, and that of
// the topics.
func (h *history) add(e *broker.Event, k string, now time.Duration, t *topics) (*eventLog, broker.Published) {
	if h.closed {
		return nil, broker.Published{Err: broker.ErrClosed}
	}
	if k != "" {
		if first := h.known(keyID{e.Channel, k}, now); first != nil {
			if first.args != maphash.Bytes(h.seed, e.Args) {
				return nil, broker.Published{Err: broker.ErrKeyConflict}
			}
			return nil, broker.Published{Pos: first.pos, Repeated: true}
		}
	}
	l := h.log(e.Channel, now)
	item := delivery{entry: l.copyEvent(e)}
	if logCost+int64(len(e.Channel))+leastRing*entrySize+item.size() > h.maxBytes {
		h.clear(l, now)
		h.end(l)
		l.tell(delivery{gap: true})
	} else {
		h.live(l, now)
		item.pos = broker.Position{At: l.last.At + 1, Tag: rand.Uint64()}
		h.events -= l.count
		h.bytes += l.push(&item.entry)
		h.events += l.count
		h.place(l, l.home, now)
	}
	if k != "" {
		h.note(keyID{l.channel, k}, e.Args, item.pos, now)
	}
	done := broker.Published{Pos: item.pos}
	if len(l.pending) == 0 && !l.delivering && !l.heard(t) {
		l.delivered = item.pos
		h.makeRoom(l, now)
		return nil, done
	}
	l.tell(item)
	h.makeRoom(l, now)
	return l, done
}

// known returns the key of that id, unless it is not known or too old. The caller holds mu.
func (h *history) known(id keyID, now time.Duration) *keyNote {
	if e := h.keys[id]; e != nil {
		if k := e.Value.(*keyNote); now < k.until {
			return k
		}
		h.forget(e)
	}
	return nil
}

// note notes the key of a publication. The caller holds mu.
func (h *history) note(id keyID, args []byte, pos broker.Position, now time.Duration) {
	k := &keyNote{id, maphash.Bytes(h.seed, args), pos, now + broker.KeyLife}
	h.keys[id] = h.byAge.PushBack(k)
	h.bytes += k.cost()
	h.wake(k.until)
}

func (k *keyNote) cost() int64 { return keyCost + int64(len(k.id.channel)+len(k.id.key)) }

// forget forgets a key. The caller holds mu.
func (h *history) forget(e *list.Element) {
	k := h.byAge.Remove(e).(*keyNote)
	delete(h.keys, k.id)
	h.bytes -= k.cost()
}

// expire clears l if its events are too old, which the timer may not have seen yet. The
// caller holds mu.
func (h *history) expire(l *eventLog, now time.Duration) {
	if l.shelf != &h.idle && now >= l.used+l.shelf.life {
		h.clear(l, now)
	}
}

// clear drops the events of l; that nothing follows its last one can be proved still. The
// caller holds mu.
func (h *history) clear(l *eventLog, now time.Duration) {
	h.events -= l.count
	h.bytes -= l.clear()
	h.place(l, &h.idle, now)
}

// end ends the life of l: no position of it can be proved any more. The caller holds mu.
func (h *history) end(l *eventLog) {
	h.floor = max(h.floor, l.last.At)
	l.begin(broker.Position{})
}

// remove drops an idle log, unless it has events to deliver. The caller holds mu.
func (h *history) remove(l *eventLog) bool {
	if l.delivering || len(l.pending) > 0 {
		return false
	}
	h.end(l)
	h.idle.logs.Remove(l.element)
	delete(h.logs, l.channel)
	h.recent = nil
	h.bytes -= logCost + int64(len(l.channel))
	return true
}

// makeRoom drops what was used least recently until the rest is within the bound: logs
// without events, events of whole logs, keys, then the oldest events of l, which was just
// added to. The caller holds mu.
func (h *history) makeRoom(l *eventLog, now time.Duration) {
	for h.bytes > h.maxBytes {
		switch {
		case h.removeOneIdle(l):
		case h.clearOldest(l, now):
		case h.byAge.Len() > 0:
			h.forget(h.byAge.Front())
		case l.count > 0:
			h.events--
			h.bytes -= l.trim()
		default:
			return
		}
	}
}

// removeOneIdle removes the log that is idle for the longest time, but not l. It reports
// whether there was one. The caller holds mu.
func (h *history) removeOneIdle(l *eventLog) bool {
	for e := h.idle.logs.Front(); e != nil; e = e.Next() {
		if idle := e.Value.(*eventLog); idle != l && h.remove(idle) {
			return true
		}
	}
	return false
}

// clearOldest clears the log that was used least recently, but not l. It reports whether
// there was one. The caller holds mu.
func (h *history) clearOldest(l *eventLog, now time.Duration) bool {
	var oldest *eventLog
	for i := range h.shelves {
		front := h.shelves[i].logs.Front()
		if front == nil {
			continue
		}
		if next := front.Value.(*eventLog); next != l && (oldest == nil || next.used < oldest.used) {
			oldest = next
		}
	}
	if oldest == nil {
		return false
	}
	h.clear(oldest, now)
	return true
}

// wake has the timer fire at a time, or before. The caller holds mu.
func (h *history) wake(at time.Duration) {
	if h.closed || h.due != 0 && at >= h.due {
		return
	}
	h.due = at
	if h.timer == nil {
		h.timer = time.AfterFunc(at-h.now(), h.sweep)
	} else {
		h.timer.Reset(at - h.now())
	}
}

// sweep drops what is too old, and sets the timer for what is next.
func (h *history) sweep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	h.due = 0
	for i := range h.shelves {
		h.sweepShelf(&h.shelves[i], now, func(l *eventLog) bool {
			h.clear(l, now)
			return true
		})
	}
	h.sweepShelf(&h.idle, now, h.remove)
	for e := h.byAge.Front(); e != nil; e = h.byAge.Front() {
		if until := e.Value.(*keyNote).until; now < until {
			h.wake(until)
			break
		}
		h.forget(e)
	}
}

// sweepShelf calls drop for the logs whose time is over. One that is not dropped is used
// just now. The caller holds mu.
func (h *history) sweepShelf(s *shelf, now time.Duration, drop func(*eventLog) bool) {
	for e := s.logs.Front(); e != nil; e = s.logs.Front() {
		l := e.Value.(*eventLog)
		if over := l.used + s.life; now < over {
			h.wake(over)
			return
		}
		if !drop(l) {
			h.place(l, s, now)
		}
	}
}

// close drops everything, and returns when nothing is delivered any more.
func (h *history) close() {
	h.mu.Lock()
	h.closed = true
	if h.timer != nil {
		h.timer.Stop()
	}
	clear(h.logs)
	h.recent = nil
	clear(h.keys)
	h.mu.Unlock()
	h.running.Wait()
}
