package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// keyedPartCases are about what is kept of calls with keys, and how it is read.
var keyedPartCases = []testCase{
	{"parts that are kept", "The parts of a call with a key are kept as they were sent; each reader gets those behind the number it names, as many as it takes.", rpc | keyedCalls, func(x *trial) {
		n, other, c := x.keyedNode(x.process()), x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a := keyed("u", "k")
		a.Call.Window = broker.Window{Parts: 1, Bytes: 1}
		n.attach(a, broker.CallNew)
		to := c.take().ReplyTo
		if rec := n.read(a, 0); rec.First != 0 || len(rec.Parts) > 0 {
			x.errorf("before the first part the record says %+v", rec)
		}
		sent := []string{"1", `"two"`, strings.Repeat("x", 50_000), "\x00\xff", "null", "66", "777"}
		for i, args := range sent {
			c.send(to, uint32(i+1), args)
		}
		x.wantParts(n.read(a, 0), 1, sent)
		c.send(to, 7, "777") // again
		c.finish(to, 7)
		if rec := other.wantArgs(a, `"end"`); rec.Result.Parts != 7 {
			x.errorf("the outcome says that there are %d parts", rec.Result.Parts)
		}
		for after := range uint32(9) {
			read := broker.CallRead{URI: "u", Key: a.Call.Key, After: after, MaxParts: 1000, MaxBytes: 1 << 20}
			rest := sent[min(int(after), len(sent)):]
			x.wantParts(other.readOne(read), after+1, rest)
			read.MaxParts = 2
			x.wantParts(other.readOne(read), after+1, rest[:min(2, len(rest))])
			read.MaxParts = 0
			x.wantParts(other.readOne(read), after+1, nil)
			read.MaxParts, read.MaxBytes = 1000, 1
			x.wantParts(other.readOne(read), after+1, rest[:min(1, len(rest))])
		}
		read := broker.CallRead{URI: "u", Key: a.Call.Key, After: 3, MaxParts: 1000, MaxBytes: 8}
		x.wantParts(other.readOne(read), 4, []string{"\x00\xff", "null", "66"})
	}},
	{"trimmed parts", "Of parts that have more than MaxPartBytes the oldest go, and First says so.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a := keyed("u", "k")
		a.Call.Window, a.MaxPartBytes = wide, 100
		n.attach(a, broker.CallNew)
		to := c.take().ReplyTo
		var sent []string
		for i := range uint32(9) {
			sent = append(sent, strings.Repeat(fmt.Sprint(i), 30))
			c.send(to, i+1, sent[i])
			first := max(i+1, 3) - 2
			x.wantParts(n.read(a, 0), first, sent[first-1:])
			x.wantParts(n.read(a, i), i+1, sent[i:])
			if rec := n.read(a, i+1); rec.First != first || len(rec.Parts) > 0 {
				x.errorf("behind the last part the record says %+v", rec)
			}
		}
		c.send(to, 10, strings.Repeat("x", 99))
		x.wantParts(n.read(a, 3), 10, []string{strings.Repeat("x", 99)})
		c.finish(to, 10)
		x.wantParts(n.wantArgs(a, `"end"`), 10, []string{strings.Repeat("x", 99)})
	}},
	{"nobody paces", "The Window of a call with a key takes all parts. Only if who made it gave one, it has parts.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		with, without := keyed("u", "with"), keyed("u", "without")
		with.Call.Window = broker.Window{Parts: 1, Bytes: 1}
		n.attach(with, broker.CallNew)
		call := c.take()
		if !call.Window.Takes(broker.Window{Parts: 1 << 31, Bytes: 1 << 50}) {
			x.errorf("a call with a key was taken with the window %v", call.Window)
		}
		for i := range uint32(100) {
			c.send(call.ReplyTo, i+1, fmt.Sprint(i))
		}
		c.finish(call.ReplyTo, 100)
		if rec := n.wantArgs(with, `"end"`); len(rec.Parts) != 100 {
			x.errorf("%d parts are kept instead of 100", len(rec.Parts))
		}
		n.attach(without, broker.CallNew)
		later := keyed("u", "without")
		later.Call.Window = wide
		n.attach(later, broker.CallRunning)
		call = c.take()
		if !call.Window.IsZero() {
			x.errorf("a call that has no parts was taken with the window %v", call.Window)
		}
		if err := c.trySend(call.ReplyTo, 1, "1"); !errors.Is(err, broker.ErrCallOver) {
			x.errorf("SendPart for a call that has no parts returned %v", err)
		}
		c.echo(call)
		if rec := n.wantArgs(without, "without"); rec.First != 0 || len(rec.Parts) > 0 {
			x.errorf("the record of a call that has no parts says %+v", rec)
		}
	}},
	{"news", "All nodes that have attached are told news of a part and of the outcome, others are not.", rpc | keyedCalls, func(x *trial) {
		n, joined, other, c := x.keyedNode(x.process()), x.keyedNode(x.process()), x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a, b := keyed("u", "k"), keyed("u", "other")
		a.Call.Window = wide
		n.attach(a, broker.CallNew)
		other.attach(b, broker.CallNew)
		joined.attach(joining(a), broker.CallRunning)
		calls := c.takeAll(2, 2)
		to := calls[slices.IndexFunc(calls, func(call broker.Call) bool { return call.Key == a.Call.Key })].ReplyTo
		c.send(to, 1, "1")
		for _, n := range []*keyedNode{n, joined} {
			x.await("a node was told of a part", func() bool { return n.heard(a.Call.Key) > 0 })
		}
		heard := n.heard(a.Call.Key)
		c.finish(to, 1)
		x.await("a node was told of an outcome", func() bool { return n.heard(a.Call.Key) > heard })
		x.await("another was, too", func() bool { return joined.heard(a.Call.Key) > 1 })
		if other.heard(a.Call.Key)+n.heard(b.Call.Key)+joined.heard(b.Call.Key) > 0 {
			x.errorf("a node was told news of a key to which it had not attached")
		}
	}},
	{"news of what was never taken", "Nodes are told news of a call that is stopped in the queue.", rpc | keyedCalls, func(x *trial) {
		n, other := x.keyedNode(x.process()), x.keyedNode(x.process())
		x.streamCallee(x.process(), "u")
		a := keyed("u", "k")
		n.attach(a, broker.CallNew)
		other.stop(a)
		x.await("a node was told that a call is stopped", func() bool { return n.heard(a.Call.Key) > 0 })
	}},
	{"one instant", "A read never shows the outcome without all parts that came before it, nor parts with a hole.", rpc | keyedCalls, func(x *trial) {
		const calls, parts = 6, 20
		n, other, c := x.keyedNode(x.process()), x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		for range 2 {
			c.streamOut(parts)
		}
		x.concurrently(calls, func(g int) {
			reader := []*keyedNode{n, other}[g%2]
			a := keyed("u", fmt.Sprint(g))
			a.Call.Window = wide
			x.check("Attach", n.tryAttach(a))
			var last uint32
			done := false
			x.poll(func() bool {
				rec := reader.readCalls(broker.CallRead{URI: "u", Key: a.Call.Key, After: last, MaxParts: 1000, MaxBytes: 1 << 20})[0]
				x.check("ReadCalls", rec.Err)
				for _, p := range rec.Parts {
					if last++; p.N != last {
						x.errorf("part %d was read behind part %d", p.N, last-1)
					}
				}
				done = rec.State == broker.CallDone
				if done && (rec.Result.Parts != parts || last != parts) {
					x.errorf("the outcome was read with %d parts of %d; it says %d", last, parts, rec.Result.Parts)
				}
				return done
			})
			if !done {
				x.errorf("a call had no outcome in %v", x.patience)
			}
		})
	}},
	{"many reads", "ReadCalls answers each read for itself.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u", "v")
		done, running := keyed("u", "done"), keyed("v", "running")
		n.attach(done, broker.CallNew)
		c.echo(c.take())
		n.outcome(done)
		running.Call.Window = wide
		n.attach(running, broker.CallNew)
		c.send(c.take().ReplyTo, 1, "1")
		var reads []broker.CallRead
		for range 5 {
			for _, a := range []*broker.Attachment{done, keyed("u", "never"), running, keyed("nobody", "has")} {
				reads = append(reads, broker.CallRead{URI: a.Call.URI, Key: a.Call.Key, MaxParts: 10, MaxBytes: 100})
			}
		}
		for i, rec := range n.readCalls(reads...) {
			want := []broker.CallState{broker.CallDone, broker.CallGone, broker.CallRunning, broker.CallGone}[i%4]
			parts := []int{0, 0, 1, 0}[i%4]
			if rec.State != want || rec.Err != nil || len(rec.Parts) != parts || int(rec.First) != parts || rec.Late || (rec.Left > 0) != (rec.State == broker.CallRunning) && rec.State != broker.CallDone {
				x.errorf("read %d was answered with %+v, want the state %q", i, rec, want)
			}
		}
		if len(n.readCalls()) != 0 {
			x.errorf("no reads were answered")
		}
	}},
	{"owner of what is kept", "Rule 3: slices of an Attachment, a Part and a Result belong to their owners again; those of a record stay.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		var records []broker.CallRecord
		for i := range 10 {
			a := keyed("u", fmt.Sprint("call ", i))
			a.Call.Window, a.Call.Headers = wide, []byte(`{"a":"b"}`)
			n.attach(a, broker.CallNew)
			scribble(a.Call.Args, a.Call.Headers)
			n.attach(keyed("u", fmt.Sprint("call ", i)), broker.CallRunning)
			call := c.take()
			if string(call.Args) != fmt.Sprint("call ", i) || string(call.Headers) != `{"a":"b"}` {
				x.errorf("took the call %q with the headers %q", call.Args, call.Headers)
			}
			part, data, args := fmt.Append(nil, "part ", i), fmt.Append(nil, `"data `, i, `"`), fmt.Append(nil, "args ", i)
			x.must("SendPart", x.within(func(ctx context.Context) error {
				return c.conn.SendPart(ctx, &broker.Part{To: call.ReplyTo, N: 1, Args: part, Window: call.Window})
			}))
			scribble(part)
			result := broker.Result{To: call.ReplyTo, Args: args, Parts: 1}
			if i%2 == 1 {
				result.Err = &broker.Error{Code: 422, Data: data}
			}
			c.reply(result)
			c.flush()
			scribble(args, data)
			records = append(records, n.outcome(a))
		}
		for i, rec := range records {
			if len(rec.Parts) != 1 || string(rec.Parts[0].Args) != fmt.Sprint("part ", i) {
				x.errorf("the parts of record %d are %+v", i, rec.Parts)
			}
			if err := rec.Result.Err; i%2 == 1 && (err == nil || string(err.Data) != fmt.Sprint(`"data `, i, `"`)) {
				x.errorf("the error of record %d is %+v", i, err)
			}
			if i%2 == 0 && string(rec.Result.Args) != fmt.Sprint("args ", i) {
				x.errorf("the args of record %d are %q", i, rec.Result.Args)
			}
		}
	}},
	{"streams beside keyed calls", "A node that makes calls with keys makes all others, too, with their parts and grants.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		to := n.stream("u", broker.Window{Parts: 1, Bytes: 100})
		if call := c.take(); call.Window.Parts != 1 || !call.Key.IsZero() {
			x.errorf("took %+v", call)
		}
		c.send(to, 1, "1")
		from := n.wantParts(to, "1")[0].From
		x.await("the callee knew a window that was granted again and again", func() bool {
			n.grant(broker.Grant{To: to, Callee: from, Window: wide})
			return c.knows(to) == wide
		})
		c.send(to, 2, "2")
		c.finish(to, 2)
		n.wantParts(to, "1", "2")
		if r := n.result(to); r.Parts != 2 || string(r.Args) != `"end"` {
			x.errorf("the result is %+v", r)
		}
		cancelled := n.call("u", "x")
		c.take()
		x.await("the callee was told of a cancellation", func() bool {
			n.cancel("u", cancelled)
			return c.toldOf(cancelled)
		})
	}},
	{"contexts of keyed calls", "Rule 2: with a context that has ended, Attach, ReadCalls and Stop return its error or do what they do.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		a := keyed("u", "k")
		x.wantContextError("Attach", n.conn.Attach(ended, a))
		x.must("Attach", n.tryAttach(a))
		if call := c.take(); call.Key != a.Call.Key {
			x.errorf("took %+v", call)
		}
		read := broker.CallRead{URI: "u", Key: a.Call.Key}
		var records [1]broker.CallRecord
		n.conn.ReadCalls(ended, []broker.CallRead{read}, records[:])
		x.wantContextError("ReadCalls", records[0].Err)
		if records[0].Err == nil && records[0].State != broker.CallRunning {
			x.errorf("the record of a call that runs says %+v", records[0])
		}
		if err := n.conn.Stop(ended, "u", a.Call.Key); !errors.Is(err, broker.ErrCallGone) {
			x.wantContextError("Stop", err)
		} else {
			x.errorf("Stop returned %v", err)
		}
		n.stop(a)
		n.wantError(a, frame.CodeCancelled, false)
	}},
	{"closed amid keyed calls", "Rule 6: after Close, Attach, ReadCalls and Stop return ErrClosed, and no news are told.", rpc | keyedCalls, func(x *trial) {
		n, other, c := x.keyedNode(x.process()), x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a := keyed("u", "k")
		a.Call.Window = wide
		n.attach(a, broker.CallNew)
		to := c.take().ReplyTo
		c.send(to, 1, "1")
		n.close()
		for i := range uint32(20) {
			c.send(to, i+2, "more")
		}
		n.refused(a, broker.ErrClosed)
		n.refused(joining(a), broker.ErrClosed)
		if err := n.tryStop(a); !errors.Is(err, broker.ErrClosed) {
			x.errorf("Stop after Close returned %v", err)
		}
		if rec := n.readCalls(broker.CallRead{URI: "u", Key: a.Call.Key})[0]; !errors.Is(rec.Err, broker.ErrClosed) {
			x.errorf("ReadCalls after Close answered %+v", rec)
		}
		c.finish(to, 21)
		other.wantArgs(a, `"end"`)
	}},
	{"concurrent keyed calls", "Rule 1: methods may be called concurrently. Each key has one outcome, the same for all, whatever happens to others.", rpc | keyedCalls, concurrentKeyedCalls},
}

// wantParts checks the parts that were read, the first of which has a number.
func (x *trial) wantParts(rec broker.CallRecord, first uint32, want []string) {
	var got []string
	for i, p := range rec.Parts {
		if p.N != first+uint32(i) || p.To != (broker.Address{}) {
			x.errorf("part %d of those read has the number %d and the address %v; the first was to have %d", i, p.N, p.To, first)
		}
		got = append(got, string(p.Args))
	}
	if !slices.Equal(got, want) {
		x.errorf("read the parts %.200q instead of %.200q", got, want)
	}
}

// flush waits until the results that Reply took over are stored.
func (c *callee) flush() {
	if k, ok := c.conn.(broker.ResultKeeper); ok {
		c.x.must("Flush", c.x.within(k.Flush))
	}
}

// concurrentKeyedCalls has nodes attach to the same keys, in their own order. Of each three
// calls one is stopped; nodes and callees come and go.
func concurrentKeyedCalls(x *trial) {
	const callees, keys, parts = 2, 12, 5
	for range callees {
		c := x.streamCallee(x.process(), "u")
		for range 3 {
			c.streamOut(parts)
		}
	}
	r := x.process()
	stop := x.repeat(func(i int) {
		n, c := x.keyedNode(r), x.streamCallee(r, "come and go")
		a := keyed("come and go", fmt.Sprint(i))
		a.MaxOwned = 1 << 30
		n.attach(a, broker.CallNew)
		n.attach(a, broker.CallRunning)
		c.take()
		n.close()
		c.close()
	})
	nodes := []*keyedNode{x.keyedNode(x.process()), x.keyedNode(x.process()), x.keyedNode(x.process())}
	outcomes := make([][keys]broker.CallRecord, len(nodes))
	x.concurrently(len(nodes), func(g int) {
		n := nodes[g]
		for i := range keys {
			i = (i + g) % keys
			a := keyed("u", fmt.Sprint(i))
			a.Call.Window = wide
			x.check("Attach", n.tryAttach(a))
			if i%3 == 0 {
				x.check("Stop", n.tryStop(a))
			}
		}
		for i := range keys {
			a := keyed("u", fmt.Sprint(i))
			if !x.poll(func() bool {
				outcomes[g][i] = n.readCalls(broker.CallRead{URI: "u", Key: a.Call.Key})[0]
				return outcomes[g][i].State == broker.CallDone
			}) {
				x.errorf("a call had no outcome in %v", x.patience)
			}
		}
	})
	stop()
	for i := range keys {
		for g := range nodes {
			x.wantSameOutcome(outcomes[0][i], outcomes[g][i], i%3 != 0, parts)
		}
	}
}

// wantSameOutcome checks what two nodes have read of a key, whose call ran to its end for
// certain or not.
func (x *trial) wantSameOutcome(a, b broker.CallRecord, ran bool, parts uint32) {
	if !bytes.Equal(a.Result.Args, b.Result.Args) || a.Result.Parts != b.Result.Parts || (a.Result.Err == nil) != (b.Result.Err == nil) {
		x.errorf("one node has read the outcome %+v, another %+v", a.Result, b.Result)
	}
	if ran && (a.Result.Err != nil || a.Result.Parts != parts) {
		x.errorf("a call ended in %+v", a.Result)
	}
}
