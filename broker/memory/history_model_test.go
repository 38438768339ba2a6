package memory_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/kept"
)

// A model is what must be true of the kept events of some channels: all that was ever
// published on them.
type model struct {
	t        testing.TB
	b        *memory.Broker
	roomy    bool // nothing is dropped for want of room
	keep     int
	channels []*modelChannel
}

type modelChannel struct {
	name  string
	known int // the first event whose position is known

	events    []broker.KeptEvent
	used      time.Time // when the last event came, though it is lost
	lost      []broker.Position
	delivered *[]broker.Delivery
}

// Whatever is published, read, lost and dropped in whatever order: a page that is proven
// is all that followed its position, what must be proved is, and the bytes are right.
func TestHistoryModel(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 0))
		steps := make([]byte, 3*(50+random.IntN(250)))
		for i := range steps {
			steps[i] = byte(random.Uint32())
		}
		runModel(t, steps, seed%2 == 0)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzHistory(f *testing.F) {
	f.Add([]byte("000111222333444555666777888999"), true)
	f.Add([]byte("07070708080909050505040404030303020202"), false)
	f.Fuzz(func(t *testing.T, steps []byte, roomy bool) {
		runModel(t, steps[:min(len(steps), 1000)], roomy)
	})
}

// runModel takes three bytes for each step: what, on which channel, a number.
func runModel(t *testing.T, steps []byte, roomy bool) {
	synctest.Test(t, func(t *testing.T) {
		most := int64(64 << 10)
		if roomy {
			most = 64 << 20
		}
		m := &model{t: t, roomy: roomy, keep: 8}
		m.b = newBroker(t, keep(m.keep), memory.WithMaxHistoryBytes(most))
		for i := range 4 {
			c := &modelChannel{name: fmt.Sprint("room.", i)}
			if i < 2 {
				_, c.delivered = recorder(t, m.b, c.name)
			}
			m.channels = append(m.channels, c)
		}
		for ; len(steps) >= 3 && !t.Failed(); steps = steps[3:] {
			m.step(steps[0], m.channels[int(steps[1])%len(m.channels)], int(steps[2]))
		}
		for _, c := range m.channels {
			m.checkDelivered(c)
		}
	})
}

func (m *model) step(what byte, c *modelChannel, n int) {
	switch what % 16 {
	case 0, 1, 2, 3, 4:
		size := n * 40
		if !m.roomy && n >= 250 {
			size = 64 << 10 // cannot be kept
		}
		m.publish(c, size, "")
	case 5:
		m.publish(c, n%3, fmt.Sprint("key ", n%4))
	case 6:
		if m.roomy { // the model does not know what is dropped
			m.rollBack(c, n%3)
		}
	case 7:
		time.Sleep(time.Duration(n) * time.Second / 8)
	case 8:
		if n < 32 {
			time.Sleep(time.Duration(n) * time.Hour)
		}
	case 9:
		m.madeUp(c, n)
	case 10:
		p := read(m.b, broker.Read{Channel: c.name, Last: n % 10})
		if !slices.EqualFunc(p.Events, c.events[len(c.events)-len(p.Events):], sameEvent) {
			m.t.Errorf("the newest %d of %s are %s", n%10, c.name, argsOf(p.Events))
		}
	default:
		m.readAfter(c, n)
	}
	if _, events, _, bytes, sum := m.b.HeldHistory(); bytes != sum || !m.roomy && bytes > 64<<10 {
		m.t.Errorf("%d bytes are held, which are %d", bytes, sum)
	} else if stats := m.b.Stats(); stats.KeptEvents != events || stats.KeptBytes != bytes {
		m.t.Errorf("%d events with %d bytes are held; the broker says %+v", events, bytes, stats)
	}
}

func (m *model) publish(c *modelChannel, size int, key string) {
	args := fmt.Sprint(len(c.events), strings.Repeat(".", size))
	if key != "" {
		args = key
	}
	p := tryKept(m.b, c.name, args, key)
	switch {
	case p.Err != nil:
		m.t.Errorf("publishing: %v", p.Err)
	case p.Repeated:
		if key == "" || !slices.ContainsFunc(c.events, func(e broker.KeptEvent) bool { return e.Pos == p.Pos }) && !slices.Contains(c.lost, p.Pos) {
			m.t.Errorf("a publication with the key %q repeats %v", key, p.Pos)
		}
	case p.Pos.IsZero():
		m.lose(c, len(c.events))
	default:
		if time.Since(c.used) >= time.Minute {
			c.known = max(len(c.events)-1, 0) // nothing followed this one
		}
		if time.Since(c.used) >= 24*time.Hour {
			c.known = len(c.events)
		}
		c.events = append(c.events, broker.KeptEvent{Pos: p.Pos, Event: broker.Event{Channel: c.name, Args: []byte(args)}})
		c.used = time.Now()
		c.known = max(c.known, len(c.events)-m.keep-1)
	}
}

// rollBack loses up to n of the newest events that are kept.
func (m *model) rollBack(c *modelChannel, n int) {
	n = min(n, len(read(m.b, broker.Read{Channel: c.name, Last: m.keep}).Events))
	if n == 0 {
		return
	}
	m.b.LoseKept(kept.Loss{Channel: c.name, Newest: n})
	m.lose(c, n)
}

// lose notes that nothing can be proved any more of the newest events.
func (m *model) lose(c *modelChannel, newest int) {
	rest := len(c.events) - newest
	for _, e := range c.events[rest:] {
		c.lost = append(c.lost, e.Pos)
	}
	c.events, c.known = c.events[:rest], min(c.known, rest)
}

// madeUp reads after positions that were never given out, or are lost.
func (m *model) madeUp(c *modelChannel, n int) {
	positions := slices.Clone(c.lost)
	if i := n; len(c.events) > 0 {
		pos := c.events[i%len(c.events)].Pos
		positions = append(positions, broker.Position{At: pos.At + 1, Tag: pos.Tag}, broker.Position{At: pos.At, Tag: pos.Tag ^ 1}, broker.Position{At: pos.At << 20, Tag: pos.Tag})
	}
	for _, pos := range positions {
		if p := read(m.b, broker.Read{Channel: c.name, After: pos}); p.Proven || len(p.Events) > 0 {
			m.t.Errorf("%v of %s is proved", pos, c.name)
		}
	}
}

// readAfter reads after an event that was published.
func (m *model) readAfter(c *modelChannel, n int) {
	if len(c.events) == 0 {
		return
	}
	behind := n % min(len(c.events), 12)
	i := len(c.events) - 1 - behind
	after, most := c.events[i], n%5
	p := read(m.b, broker.Read{Channel: c.name, After: after.Pos, Max: most})
	want := c.events[i+1:]
	if most > 0 {
		want = want[:min(most, len(want))]
	}
	age := time.Since(c.used)
	switch {
	case p.Proven && !slices.EqualFunc(p.Events, want, sameEvent):
		m.t.Errorf("after event %d of %d came %s", i, len(c.events), argsOf(p.Events))
	case !p.Proven && len(p.Events) > 0:
		m.t.Errorf("%d events are not proven", len(p.Events))
	case m.roomy && !p.Proven && i >= c.known && age < time.Minute:
		m.t.Errorf("event %d of %d is not known after %v", i, len(c.events), age)
	case p.Proven && behind > 0 && age >= time.Minute:
		m.t.Errorf("event %d of %d is followed by some that are %v old", i, len(c.events), age)
	}
}

// checkDelivered checks that a subscription got a chain of all that was published.
func (m *model) checkDelivered(c *modelChannel) {
	if c.delivered == nil {
		return
	}
	var last broker.Position
	var events []broker.Position
	for _, d := range *c.delivered {
		if !d.Gap && !d.Pos.IsZero() && d.Pos.At <= last.At {
			m.t.Errorf("%v was delivered after %v", d.Pos, last)
		}
		if last = d.Pos; !d.Gap && !d.Pos.IsZero() && !slices.Contains(c.lost, d.Pos) {
			events = append(events, d.Pos)
		}
	}
	if !slices.EqualFunc(events, c.events, func(p broker.Position, e broker.KeptEvent) bool { return p == e.Pos }) {
		m.t.Errorf("%d events of %s were delivered, %d were published", len(events), c.name, len(c.events))
	}
}

func sameEvent(a, b broker.KeptEvent) bool {
	return a.Pos == b.Pos && a.Event.Channel == b.Event.Channel && string(a.Event.Args) == string(b.Event.Args)
}
