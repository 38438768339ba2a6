package brokertest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
)

// Brokers that keep events wrongly, each in one thing.
var wrongHistory = []wrongBroker{
	{"delivers without positions", []string{"kept events", "start of a subscription", "one order", "subscribe while others publish", "positions of patterns"}, marked(func(d *broker.Delivery) {
		d.Pos = broker.Position{}
	}), nil},
	{"has positions for patterns", []string{"positions of patterns"}, marked(func(d *broker.Delivery) {
		d.Pos = broker.Position{At: 1, Tag: 1}
	}), nil},
	{"numbers what is delivered anew", []string{"kept events"}, marked(func(d *broker.Delivery) {
		d.Pos.At++
	}), nil},
	{"has positions that do not fit in JSON", []string{"kept events"}, read(func(p *broker.Page) {
		for i := range p.Events {
			p.Events[i].Pos.At += 1 << 53
		}
	}), nil},
	{"keeps what no rule names", []string{"channels not kept"}, straight, []memory.Option{memory.WithHistory(broker.HistoryRule{Channels: "*", Events: 16, For: time.Hour})}},
	{"keeps its own channels by any rule", []string{"own channels not kept"}, straight, []memory.Option{memory.WithHistory(keep(16), broker.HistoryRule{Channels: "\x00*", Events: 16, For: time.Hour})}},
	{"proves channels that it does not keep", []string{"channels not kept", "positions made up"}, read(func(p *broker.Page) {
		p.Proven = true
	}), nil},
	{"keeps fewer events than the rule says", []string{"trimming"}, straight, []memory.Option{memory.WithHistory(keep(15))}},
	{"keeps more events than the rule says", []string{"trimming"}, straight, []memory.Option{memory.WithHistory(keep(17))}},
	{"leaves out the first event of a page", []string{"pages", "kept events", "start of a subscription"}, read(func(p *broker.Page) {
		p.Events = p.Events[min(1, len(p.Events)):]
	}), nil},
	{"does not know where the channel stands", []string{"pages", "kept events"}, read(func(p *broker.Page) {
		p.Top = broker.Position{}
	}), nil},
	{"has pages of any size", []string{"pages"}, func(*testing.T) *hooks {
		return &hooks{readKept: func(_ broker.History, reads []broker.Read, _ []broker.Page, next func()) {
			for i := range reads {
				reads[i].Max, reads[i].MaxBytes = 0, 0
			}
			next()
		}}
	}, nil},
	{"takes a number for a proof", []string{"positions made up"}, believes(func(p broker.Position, e broker.KeptEvent) bool { return p.At == e.Pos.At }), nil},
	{"takes a tag for a proof", []string{"positions made up"}, believes(func(p broker.Position, e broker.KeptEvent) bool { return p.Tag == e.Pos.Tag }), nil},
	{"believes what is too old", []string{"trimming"}, believes(func(p broker.Position, e broker.KeptEvent) bool { return p.At < e.Pos.At }), nil},
	{"shares the slices of pages with later ones", []string{"owner of a kept event"}, func(*testing.T) *hooks {
		buf := make([]byte, 0, 64)
		return &hooks{readKept: func(_ broker.History, _ []broker.Read, pages []broker.Page, next func()) {
			next()
			for i := range pages[0].Events {
				e := &pages[0].Events[i].Event
				e.Args = append(buf[:0], e.Args...)
			}
		}}
	}, nil},
	{"keeps the slices of publications", []string{"owner of a kept event"}, func(*testing.T) *hooks {
		published := make(map[broker.ID][]byte)
		return &hooks{
			publishKept: func(events []broker.Publication, _ []broker.Published, next func()) {
				for _, e := range events {
					published[e.Event.ID] = e.Event.Args // and not a copy
				}
				next()
			},
			readKept: func(_ broker.History, _ []broker.Read, pages []broker.Page, next func()) {
				next()
				for i := range pages[0].Events {
					e := &pages[0].Events[i].Event
					e.Args = published[e.ID]
				}
			},
		}
	}, nil},
	{"knows no keys", []string{"keys"}, func(*testing.T) *hooks {
		return &hooks{publishKept: func(events []broker.Publication, _ []broker.Published, next func()) {
			for i := range events {
				events[i].Key = ""
			}
			next()
		}}
	}, nil},
	{"takes other args for a repetition", []string{"keys"}, func(*testing.T) *hooks {
		return &hooks{publishKept: func(_ []broker.Publication, done []broker.Published, next func()) {
			next()
			for i := range done {
				if errors.Is(done[i].Err, broker.ErrKeyConflict) {
					done[i] = broker.Published{Repeated: true}
				}
			}
		}}
	}, nil},
	{"gives a repetition no position", []string{"keys"}, func(*testing.T) *hooks {
		return &hooks{publishKept: func(_ []broker.Publication, done []broker.Published, next func()) {
			next()
			for i := range done {
				if done[i].Repeated {
					done[i].Pos = broker.Position{}
				}
			}
		}}
	}, nil},
	{"delivers kept events in the order of arrival", []string{"one order"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		var held []broker.Delivery
		return &hooks{deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
			mu.Lock()
			defer mu.Unlock()
			if held == nil && batch[0].Event.Channel == "kept.c" && len(batch) == 1 {
				held = cloneBatch(batch)
				return
			}
			next(batch)
			if held != nil {
				next(held)
				held = nil
			}
		}}
	}, nil},
	{"delivers kept events twice", []string{"one order", "kept events", "keys"}, func(*testing.T) *hooks {
		return &hooks{deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
			next(batch)
			next(batch)
		}}
	}, nil},
	{"reads the position long before the subscription", []string{"subscribe while others publish"}, func(*testing.T) *hooks {
		return &hooks{subscribeKept: func(h broker.History, channel string, next func() (broker.Position, error)) (broker.Position, error) {
			before := top(h, channel)
			time.Sleep(time.Millisecond)
			_, err := next()
			return before, err
		}}
	}, nil},
	{"reads the position after the subscription", []string{"subscribe while others publish"}, func(*testing.T) *hooks {
		return &hooks{subscribeKept: func(h broker.History, channel string, next func() (broker.Position, error)) (broker.Position, error) {
			_, err := next()
			time.Sleep(time.Millisecond)
			return top(h, channel), err
		}}
	}, nil},
	{"does not know where a subscription starts", []string{"start of a subscription", "kept events"}, func(*testing.T) *hooks {
		return &hooks{subscribeKept: func(_ broker.History, _ string, next func() (broker.Position, error)) (broker.Position, error) {
			_, err := next()
			return broker.Position{}, err
		}}
	}, nil},
	{"knows what it has lost", []string{"rollback"}, straight, nil},
	{"hides that an event is not kept", []string{"events that cannot be kept"}, func(*testing.T) *hooks {
		return &hooks{deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
			next(slices.DeleteFunc(cloneBatch(batch), func(d broker.Delivery) bool { return d.Gap }))
		}}
	}, nil},
	{"goes on as if an event had been kept", []string{"events that cannot be kept"}, believes(func(p broker.Position, e broker.KeptEvent) bool { return p.At < e.Pos.At }), nil},
}

// marked bends a broker so that change changes deliveries of kept events.
func marked(change func(*broker.Delivery)) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
			batch = cloneBatch(batch)
			for i := range batch {
				if d := &batch[i]; strings.HasPrefix(d.Event.Channel, "kept.") {
					change(d)
				}
			}
			next(batch)
		}}
	}
}

// read bends a broker so that change changes what is read.
func read(change func(*broker.Page)) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{readKept: func(_ broker.History, _ []broker.Read, pages []broker.Page, next func()) {
			next()
			for i := range pages {
				change(&pages[i])
			}
		}}
	}
}

// believes bends a broker so that it takes a position that is not proved for that of the
// event before the first one that fits it.
func believes(fits func(broker.Position, broker.KeptEvent) bool) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{readKept: func(h broker.History, reads []broker.Read, pages []broker.Page, next func()) {
			next()
			if reads[0].After.IsZero() || pages[0].Proven {
				return
			}
			all := make([]broker.Page, 1)
			h.ReadKept(context.Background(), []broker.Read{{Channel: reads[0].Channel, Last: 1000}}, all)
			i := slices.IndexFunc(all[0].Events, func(e broker.KeptEvent) bool { return fits(reads[0].After, e) })
			if i >= 0 {
				pages[0].Proven, pages[0].Events = true, all[0].Events[i:]
			}
		}}
	}
}

// top returns where a channel stands.
func top(h broker.History, channel string) broker.Position {
	var pages [1]broker.Page
	h.ReadKept(context.Background(), []broker.Read{{Channel: channel}}, pages[:])
	return pages[0].Top
}
