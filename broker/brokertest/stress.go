package brokertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// stressCases do many things at the same time.
var stressCases = []testCase{
	{"concurrent calls", "Rule 1: methods may be called concurrently. Each call not cancelled ends in a Result, its own.", rpc, func(x *trial) {
		const nodes, goroutines, calls = 2, 3, 60
		uris := []string{"a", "b", "c"}
		for i := range 3 {
			x.callee(x.process(), uris[i], uris[(i+1)%3]).serveWith(x, 3, 1+4*i)
		}
		var all []*node
		for range nodes {
			all = append(all, x.node(x.process()))
		}
		var mu sync.Mutex
		made := make(map[broker.Address]string)
		x.concurrently(nodes*goroutines, func(g int) {
			n := all[g%nodes]
			for i := range calls {
				uri := uris[rand.IntN(len(uris))]
				args := fmt.Sprint(g, i) + strings.Repeat(".", rand.IntN(300))
				x.retryFull(func() error {
					to, err := n.try(uri, args, longEnough)
					if err == nil && i%5 == 0 {
						err = n.conn.Cancel(context.Background(), uri, to)
					} else if err == nil {
						mu.Lock()
						defer mu.Unlock()
						made[to] = args
					}
					return err
				})
			}
		})
		for _, n := range all {
			x.await("each call was answered", func() bool {
				answers := n.answers()
				for to, args := range made {
					if got, ok := answers[to]; to.Node == n.id && (!ok || got != args) {
						return false
					}
				}
				return true
			})
		}
	}},
	{"callees come and go", "A call ends in a Result also while callees open and close: its own, or code 502.", rpc | grace, func(x *trial) {
		n := x.node(x.process())
		c := x.callee(x.process(), "u")
		stop := x.repeat(func(i int) {
			ended := c.serve(2, echoed)
			pass(time.Duration(i%4) * time.Millisecond)
			next := x.callee(x.process(), "u") // before, as the machine may be too slow for the grace
			c.close()
			<-ended
			c = next
		})
		for i := range 150 {
			switch r := n.result(n.call("u", fmt.Sprint(i))); {
			case r.Err != nil && r.Err.Code != broker.CodeCalleeLost:
				x.errorf("call %d ended in %+v", i, r.Err)
			case r.Err == nil && string(r.Args) != fmt.Sprint(i):
				x.errorf("call %d was answered with %q", i, r.Args)
			}
		}
		stop()
	}},
	{"concurrent events", "Rule 1: methods may be called concurrently. A subscription that stays gets each event once.", pubSub, func(x *trial) {
		const publishers, events = 3, 200
		topics := x.known(channel("c"), pattern("c*"))
		stays := x.subscriber(x.process(), topics...)
		churn := x.process()
		churning := func(k int) {
			s := x.subscriber(churn, x.known(channel("c"), pattern("c*"+strings.Repeat("*", k%3)))...)
			s.unsubscribe(channel("c"))
			if k%2 == 0 {
				s.subscribe(channel("c"))
			}
			s.close()
		}
		stops := []func() int{x.repeat(churning), x.repeat(churning)}
		x.concurrently(publishers, func(g int) {
			r := x.process()
			for i := range events {
				x.publish(r, "c", fmt.Sprint(g, " ", i))
			}
		})
		for _, stop := range stops {
			stop()
		}
		got := make(map[string]int)
		for _, d := range stays.exactly(len(topics) * publishers * events) {
			got[string(d.Event.Args)]++
		}
		for event, times := range got {
			if times != len(topics) {
				x.errorf("event %s arrived %d times for %d topics", event, times, len(topics))
			}
		}
	}},
	{"topics of one connection", "Rule 1: methods of a SubscriberConn may be called concurrently, for different topics.", pubSub, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process())
		const goroutines, topics = 4, 30
		x.concurrently(goroutines, func(g int) {
			for i := range topics {
				t := channel(fmt.Sprintf("c.%d.%d", g, i))
				s.subscribe(t)
				if i%3 == 0 {
					s.unsubscribe(t)
				}
				s.subscribe(x.known(pattern(fmt.Sprintf("p.%d.%d.*", g, i)))...)
			}
		})
		want := 0
		for g := range goroutines {
			for i := range topics {
				x.publish(r, fmt.Sprintf("c.%d.%d", g, i), "")
				x.publish(r, fmt.Sprintf("p.%d.%d.x", g, i), "")
				if i%3 != 0 {
					want++
				}
				want += len(x.known(pattern("p")))
			}
		}
		s.exactly(want)
	}},
}

// serveWith takes calls on one goroutine and answers them on several.
func (c *callee) serveWith(x *trial, workers, most int) {
	work := make(chan broker.Call)
	for range workers {
		go func() {
			for call := range work {
				c.checkReply(c.conn.Reply(context.Background(), []broker.Result{echoed(call)}))
			}
		}()
	}
	go func() {
		defer close(work)
		for {
			calls, err := c.tryTake(context.Background(), most)
			if err != nil {
				if !errors.Is(err, broker.ErrClosed) {
					x.errorf("Take: %v", err)
				}
				return
			}
			for _, call := range calls {
				work <- call
			}
		}
	}()
}

// answers returns the arguments of the first result of each call.
func (n *node) answers() map[broker.Address]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	first := make(map[broker.Address]string)
	for _, r := range n.results {
		if _, ok := first[r.To]; !ok {
			first[r.To] = string(r.Args)
		}
	}
	return first
}
