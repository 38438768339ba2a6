package brokertest

import (
	"context"
	"errors"

	"github.com/juggler-go/juggler/broker"
)

// outageCases are about engines that can lose the connection to what is
// behind them.
var outageCases = []testCase{
	{"outage of calls", "While the engine is out of reach Call returns ErrUnavailable, or ErrUnknownOutcome, soon; afterwards all works again.", rpc | outage, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		c.serve(4, echoed)
		n.result(n.call("u", "before"))
		restore := x.engine.Outage()
		x.await("Call returned ErrUnavailable", func() bool {
			_, err := n.try("u", "during", longEnough)
			x.wantOutage("Call", err)
			return errors.Is(err, broker.ErrUnavailable)
		})
		restore()
		x.await("a call was answered again", func() bool {
			return x.answersAgain(n)
		})
	}},
	{"outage of events", "While the engine is out of reach Publish returns ErrUnavailable, or ErrUnknownOutcome, soon.", pubSub | outage, func(x *trial) {
		r := x.process()
		restore := x.engine.Outage()
		defer restore()
		x.await("Publish returned ErrUnavailable", func() bool {
			err := x.tryPublish(r, "c", "during")
			x.wantOutage("Publish", err)
			return errors.Is(err, broker.ErrUnavailable)
		})
	}},
	{"gap", "Subscriptions survive an outage and learn of it: each topic gets a Delivery with Gap set and no Event before the events that follow.", pubSub | outage, func(x *trial) {
		r := x.process()
		topics := x.known(channel("c"), channel("d"), pattern("c*"))
		s := x.subscriber(x.process(), topics...)
		x.publish(r, "c", "before")
		s.await(len(topics) - 1)
		x.engine.Outage()()
		x.await("each topic had a gap and events after it", func() bool {
			x.wantOutage("Publish", x.tryPublish(r, "c", "after"))
			x.wantOutage("Publish", x.tryPublish(r, "d", "after"))
			for _, t := range topics {
				if !gapThenEvent(s.deliveries(), t) {
					return false
				}
			}
			return true
		})
		for _, d := range s.deliveries() {
			if d.Gap && (d.Event.Channel != "" || d.Event.ID != broker.ID{} || d.Event.Args != nil) {
				x.errorf("a gap of %+v has an event", d.Topic)
			}
			if !d.Gap && string(d.Event.Args) == "after" && d.Event.Channel == "" {
				x.errorf("an event of %+v has no channel", d.Topic)
			}
		}
	}},
	{"subscriptions after an outage", "After an outage topics can be added and removed, and those removed stay so.", pubSub | outage, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process(), channel("removed"), channel("kept"))
		s.unsubscribe(channel("removed"))
		x.engine.Outage()()
		x.await("Subscribe worked again", func() bool {
			err := x.within(func(ctx context.Context) error { return s.conn.Subscribe(ctx, channel("new")) })
			x.wantOutage("Subscribe", err)
			return err == nil
		})
		x.await("events of kept and new topics arrived", func() bool {
			for _, name := range []string{"removed", "kept", "new"} {
				x.wantOutage("Publish", x.tryPublish(r, name, "after"))
			}
			return hasEvent(s.deliveries(), channel("kept")) && hasEvent(s.deliveries(), channel("new"))
		})
		if hasEvent(s.deliveries(), channel("removed")) {
			x.errorf("an event arrived for a topic that had been removed before the outage")
		}
	}},
	{"callees after an outage", "After an outage callees go on taking calls.", rpc | outage, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		c.serve(1, echoed)
		for range 3 {
			x.engine.Outage()()
			x.await("a call was answered again", func() bool {
				return x.answersAgain(n)
			})
		}
	}},
}

// wantOutage accepts what a method may return around an outage.
func (x *trial) wantOutage(method string, err error) {
	if err != nil && !errors.Is(err, broker.ErrUnavailable) && !errors.Is(err, broker.ErrUnknownOutcome) && !errors.Is(err, broker.ErrNoCallee) {
		x.errorf("%s returned %v", method, err)
	}
}

// answersAgain makes a call and reports whether it is answered soon. One that
// the outage still got hold of never is.
func (x *trial) answersAgain(n *node) bool {
	to, err := n.try("u", "after", longEnough)
	x.wantOutage("Call", err)
	if err != nil {
		return false
	}
	for range 100 {
		if _, ok := n.find(to); ok {
			return true
		}
		pass(pollInterval)
	}
	return false
}

// gapThenEvent reports whether a gap of t is followed by an event of t.
func gapThenEvent(deliveries []broker.Delivery, t broker.Topic) bool {
	gap := false
	for _, d := range deliveries {
		if d.Topic != t {
			continue
		}
		if gap && !d.Gap {
			return true
		}
		gap = gap || d.Gap
	}
	return false
}

func hasEvent(deliveries []broker.Delivery, t broker.Topic) bool {
	for _, d := range deliveries {
		if d.Topic == t && !d.Gap {
			return true
		}
	}
	return false
}
