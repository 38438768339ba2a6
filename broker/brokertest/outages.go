package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync"

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
	{"outage of keyed calls", "While the engine is out of reach Attach, ReadCalls and Stop return ErrUnavailable, or ErrUnknownOutcome. The same Attach then makes the call, or joins it: it runs once.", rpc | keyedCalls | outage, outageOfKeyedCalls},
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

// outageOfKeyedCalls attaches to keys before, amid and after an outage.
func outageOfKeyedCalls(x *trial) {
	n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
	var mu sync.Mutex
	runs := make(map[string]int)
	c.serve(4, func(call broker.Call) broker.Result {
		mu.Lock()
		defer mu.Unlock()
		runs[string(call.Args)]++
		return echoed(call)
	})
	before := keyed("u", "before")
	n.attach(before, broker.CallNew)
	n.wantArgs(before, "before")
	keys := []string{"before"}
	restore := x.engine.Outage()
	x.await("Attach returned ErrUnavailable", func() bool {
		keys = append(keys, fmt.Sprint(len(keys)))
		err := n.tryAttach(keyed("u", keys[len(keys)-1]))
		x.wantOutage("Attach", err)
		return errors.Is(err, broker.ErrUnavailable)
	})
	x.await("ReadCalls returned ErrUnavailable", func() bool {
		err := n.readCalls(broker.CallRead{URI: "u", Key: before.Call.Key})[0].Err
		x.wantOutage("ReadCalls", err)
		return errors.Is(err, broker.ErrUnavailable)
	})
	x.await("Stop returned ErrUnavailable", func() bool {
		err := n.tryStop(before)
		x.wantOutage("Stop", err)
		return errors.Is(err, broker.ErrUnavailable)
	})
	restore()
	for _, key := range keys {
		a := keyed("u", key)
		x.await("Attach worked again", func() bool {
			err := n.tryAttach(a)
			x.wantOutage("Attach", err)
			return err == nil
		})
		x.await("the outcome of a call was kept", func() bool {
			rec := n.readCalls(broker.CallRead{URI: "u", Key: a.Call.Key})[0]
			x.wantOutage("ReadCalls", rec.Err)
			return rec.State == broker.CallDone && string(rec.Result.Args) == key
		})
	}
	mu.Lock()
	defer mu.Unlock()
	for key, n := range runs {
		if n > 1 {
			x.errorf("the call %q ran %d times", key, n)
		}
	}
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
