package brokertest

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/juggler-go/juggler/broker"
)

// eventCases are about what an event carries, to whom, and in which order.
var eventCases = []testCase{
	{"event", "An event arrives as it was published, with the topic that it matched.", pubSub, func(x *trial) {
		r := x.process()
		topics := x.known(channel("news.go"), pattern("news.?s"))
		s := x.subscriber(x.process(), topics...)
		for i, topic := range topics {
			sent := broker.Event{ID: newID(), Channel: []string{"news.go", "news.js"}[i], Headers: []byte(`{"tenant":"a"}`), Args: []byte(`{"title":"Go"}`)}
			x.publishEvent(r, &sent)
			d := s.await(i + 1)[i]
			if d.Topic != topic || d.Gap {
				x.errorf("an event on %s arrived for %+v, gap %v", sent.Channel, d.Topic, d.Gap)
			}
			if d.Event.ID != sent.ID || d.Event.Channel != sent.Channel || !bytes.Equal(d.Event.Headers, sent.Headers) || !bytes.Equal(d.Event.Args, sent.Args) {
				x.errorf("published %+v, %+v arrived", sent, d.Event)
			}
		}
		s.exactly(len(topics))
	}},
	{"event payloads", "Rule 7: payloads arrive as they were sent, whatever their bytes; nil and empty are the same.", pubSub, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process(), channel("c"))
		arrived := 0
		for name, p := range payloads() {
			x.publishEvent(r, &broker.Event{ID: newID(), Channel: "c", Headers: p, Args: p})
			arrived++
			d := s.await(arrived)[arrived-1]
			if !bytes.Equal(d.Event.Headers, p) || !bytes.Equal(d.Event.Args, p) {
				x.errorf("payload %s: an event arrived with other headers or arguments", name)
			}
		}
		for _, id := range []broker.ID{{}, {0xff, 0xff, '\r', '\n'}, newID()} {
			x.publishEvent(r, &broker.Event{ID: id, Channel: "c"})
			arrived++
			if got := s.await(arrived)[arrived-1].Event.ID; got != id {
				x.errorf("the event %x arrived as %x", id, got)
			}
		}
	}},
	{"owner of an event", "Rule 3: the slices of an Event belong to the publisher again when Publish returns.", pubSub, func(x *trial) {
		r := x.process()
		topics := x.known(channel("c"), pattern("c"))
		s := x.subscriber(x.process(), topics...)
		for range 50 {
			headers, args := []byte("headers"), []byte("arguments")
			x.publishEvent(r, &broker.Event{ID: newID(), Channel: "c", Headers: headers, Args: args})
			scribble(headers, args)
		}
		for _, d := range s.exactly(50 * len(topics)) {
			if string(d.Event.Headers) != "headers" || string(d.Event.Args) != "arguments" {
				x.errorf("an event arrived with %q and %q, which the publisher wrote after Publish returned", d.Event.Headers, d.Event.Args)
			}
		}
	}},
	{"nobody subscribed", "Publish on a channel without subscriptions is no error.", pubSub, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process(), channel("other"))
		x.publish(r, "c", "")
		x.publish(r, "other", "")
		s.exactly(1)
	}},
	{"own events", "A publisher's own subscriptions get its events like any other.", pubSub, func(x *trial) {
		r := x.process()
		s := x.subscriber(r, channel("c"))
		x.publish(r, "c", "1")
		s.exactly(1)
	}},
	{"order of events", "Events of one publisher on one channel are delivered in order to each subscription, and never overlap.", pubSub, func(x *trial) {
		const publishers, events = 3, 400
		s := x.subscriber(x.process(), channel("c.0"), channel("c.1"), channel("c.2"))
		patterns := x.known(pattern("c.*"))
		s.subscribe(patterns...)
		var inside [publishers]atomic.Int32
		s.setHook(func(d broker.Delivery) {
			i := d.Event.Channel[2] - '0'
			if inside[i].Add(1) != 1 {
				x.errorf("two deliveries of one publisher's events on one channel overlapped")
			}
			inside[i].Add(-1)
		})
		x.concurrently(publishers, func(g int) {
			r := x.process()
			for i := range events {
				x.publish(r, fmt.Sprint("c.", g), fmt.Sprint(i))
			}
		})
		next := make(map[string]int)
		for _, d := range s.exactly((1 + len(patterns)) * publishers * events) {
			key := fmt.Sprint(d.Topic, d.Event.Channel)
			if want := fmt.Sprint(next[key]); string(d.Event.Args) != want {
				x.fatalf("for %+v event %s of %s arrived instead of event %s", d.Topic, d.Event.Args, d.Event.Channel, want)
			}
			next[key]++
		}
	}},
	{"order of publishers", "The order of each publisher is kept also where several publish on one channel.", pubSub, func(x *trial) {
		const publishers, events = 4, 200
		var subscribers []*subscriber
		for _, t := range x.known(channel("c"), pattern("?"), channel("c")) {
			subscribers = append(subscribers, x.subscriber(x.process(), t))
		}
		x.concurrently(publishers, func(g int) {
			r := x.process()
			for i := range events {
				x.publish(r, "c", fmt.Sprintf("%d %d", g, i))
			}
		})
		for _, s := range subscribers {
			var next [publishers]int
			for _, d := range s.exactly(publishers * events) {
				var g, i int
				fmt.Sscan(string(d.Event.Args), &g, &i)
				if i != next[g] {
					x.fatalf("event %d of publisher %d arrived instead of event %d", i, g, next[g])
				}
				next[g]++
			}
		}
	}},
	{"slow deliver", "Rule 5: a callback of what is not Immediate may block; nothing is lost by that.", pubSub | blocking, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process(), channel("c"))
		release := make(chan struct{})
		var first sync.Once
		s.setHook(func(broker.Delivery) { first.Do(func() { <-release }) })
		published := make(chan struct{})
		go func() {
			defer close(published)
			for i := range 100 {
				x.publish(r, "c", fmt.Sprint(i))
			}
		}()
		s.await(1)
		close(release)
		receive(x, "all events were published", published)
		for i, d := range s.exactly(100) {
			if string(d.Event.Args) != fmt.Sprint(i) {
				x.errorf("event %s arrived instead of event %d", d.Event.Args, i)
			}
		}
	}},
}
