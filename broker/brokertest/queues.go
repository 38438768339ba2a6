package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/juggler-go/juggler/broker"
)

// queueCases are about the optional interface that tells what waits for which callees.
var queueCases = []testCase{
	{"queues", "ReadQueues tells of each URI how many calls wait for a callee, whoever made them: not those that were taken.", queues, func(x *trial) {
		r, nodes := x.process(), []*node{x.node(x.process()), x.node(x.process())}
		uris := []string{"a", "a b", "a:{b}:c*", "nul\x00", "\xff\xfe", "line\r\nbreak"}
		c := x.callee(x.process(), uris...)
		for i, uri := range uris {
			for range i { // none for the first
				nodes[i%2].call(uri, "")
				nodes[1-i%2].call(uri, "")
			}
		}
		waiting, idle := make([]broker.Queue, len(uris)), make([]broker.Queue, len(uris))
		for i, uri := range uris {
			waiting[i], idle[i] = broker.Queue{URI: uri, Calls: 2 * i, Callees: 1}, broker.Queue{URI: uri, Callees: 1}
		}
		x.awaitQueues(r, waiting...)
		for _, call := range c.takeAll(2*(1+2+3+4+5)-1, 4) {
			c.echo(call)
		}
		x.await("ReadQueues told of the one call that was not taken", func() bool { return callsOf(x.queues(r)) == 1 })
		c.take() // it is not answered
		x.awaitQueues(r, idle...)
	}},
	{"queues and callees", "ReadQueues tells of each URI how many callees it has, of all processes, however many URIs these have.", queues, func(x *trial) {
		r := x.process()
		if q := x.queues(r); len(q) > 0 {
			x.errorf("there is no callee, and there are %+v", q)
		}
		var many, some []string
		for i := range 150 {
			if many = append(many, fmt.Sprint("many.", i)); i%2 == 0 {
				some = append(some, many[i])
			}
		}
		// wantAll waits until the URIs of many have so many callees, every other one of them, and "few".
		wantAll := func(even, odd, few int) {
			want := []broker.Queue{{URI: "few", Callees: few}}
			for i, uri := range many {
				want = append(want, broker.Queue{URI: uri, Callees: []int{even, odd}[i%2]})
			}
			x.awaitQueues(r, want...)
		}
		all, same, half, few := x.callee(x.process(), many...), x.callee(x.process(), many...), x.callee(r, some...), x.callee(x.process(), "few", many[1])
		x.callee(r, "few")
		x.awaitQueues(r, broker.Queue{URI: many[1], Callees: 3})
		few.close()
		wantAll(3, 2, 1)
		same.close()
		wantAll(2, 1, 1)
		all.close()
		wantAll(1, 0, 1)
		half.close()
		wantAll(0, 0, 1)
	}},
	{"queues with an ended context", "Rule 2: with a context that has ended, methods return soon, done or not.", queues, func(x *trial) {
		r := x.process()
		x.callee(r, "u")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, _, err := r.Caller.(broker.QueueReader).ReadQueues(ctx)
		x.wantContextError("ReadQueues", err)
		x.awaitQueues(r, broker.Queue{URI: "u", Callees: 1})
	}},
	{"outage of queues", "While the engine is out of reach ReadQueues returns ErrUnavailable, or ErrUnknownOutcome, and does not say that it told of all.", queues | outage, func(x *trial) {
		r := x.process()
		x.callee(x.process(), "u")
		x.awaitQueues(r, broker.Queue{URI: "u", Callees: 1})
		restore := x.engine.Outage()
		x.await("ReadQueues returned ErrUnavailable", func() bool {
			_, all, err := x.tryQueues(r)
			x.wantOutage("ReadQueues", err)
			if all && err != nil {
				x.errorf("ReadQueues says that it told of all, and returned %v", err)
			}
			return errors.Is(err, broker.ErrUnavailable)
		})
		restore()
		x.await("ReadQueues told of the callee again", func() bool {
			read, all, err := x.tryQueues(r)
			x.wantOutage("ReadQueues", err)
			return err == nil && all && len(read) == 1 && read[0] == broker.Queue{URI: "u", Callees: 1}
		})
	}},
}

func (x *trial) tryQueues(r Roles) (read []broker.Queue, all bool, err error) {
	err = x.within(func(ctx context.Context) (err error) {
		read, all, err = r.Caller.(broker.QueueReader).ReadQueues(ctx)
		return err
	})
	return read, all, err
}

// queues reads all queues by their URIs, which must succeed.
func (x *trial) queues(r Roles) map[string]broker.Queue {
	read, all, err := x.tryQueues(r)
	x.must("ReadQueues", err)
	if !all {
		x.errorf("there are few URIs, and ReadQueues told of %d, not of all", len(read))
	}
	byURI := make(map[string]broker.Queue, len(read))
	for _, q := range read {
		if _, twice := byURI[q.URI]; twice {
			x.errorf("ReadQueues told twice of %q", q.URI)
		}
		byURI[q.URI] = q
	}
	return byURI
}

// awaitQueues waits until this is how it is with these URIs. One that is missing has nothing.
func (x *trial) awaitQueues(r Roles, want ...broker.Queue) {
	x.await(fmt.Sprintf("ReadQueues told %.300s", fmt.Sprintf("%+v", want)), func() bool {
		read := x.queues(r)
		return !slices.ContainsFunc(want, func(q broker.Queue) bool {
			got := read[q.URI]
			got.URI = q.URI
			return got != q
		})
	})
}

// callsOf returns how many calls wait in all.
func callsOf(read map[string]broker.Queue) (calls int) {
	for _, q := range read {
		calls += q.Calls
	}
	return calls
}
