package brokertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// streamCases are about answers that come in parts.
var streamCases = []testCase{
	{"parts", "The parts of an answer arrive in order, none left out, as they were sent; the Result says how many there are.", rpc | streams, func(x *trial) {
		n, c := x.streamNode(x.process()), x.streamCallee(x.process(), "u")
		to := n.stream("u", wide)
		c.take()
		sent := []string{"", `"one"`, strings.Repeat("x", 100_000), "\x00\xff", "null"}
		for i := range 30 {
			sent = append(sent, fmt.Sprint(i))
		}
		for i, args := range sent {
			c.send(to, uint32(i+1), args)
		}
		c.finish(to, uint32(len(sent)))
		if r := n.result(to); r.Parts != uint32(len(sent)) {
			x.errorf("the result says that there are %d parts instead of %d", r.Parts, len(sent))
		}
		for i, p := range n.wantParts(to, sent...) {
			if p.Window != wide {
				x.errorf("part %d was sent with the window %v, and arrived with %v", i+1, wide, p.Window)
			}
			if p.From == (broker.ID{}) || p.From != n.partsOf(to)[0].From {
				x.errorf("part %d is from %v, those before from %v", i+1, p.From, n.partsOf(to)[0].From)
			}
		}
	}},
	{"window", "The Window of a Call reaches its callee; a call without one has none.", rpc | streams, func(x *trial) {
		n, c := x.streamNode(x.process()), x.streamCallee(x.process(), "u")
		for _, want := range []broker.Window{{Parts: 32, Bytes: 64 << 10}, {}, {Parts: 1, Bytes: 1}, {Parts: 1<<32 - 1, Bytes: 1 << 60}} {
			n.stream("u", want)
			call := c.take()
			if call.Window != want {
				x.errorf("a call was made with the window %v, and taken with %v", want, call.Window)
			}
			c.echo(call)
		}
	}},
	{"grant", "A Grant, repeated if it is lost, reaches the callee that has the call, or the call brings its window.", rpc | streams, func(x *trial) {
		n, c, other := x.streamNode(x.process()), x.streamCallee(x.process(), "u"), x.streamCallee(x.process(), "v")
		small, more := broker.Window{Parts: 1, Bytes: 10}, broker.Window{Parts: 7, Bytes: 1 << 40}
		before := n.stream("u", small)
		n.grant(broker.Grant{To: before, Window: more})
		brought := c.take().Window.Union(small)
		to := n.stream("u", small)
		c.take()
		c.send(to, 1, "1")
		c.send(before, 1, "1")
		for _, call := range []broker.Address{to, before} {
			from := n.awaitParts(call, 1)[0].From
			x.await("the callee knew a window that was granted again and again", func() bool {
				n.grant(broker.Grant{To: call, Callee: from, Window: more})
				return c.knows(call) == more || call == before && brought == more
			})
		}
		if !other.knows(to).IsZero() {
			x.errorf("a callee was told of a grant for a call that it had not taken")
		}
	}},
	{"grant nothing", "A Grant for a call that is unknown or over is ignored.", rpc | streams, func(x *trial) {
		n, c := x.streamNode(x.process()), x.streamCallee(x.process(), "u")
		n.grant(broker.Grant{To: n.address(), Window: wide})
		n.grant(broker.Grant{To: n.address(), Callee: newID(), Window: wide})
		to := n.stream("u", broker.Window{Parts: 1, Bytes: 1})
		c.take()
		c.send(to, 1, "1")
		from := n.awaitParts(to, 1)[0].From
		c.finish(to, 1)
		n.result(to)
		n.grant(broker.Grant{To: to, Callee: from, Window: wide})
		x.must("Grant of nothing", x.within(func(ctx context.Context) error { return n.conn.Grant(ctx, nil) }))
		next := n.stream("u", wide)
		c.take()
		c.send(next, 1, "next")
		n.wantParts(next, "next")
	}},
	{"part sent again", "A part that is sent again, for it may not have been stored, changes nothing.", rpc | streams, func(x *trial) {
		n, c := x.streamNode(x.process()), x.streamCallee(x.process(), "u")
		to := n.stream("u", wide)
		c.take()
		var sent []string
		for i := range 10 {
			args := fmt.Sprint("part ", i)
			for range 1 + i%3 {
				c.send(to, uint32(i+1), args)
			}
			sent = append(sent, args)
		}
		c.finish(to, 10)
		n.result(to)
		if got := n.wantParts(to, sent...); len(got) > len(sent) {
			x.errorf("%d parts arrived instead of %d", len(got), len(sent))
		}
	}},
	{"part of a call that is over", "SendPart returns ErrCallOver once no part is taken any more.", rpc | streams, func(x *trial) {
		n, c, other := x.streamNode(x.process()), x.streamCallee(x.process(), "u"), x.streamCallee(x.process(), "v")
		for _, tt := range []struct {
			what string
			end  func(to broker.Address)
		}{
			{"is answered", func(to broker.Address) { c.finish(to, 1) }},
			{"is cancelled", func(to broker.Address) { // again, as an engine may lose a cancellation
				x.await("the callee is told of the cancellation", func() bool {
					n.cancel("u", to)
					return c.toldOf(to)
				})
			}},
		} {
			to := n.stream("u", wide)
			c.take()
			c.send(to, 1, "1")
			tt.end(to)
			c.wantOver(to, 2, tt.what)
		}
		const short = 2 * time.Second
		taken := c.takeInTime(short, func() {
			x.must("Call", n.send(&broker.Call{URI: "u", ReplyTo: n.address(), Timeout: short, Window: wide}))
		})
		pass(short)
		c.wantOver(taken.ReplyTo, 1, "is past its time")

		to := n.stream("u", wide)
		c.take()
		for what, err := range map[string]error{
			"was never made":            c.trySend(n.address(), 1, "stray"),
			"another callee has taken":  other.trySend(to, 1, "stray"),
			"of a node that is unknown": c.trySend(broker.Address{Node: newID()}, 1, "stray"),
		} {
			if !errors.Is(err, broker.ErrCallOver) {
				x.errorf("SendPart for a call that %s returned %v", what, err)
			}
		}
		c.send(to, 1, "right")
		n.wantParts(to, "right")
	}},
	{"caller gone", "cancelled is told of calls with a Window whose caller is gone, and no part of them is taken any more.", rpc | streams, func(x *trial) {
		n, stays, c := x.streamNode(x.process()), x.streamNode(x.process()), x.streamCallee(x.process(), "u")
		kept := stays.stream("u", wide)
		c.take()
		for range 3 {
			n.stream("u", wide)
		}
		lost := c.takeAll(3, 3)
		for _, call := range lost {
			c.send(call.ReplyTo, 1, "1")
		}
		n.close()
		c.wantOver(lost[0].ReplyTo, 2, "has no caller any more")
		for _, call := range lost {
			x.await("the callee was told that the caller is gone", func() bool { return c.toldOf(call.ReplyTo) })
			c.wantOver(call.ReplyTo, 2, "has no caller any more")
		}
		if c.toldOf(kept) {
			x.errorf("the callee was told of a call whose caller is there")
		}
		c.send(kept, 1, "kept")
		stays.wantParts(kept, "kept")
	}},
	{"owner of a part", "Rule 3: the slices of a Part belong to the callee again when SendPart returns.", rpc | streams, func(x *trial) {
		n, c := x.streamNode(x.process()), x.streamCallee(x.process(), "u")
		to := n.stream("u", wide)
		c.take()
		var want []string
		for i := range 30 {
			args := fmt.Append(nil, "part ", i)
			want = append(want, string(args))
			p := broker.Part{To: to, N: uint32(i + 1), Args: args, Window: wide}
			x.must("SendPart", x.within(func(ctx context.Context) error { return c.conn.SendPart(ctx, &p) }))
			scribble(args)
		}
		n.wantParts(to, want...)
	}},
	{"parts for those who know none", "A callee and a node that know no parts go on beside those that do, with the Result alone.", rpc | streams, func(x *trial) {
		r := x.process()
		n, plain := x.streamNode(r), x.node(x.process())
		knows, old := x.streamCallee(x.process(), "u"), x.callee(x.process(), "old")
		to := n.stream("old", wide)
		old.echo(old.take())
		if result := n.result(to); result.Err != nil || result.Parts != 0 {
			x.errorf("a callee that knows no parts answered with %+v", result)
		}
		to = plain.call("u", "x")
		call := knows.take()
		if !call.Window.IsZero() {
			x.errorf("a call of a node that knows no parts was taken with the window %v", call.Window)
		}
		knows.echo(call)
		if result := plain.result(to); string(result.Args) != "x" {
			x.errorf("a callee that knows parts answered with %+v", result)
		}
	}},
	{"grant in parts", "Rule 5: a callback may call methods of the engine.", rpc | streams, func(x *trial) {
		n, c := x.streamNode(x.process()), x.streamCallee(x.process(), "u")
		n.setPartHook(func(p broker.Part) {
			more := broker.Grant{To: p.To, Callee: p.From, Window: broker.Window{Parts: p.N + 1, Bytes: 1 << 20}}
			err := x.within(func(ctx context.Context) error { return n.conn.Grant(ctx, []broker.Grant{more}) })
			if !errors.Is(err, broker.ErrClosed) { // as the case may end amid the last callback
				x.must("Grant", err)
			}
		})
		to := n.stream("u", broker.Window{Parts: 1, Bytes: 1 << 20})
		window := c.take().Window
		const parts = 10
		for i := uint32(1); i <= parts; i++ {
			if i > window.Parts {
				x.await("the caller took one part more", func() bool {
					if c.knows(to).Parts >= i {
						return true
					}
					c.send(to, i-1, fmt.Sprint(i-1)) // again: the grant may be lost
					return false
				})
			}
			c.send(to, i, fmt.Sprint(i))
		}
		n.awaitParts(to, parts)
	}},
	{"contexts of parts", "Rule 2: with a context that has ended, SendPart and Grant return its error or do what they do.", rpc | streams, func(x *trial) {
		n, c := x.streamNode(x.process()), x.streamCallee(x.process(), "u")
		to := n.stream("u", wide)
		c.take()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		x.wantContextError("SendPart", c.conn.SendPart(ended, &broker.Part{To: to, N: 1, Args: []byte("1")}))
		x.wantContextError("Grant", n.conn.Grant(ended, []broker.Grant{{To: to, Window: wide}}))
		c.send(to, 1, "1") // again
		c.send(to, 2, "2")
		n.wantParts(to, "1", "2")
	}},
	{"closed amid parts", "Rule 6: after Close, SendPart and Grant return ErrClosed. Calls whose callee closes end in 502.", rpc | streams, func(x *trial) {
		n, c := x.streamNode(x.process()), x.streamCallee(x.process(), "u")
		to := n.stream("u", wide)
		c.take()
		c.send(to, 1, "1")
		n.wantParts(to, "1")
		c.close()
		if r := n.result(to); r.Err == nil || r.Err.Code != broker.CodeCalleeLost {
			x.errorf("a call whose callee closed ended in %+v", r)
		}
		if err := c.trySend(to, 2, "2"); !errors.Is(err, broker.ErrClosed) {
			x.errorf("SendPart after Close returned %v", err)
		}
		n.close()
		if err := n.conn.Grant(context.Background(), []broker.Grant{{To: to, Window: wide}}); !errors.Is(err, broker.ErrClosed) {
			x.errorf("Grant after Close returned %v", err)
		}
	}},
	{"concurrent parts", "Rule 1: methods may be called concurrently. Each stream has its own parts, all of them, whatever happens to others.", rpc | streams, concurrentParts},
}

// concurrentParts has many streams at once: each third is cancelled, and nodes and callees
// come and go.
func concurrentParts(x *trial) {
	const callees, perNode, parts = 2, 6, 15
	for range callees {
		c := x.streamCallee(x.process(), "u")
		for range 3 {
			c.streamOut(parts)
		}
	}
	r := x.process()
	stop := x.repeat(func(int) {
		n, c := x.streamNode(r), x.streamCallee(r, "come and go")
		to := n.stream("come and go", wide)
		c.take()
		c.trySend(to, 1, "1")
		n.close()
		c.close()
	})
	nodes := []*streamNode{x.streamNode(x.process()), x.streamNode(x.process())}
	whole := make([][]broker.Address, len(nodes))
	x.concurrently(len(nodes), func(g int) {
		n := nodes[g]
		for i := range perNode {
			to := n.address()
			err := n.send(&broker.Call{URI: "u", ReplyTo: to, Timeout: longEnough, Window: wide})
			x.check("Call", err)
			x.check("Grant", n.conn.Grant(context.Background(), []broker.Grant{{To: to, Window: broker.Window{Parts: wide.Parts + 1, Bytes: wide.Bytes}}}))
			if i%3 == 0 {
				x.check("Cancel", n.conn.Cancel(context.Background(), "u", to))
			} else if err == nil {
				whole[g] = append(whole[g], to)
			}
		}
	})
	for g, n := range nodes {
		for _, to := range whole[g] {
			if res := n.result(to); res.Err != nil || res.Parts != parts {
				x.errorf("a stream ended in %+v", res)
			}
			for i, p := range n.awaitParts(to, parts) {
				if want := fmt.Sprintf("%x %d", to.Ref, i+1); string(p.Args) != want {
					x.errorf("part %d of the call %x is %q", i+1, to.Ref, p.Args)
				}
			}
		}
	}
	stop()
}

// streamOut takes calls and answers each in parts, on a goroutine of its own, until the
// callee closes. Its goroutines share one Take.
func (c *streamCallee) streamOut(parts uint32) {
	go func() {
		for {
			call, err := c.takeInTurn()
			if err != nil {
				return
			}
			for i := uint32(1); i <= parts; i++ {
				err := c.trySend(call.ReplyTo, i, fmt.Sprintf("%x %d", call.ReplyTo.Ref, i))
				if errors.Is(err, broker.ErrCallOver) || errors.Is(err, broker.ErrClosed) {
					break
				}
				c.x.check("SendPart", err)
			}
			c.checkReply(c.conn.Reply(context.Background(), []broker.Result{{To: call.ReplyTo, Parts: parts}}))
		}
	}()
}

// takeInTurn is Take of one call, for many goroutines.
func (c *streamCallee) takeInTurn() (broker.Call, error) {
	c.taking.Lock()
	defer c.taking.Unlock()
	calls, err := c.tryTake(context.Background(), 1)
	if err != nil {
		return broker.Call{}, err
	}
	return calls[0], nil
}
