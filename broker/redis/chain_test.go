package redis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/juggler-go/juggler/broker"
)

// keptAt returns an event at a number, with tags: its own and that of the one before.
func keptAt(at, tag, before uint64) keptEvent {
	return keptEvent{keptValue: keptValue{pos: broker.Position{At: at, Tag: tag}, before: before}}
}

var (
	lostEvent  = keptEvent{}
	plainEvent = keptEvent{plain: true}
)

func TestJudge(t *testing.T) {
	at57 := chain{last: broker.Position{At: 57, Tag: 7}, at: proven, paged: map[uint64]struct{}{5: {}}}
	open := chain{open: true, at: proven}
	fresh := chain{at: proven}
	begins := func(at, tag uint64) keptEvent {
		return keptEvent{keptValue: keptValue{pos: broker.Position{At: at, Tag: tag}, begins: true}}
	}
	doubted := chain{open: true, at: unproven}
	for _, c := range []struct {
		name  string
		chain chain
		event keptEvent
		want  verdict
	}{
		{"the next one", at57, keptAt(58, 8, 7), follows},
		{"the same", at57, keptAt(57, 7, 6), known},
		{"read from the log before", at57, keptAt(55, 5, 4), known},
		{"older", at57, keptAt(56, 6, 5), unclear},
		{"its number, given out again", at57, keptAt(57, 9, 6), unclear},
		{"one is missing", at57, keptAt(59, 9, 8), unclear},
		{"the next number of another past", at57, keptAt(58, 8, 6), unclear},
		{"its tag, but a lower number", at57, keptAt(50, 8, 7), unclear},
		{"the first of a life", at57, keptAt(1000, 8, 0), unclear},
		{"not kept", at57, lostEvent, apart},
		{"plain", at57, plainEvent, apart},
		{"anything where nothing is known", open, keptAt(58, 8, 7), follows},
		{"the first of a life after one that was not kept", fresh, keptAt(1000, 8, 0), follows},
		{"another after one that was not kept", fresh, keptAt(1001, 9, 8), unclear},
		{"the beginning of a life", at57, begins(1000, 8), anew},
		{"the beginning of a life without a position", at57, begins(0, 0), anew},
		{"the beginning of this life", at57, begins(57, 7), known},
		{"the beginning of a life that is over", at57, begins(50, 3), unclear},
		{"the beginning of a life where nothing is known", open, begins(1000, 8), anew},
		{"anything after a lost connection, where nothing is known", doubted, keptAt(58, 8, 7), unclear},
	} {
		if got := c.chain.judge(&c.event); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// A chainWorld is a channel with its log, which may lose what it has, and a chain that gets
// what is published, or not.
type chainWorld struct {
	t       *testing.T
	log     []keptEvent
	keeps   int
	nextTag uint64
	clock   uint64
	chain   chain
	out     []delivery
	before  map[uint64]uint64 // the predecessors of all events that there ever were
	asked   *chainRead
}

// A chainRead is an answer of the log on its way.
type chainRead struct {
	stuck broker.Position
	page  broker.Page
	known bool
}

func (w *chainWorld) top() broker.Position {
	if len(w.log) == 0 {
		return broker.Position{}
	}
	return w.log[len(w.log)-1].pos
}

// publish returns a new event.
func (w *chainWorld) publish() keptEvent {
	w.clock++
	top := w.top()
	if top.IsZero() {
		w.clock += 1000
		top.At = w.clock
	}
	w.nextTag++
	e := keptAt(top.At+1, w.nextTag, top.Tag)
	e.event.ID = broker.ID{byte(w.nextTag >> 8), byte(w.nextTag)}
	w.before[w.nextTag] = top.Tag
	if w.log = append(w.log, e); len(w.log) > w.keeps {
		w.log = w.log[len(w.log)-w.keeps:]
	}
	return e
}

func (w *chainWorld) arrive(e keptEvent) {
	w.out, _ = w.chain.arrive(e, w.out)
	if w.chain.healing && w.asked == nil {
		w.ask()
	}
}

// read answers as ReadKept does.
func (w *chainWorld) read(after broker.Position, most int) broker.Page {
	p := broker.Page{Top: w.top()}
	for i, e := range w.log {
		if e.pos == after || i == 0 && e.predecessor() == after && !after.IsZero() {
			p.Proven = true
			from := i
			if e.pos == after {
				from++
			}
			for _, e := range w.log[from:min(from+most, len(w.log))] {
				p.Events = append(p.Events, broker.KeptEvent{Pos: e.pos, Event: e.event})
			}
			return p
		}
	}
	return p
}

// ask does what healer.drain does, and has the log asked.
func (w *chainWorld) ask() {
	var stuck broker.Position
	w.out, stuck = w.chain.drain(w.out)
	if stuck.IsZero() && w.chain.at == proven {
		w.chain.healing, w.chain.paged = false, nil
		return
	}
	w.asked = &chainRead{stuck: stuck, page: w.read(w.chain.last, 3)}
	if stuck.At <= w.chain.last.At {
		w.asked.known = w.read(stuck, 1).Proven
	}
}

// answer has the answer of the log come.
func (w *chainWorld) answer() {
	if a := w.asked; a != nil {
		w.asked = nil
		w.out = w.chain.learn(&a.page, a.stuck, a.known, w.out)
		w.ask()
	}
}

func (w *chainWorld) doubt() {
	if w.chain.doubt(); !w.chain.healing {
		w.chain.heal()
		w.ask()
	}
}

// check says what is wrong with what was delivered.
func (w *chainWorld) check() error {
	seen := map[uint64]bool{}
	var last broker.Position
	gap := true
	for i, d := range w.out {
		switch {
		case d.gap:
			last, gap = d.pos, true
			continue
		case d.pos.IsZero() && !gap:
			return fmt.Errorf("delivery %d was not kept, and no gap is before it", i)
		case d.pos.IsZero():
			last, gap = broker.Position{}, false
			continue
		case seen[d.pos.Tag]:
			return fmt.Errorf("delivery %d with %v came before", i, d.pos)
		case !last.IsZero() && w.before[d.pos.Tag] != last.Tag:
			return fmt.Errorf("delivery %d with %v follows %v, its predecessor is %d", i, d.pos, last, w.before[d.pos.Tag])
		}
		seen[d.pos.Tag] = true
		last, gap = d.pos, false
	}
	return nil
}

// Whatever is lost on the way or by the log: each event comes once, right after the one
// before it or a gap, and what the log has is delivered at last.
func TestChainProperty(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := &chainWorld{t: t, keeps: 2 + r.IntN(10), clock: 1000, before: map[uint64]uint64{}}
		w.publish()
		w.chain.begin(w.top())
		// Events come late from the former master of a slot that has moved, where nothing
		// was lost; that both happens at once is left out.
		var late []keptEvent
		loses := seed%2 == 0
		for range 60 {
			switch n := r.IntN(20); {
			case n < 9:
				w.arrive(w.publish())
			case n < 11:
				w.publish() // it never arrives
			case n < 12 && !loses:
				late = append(late, w.publish())
			case n < 13 && len(late) > 0:
				w.arrive(late[0])
				late = late[1:]
			case n < 14:
				w.doubt()
			case n < 15 && loses:
				w.log = w.log[:len(w.log)-r.IntN(len(w.log)+1)] // a replica without them takes over
			case n < 16 && loses:
				w.log = nil
				w.arrive(lostEvent)
			case n < 17:
				w.arrive(plainEvent)
			default:
				w.answer()
			}
		}
		for w.doubt(); w.asked != nil; {
			w.answer()
		}
		err := w.check()
		if err == nil && (w.chain.last != w.top() || w.chain.healing || len(w.chain.held) > 0 || w.chain.heldBytes != 0) {
			err = fmt.Errorf("it stands at %v, the log at %v; healing: %v", w.chain.last, w.top(), w.chain.healing)
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// What is held is bounded; what was dropped comes from the log, and a channel that is
// faster than the log can be read gets a gap.
func TestHeldIsBounded(t *testing.T) {
	w := &chainWorld{t: t, keeps: 1 << 20, clock: 1000, before: map[uint64]uint64{}}
	w.publish()
	w.chain.begin(w.top())
	w.publish() // lost
	for range 3 * maxHeld {
		w.arrive(w.publish())
		if len(w.chain.held) > maxHeld {
			t.Fatalf("%d are held", len(w.chain.held))
		}
	}
	for w.asked != nil {
		w.answer()
	}
	if err := w.check(); err != nil || slices.ContainsFunc(w.out, func(d delivery) bool { return d.gap }) || len(w.out) != 3*maxHeld+1 {
		t.Fatalf("%d of %d events were delivered: %v", len(w.out), 3*maxHeld+1, err)
	}
	w.publish()
	for range (maxOverflows + 2) * maxHeld {
		w.arrive(w.publish())
	}
	for w.asked != nil {
		w.answer()
	}
	gaps := 0
	for _, d := range w.out {
		if d.gap {
			gaps++
		}
	}
	if err := w.check(); err != nil || gaps != 1 || w.chain.healing {
		t.Fatalf("%d gaps, healing: %v, %v", gaps, w.chain.healing, err)
	}
}
