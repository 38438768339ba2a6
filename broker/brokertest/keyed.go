package brokertest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// briefly is for how long outcomes are kept that are to end within a case.
const briefly = time.Second

// keyedCases are about calls with keys: how they are made, and how they end.
var keyedCases = []testCase{
	{"keyed call", "The first Attach makes the call, which brings its key; all others join it, and all read the same outcome.", rpc | keyedCalls, func(x *trial) {
		a, b, c := x.keyedNode(x.process()), x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		made := keyed("u", "k")
		made.Call.Headers = []byte(`{"tenant":"a"}`)
		a.attach(made, broker.CallNew)
		b.attach(keyed("u", "k"), broker.CallRunning)
		took := c.take()
		if want := made.Call; took.URI != want.URI || took.Key != want.Key || !bytes.Equal(took.Headers, want.Headers) || !bytes.Equal(took.Args, want.Args) || took.Timeout > want.Timeout {
			x.errorf("made %+v, took %+v", want, took)
		}
		a.attach(keyed("u", "k"), broker.CallRunning)
		for _, n := range []*keyedNode{a, b} {
			if rec := n.read(made, 0); rec.State != broker.CallRunning || rec.Left <= 0 || rec.Left > made.Call.Timeout || rec.Late || rec.First != 0 || len(rec.Parts) > 0 {
				x.errorf("the record of a call that runs says %+v", rec)
			}
		}
		const ran = 1234567 * time.Microsecond
		c.reply(broker.Result{To: took.ReplyTo, Args: []byte(`"once"`), Ran: ran})
		for _, n := range []*keyedNode{a, b} {
			rec := n.wantArgs(made, `"once"`)
			if r := rec.Result; rec.Late || r.To != (broker.Address{}) || r.Ran != ran && r.Ran != 0 {
				x.errorf("the record of a call that is done says %+v", rec)
			}
			n.attach(keyed("u", "k"), broker.CallDone)
		}
		late := x.keyedNode(x.process())
		late.attach(keyed("u", "k"), broker.CallDone)
		late.wantArgs(made, `"once"`)
		if a.count()+b.count() > 0 {
			x.errorf("results of calls with keys were delivered")
		}
	}},
	{"keys apart", "Calls of another key, scope or URI are others. A call without a key has none.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u", "v")
		all := []*broker.Attachment{keyed("u", "k"), keyed("u", "l"), keyed("v", "k"), keyed("u", "k")}
		all[3].Call.Key = broker.NewCallKey("u", "other user", "k")
		for i, a := range all {
			a.Call.Args = fmt.Append(nil, i)
			n.attach(a, broker.CallNew)
		}
		for _, call := range c.takeAll(len(all), len(all)) {
			c.echo(call)
		}
		for i, a := range all {
			n.wantArgs(a, fmt.Sprint(i))
		}
		to := n.call("u", "plain")
		call := c.take()
		if !call.Key.IsZero() {
			x.errorf("a call without a key was taken with the key %v", call.Key)
		}
		c.echo(call)
		if r := n.result(to); string(r.Args) != "plain" {
			x.errorf("a call without a key ended in %+v", r)
		}
	}},
	{"other args", "Attach with other Args is ErrOtherArgs, while the call runs and when it is done, and changes nothing.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a, other := keyed("u", "k"), keyed("u", "k")
		other.Call.Args = []byte("K")
		n.attach(a, broker.CallNew)
		n.refused(other, broker.ErrOtherArgs)
		call := c.take()
		n.refused(other, broker.ErrOtherArgs)
		n.attach(joining(other), broker.CallRunning)
		c.echo(call)
		n.wantArgs(a, "k")
		n.refused(other, broker.ErrOtherArgs)
		n.attach(joining(other), broker.CallDone)
		empty, none := keyed("u", ""), keyed("u", "")
		empty.Call.Args, none.Call.Args = []byte{}, nil
		n.attach(empty, broker.CallNew)
		n.attach(none, broker.CallRunning)
	}},
	{"repeat", "With Repeat an Attach makes the call of a callee that was lost anew, in the next attempt, and what the first brings is ignored.", rpc | keyedCalls, func(x *trial) {
		n, first := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		again, other := keyed("u", "k"), keyed("u", "k")
		again.Repeat, other.Repeat, other.Call.Args = true, true, []byte("K")
		n.attach(again, broker.CallNew)
		n.attach(again, broker.CallRunning)
		if call := first.take(); call.Attempt != 1 {
			x.errorf("the first attempt is number %d", call.Attempt)
		}
		if rec := n.read(again, 0); rec.Attempt != 1 {
			x.errorf("the record of the first attempt says %+v", rec)
		}
		first.close()
		n.wantError(again, frame.CodeCalleeLost, false)
		second := x.streamCallee(x.process(), "u")
		n.attach(keyed("u", "k"), broker.CallDone)
		n.attach(joining(again), broker.CallDone)
		n.refused(other, broker.ErrOtherArgs)
		n.attach(again, broker.CallNew)
		call := second.take()
		if call.Attempt != 2 || call.Key != again.Call.Key {
			x.errorf("the second attempt is number %d, with the key %v", call.Attempt, call.Key)
		}
		if rec := n.read(again, 0); rec.Attempt != 2 {
			x.errorf("the record of the second attempt says %+v", rec)
		}
		second.echo(call)
		if rec := n.wantArgs(again, "k"); rec.Attempt != 2 {
			x.errorf("the record of the second attempt, which is done, says %+v", rec)
		}
		n.attach(again, broker.CallDone)
	}},
	{"repeat in time", "With Repeat an Attach makes a call anew whose time is over and that has no outcome; what it brings is ignored then.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		again := keyed("u", "k")
		again.Repeat, again.Call.Timeout = true, briefly
		n.attach(again, broker.CallNew)
		slow := c.take()
		x.await("the time of a call was over", func() bool { return n.read(again, 0).Left <= 0 })
		n.attach(keyed("u", "k"), broker.CallRunning)
		again.Call.Timeout = longEnough
		n.attach(again, broker.CallNew)
		c.reply(broker.Result{To: slow.ReplyTo, Args: []byte(`"late"`)})
		call := c.take()
		if call.Attempt != 2 {
			x.errorf("the second attempt is number %d", call.Attempt)
		}
		n.wantRunning(again)
		c.echo(call)
		n.wantArgs(again, "k")
	}},
	{"repeat what was refused", "An attempt that was never taken does not count, and the Args stay those of the attempt before, which was taken.", rpc | keyedCalls, func(x *trial) {
		n, first := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		again, other := keyed("u", "k"), keyed("u", "k")
		again.Repeat, other.Repeat, other.Call.Args = true, true, []byte("K")
		n.attach(again, broker.CallNew)
		first.take()
		first.close()
		n.wantError(again, frame.CodeCalleeLost, false)
		second := x.streamCallee(x.process(), "u")
		for range 2 {
			again.Call.Timeout = 200 * time.Millisecond
			n.attach(again, broker.CallNew)
			n.wantError(again, frame.CodeExpired, true)
			n.refused(other, broker.ErrOtherArgs)
		}
		again.Call.Timeout = longEnough
		n.attach(again, broker.CallNew)
		call := second.take()
		if call.Attempt != 2 {
			x.errorf("the second attempt that is taken is number %d", call.Attempt)
		}
		second.echo(call)
		n.wantArgs(again, "k")
	}},
	{"join", "An Attach that joins never makes a call: without a record it is ErrCallGone.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a := keyed("u", "k")
		n.refused(joining(a), broker.ErrCallGone)
		if rec := n.read(a, 0); rec.State != broker.CallGone || rec.Left != 0 {
			x.errorf("the record of a call that was never made says %+v", rec)
		}
		n.attach(a, broker.CallNew)
		x.keyedNode(x.process()).attach(joining(a), broker.CallRunning)
		call := c.take()
		n.attach(joining(a), broker.CallRunning)
		c.echo(call)
		n.wantArgs(a, "k")
		n.attach(joining(a), broker.CallDone)
	}},
	{"time of an outcome", "An outcome is kept for Keep from when it is stored; a call that runs does not end by it.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		ends, runs := keyed("u", "ends"), keyed("u", "runs")
		ends.Keep, runs.Keep = briefly, briefly
		n.attach(runs, broker.CallNew)
		running := c.take()
		n.attach(ends, broker.CallNew)
		call := c.take()
		begun := time.Now()
		c.echo(call)
		n.outcome(ends)
		x.await("an outcome ended", func() bool {
			rec := n.read(ends, 0)
			const rounding = 20 * time.Millisecond
			if kept := time.Since(begun); rec.State != broker.CallDone && kept < briefly-rounding {
				x.fatalf("an outcome that was to be kept for %v ended after %v", briefly, kept)
			}
			return rec.State == broker.CallGone
		})
		n.refused(joining(ends), broker.ErrCallGone)
		n.attach(ends, broker.CallNew)
		n.wantRunning(runs)
		c.echo(running)
		n.wantArgs(runs, "runs")
	}},
	{"errors are outcomes", "An error of the callee is an outcome as it is, and not one of a call that was never taken.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		for i, sent := range []*broker.Error{
			{Code: 422, Message: "not a number: \"ä\"\n\x00", Data: []byte(`{"at":1}`), RetryAfter: 250 * time.Millisecond},
			{Code: frame.CodeInternal},
			{Code: frame.CodeExpired, Message: "refused elsewhere", Refused: true},
			broker.ErrUnserved,
		} {
			a := keyed("u", fmt.Sprint(i))
			n.attach(a, broker.CallNew)
			c.reply(broker.Result{To: c.take().ReplyTo, Err: sent})
			got := n.outcome(a).Result.Err
			if got == nil || got.Code != sent.Code || got.Message != sent.Message || got.RetryAfter != sent.RetryAfter || !bytes.Equal(got.Data, sent.Data) || got.Refused {
				x.errorf("the callee sent %+v, %+v is kept", sent, got)
			}
			n.attach(a, broker.CallDone)
		}
	}},
	{"first outcome", "The first outcome counts, and stays: later results and stops are ignored.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		twice, stopped, late := keyed("u", "twice"), keyed("u", "stopped"), keyed("u", "late")
		for _, a := range []*broker.Attachment{twice, stopped, late} {
			n.attach(a, broker.CallNew)
		}
		calls := c.takeAll(3, 3)
		c.echo(calls[0])
		n.wantArgs(twice, "twice")
		c.reply(broker.Result{To: calls[0].ReplyTo, Args: []byte("second")})
		n.stop(stopped)
		n.wantError(stopped, frame.CodeCancelled, false)
		c.echo(calls[1])
		c.echo(calls[2])
		n.wantArgs(late, "late")
		n.stop(late)
		n.wantArgs(twice, "twice")
		n.wantError(stopped, frame.CodeCancelled, false)
		n.wantArgs(late, "late")
	}},
	{"results of an earlier call", "A result that comes when the record has ended does not count for a later call with the same key.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a := keyed("u", "k")
		a.Keep = briefly
		a.Call.Window = wide
		n.attach(a, broker.CallNew)
		earlier := c.take()
		n.stop(a)
		n.awaitGone(a)
		n.attach(a, broker.CallNew)
		later := c.take()
		if later.ReplyTo == earlier.ReplyTo {
			x.errorf("two calls have the same address")
		}
		if err := c.trySend(earlier.ReplyTo, 1, "stray"); !errors.Is(err, broker.ErrCallOver) {
			x.errorf("SendPart for the earlier call returned %v", err)
		}
		c.reply(broker.Result{To: earlier.ReplyTo, Args: []byte("stray")})
		n.wantRunning(a)
		c.send(later.ReplyTo, 1, "right")
		c.finish(later.ReplyTo, 1)
		if rec := n.wantArgs(a, `"end"`); len(rec.Parts) != 1 || string(rec.Parts[0].Args) != "right" {
			x.errorf("the later call has the parts %v", rec.Parts)
		}
	}},
	{"late outcome", "When the time of a call is over no time is Left, and its outcome is kept all the same, as a late one.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		var a *broker.Attachment
		tries := 0
		call := c.takeInTime(time.Second, func() {
			tries++
			a = keyed("u", fmt.Sprint("k", tries))
			a.Call.Timeout = time.Second
			n.attach(a, broker.CallNew)
		})
		left := n.read(a, 0).Left
		x.await("no time was left", func() bool {
			rec := n.read(a, 0)
			if rec.State != broker.CallRunning || rec.Left > left {
				x.fatalf("the record says %+v, before %v were left", rec, left)
			}
			left = rec.Left
			return left <= 0
		})
		x.keyedNode(x.process()).attach(keyed("u", string(call.Args)), broker.CallRunning)
		c.echo(call)
		if rec := n.wantArgs(a, string(call.Args)); !rec.Late {
			x.errorf("the record of a late outcome says %+v", rec)
		}
		n.attach(keyed("u", string(call.Args)), broker.CallDone)
	}},
	{"time over in the queue", "A call whose time is over before it is taken ends refused with 408; Attach makes it anew, with other Args if it likes.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a := keyed("u", "k")
		a.Call.Timeout = 200 * time.Millisecond
		n.attach(a, broker.CallNew)
		n.wantError(a, frame.CodeExpired, true)
		x.keyedNode(x.process()).attach(joining(a), broker.CallDone)
		x.wantAnew(n, c, "k")
	}},
	{"stopped in the queue", "A call that is stopped before it is taken is never taken, and ends refused with 499; Attach makes it anew.", rpc | keyedCalls, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a := keyed("u", "k")
		n.attach(a, broker.CallNew)
		x.keyedNode(x.process()).stop(a)
		n.wantError(a, frame.CodeCancelled, true)
		n.attach(joining(a), broker.CallDone)
		x.wantAnew(n, c, "k")
	}},
	{"unserved keyed call", "A call that waits when the grace is over ends refused with 404; Attach makes it anew.", rpc | keyedCalls | discovery | grace, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a := keyed("u", "k")
		n.attach(a, broker.CallNew)
		c.close()
		n.wantError(a, broker.CodeNoCallee, true)
		n.refused(a, broker.ErrNoCallee)
		x.wantAnew(n, x.streamCallee(x.process(), "u"), "k")
	}},
	{"callee of a keyed call gone", "A call whose callee closes ends in 502, which is kept: it is not run again.", rpc | keyedCalls, func(x *trial) {
		n, other, c := x.keyedNode(x.process()), x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a := keyed("u", "k")
		n.attach(a, broker.CallNew)
		n.attach(keyed("u", "l"), broker.CallNew)
		c.takeAll(2, 2)
		n.close() // whose node it was does not matter
		c.close()
		for _, key := range []string{"k", "l"} {
			other.wantError(keyed("u", key), broker.CodeCalleeLost, false)
			other.attach(joining(keyed("u", key)), broker.CallDone)
		}
		again := x.streamCallee(x.process(), "u")
		other.attach(keyed("u", "k"), broker.CallDone)
		other.attach(keyed("u", "new"), broker.CallNew)
		if call := again.take(); string(call.Args) != "new" {
			x.errorf("the call %q ran again", call.Args)
		}
	}},
	{"caller of a keyed call gone", "A call goes on when the node that made it closes; another gets its parts and outcome.", rpc | keyedCalls, func(x *trial) {
		n, other, c := x.keyedNode(x.process()), x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		taken, queued := keyed("u", "taken"), keyed("u", "queued")
		taken.Call.Window, queued.Call.Window = wide, wide
		n.attach(taken, broker.CallNew)
		first := c.take()
		n.attach(queued, broker.CallNew)
		n.close()
		second := c.take()
		other.attach(joining(taken), broker.CallRunning)
		other.attach(keyed("u", "queued"), broker.CallRunning)
		for _, call := range []broker.Call{first, second} {
			c.send(call.ReplyTo, 1, "part")
			c.finish(call.ReplyTo, 1)
			if c.toldOf(call.ReplyTo) {
				x.errorf("the callee was told that nobody wants the call any more")
			}
		}
		for _, a := range []*broker.Attachment{taken, queued} {
			if rec := other.wantArgs(a, `"end"`); len(rec.Parts) != 1 {
				x.errorf("the record of a call that was made elsewhere says %+v", rec)
			}
		}
	}},
	{"stop", "Stop ends a call for all with 499, and its callee is told. One without a record is ErrCallGone.", rpc | keyedCalls, func(x *trial) {
		n, other, c := x.keyedNode(x.process()), x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a, stays := keyed("u", "k"), keyed("u", "stays")
		a.Call.Window = wide
		if err := n.tryStop(a); !errors.Is(err, broker.ErrCallGone) {
			x.errorf("Stop of a call that was never made returned %v", err)
		}
		n.attach(a, broker.CallNew)
		n.attach(stays, broker.CallNew)
		calls := c.takeAll(2, 2)
		c.send(calls[0].ReplyTo, 1, "1")
		other.stop(a)
		n.wantError(a, frame.CodeCancelled, false)
		other.wantError(a, frame.CodeCancelled, false)
		x.await("the callee was told that its call is stopped", func() bool { return c.toldOf(calls[0].ReplyTo) })
		c.wantOver(calls[0].ReplyTo, 2, "is stopped")
		other.stop(a)
		n.attach(keyed("u", "k"), broker.CallDone)
		c.echo(calls[0])
		c.echo(calls[1])
		n.wantArgs(stays, "stays")
		if c.toldOf(calls[1].ReplyTo) {
			x.errorf("the callee was told of a call that was not stopped")
		}
	}},
	{"too many keys", "An owner has at most MaxOwned records, whoever makes them, until they end; joining takes none.", rpc | keyedCalls, func(x *trial) {
		n, other, c := x.keyedNode(x.process()), x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		few := func(key string) *broker.Attachment {
			a := keyed("u", key)
			a.MaxOwned, a.Keep = 3, briefly
			return a
		}
		for _, key := range []string{"1", "2", "3"} {
			n.attach(few(key), broker.CallNew)
		}
		other.refused(few("4"), broker.ErrTooManyKeys)
		n.refused(joining(few("4")), broker.ErrCallGone)
		other.attach(few("3"), broker.CallRunning)
		foreign := few("5")
		foreign.Owner = broker.NewCallKey("u", "other user", "")
		n.attach(foreign, broker.CallNew)
		calls := c.takeAll(4, 4)
		c.echo(calls[0])
		n.outcome(few("1"))
		n.refused(few("4"), broker.ErrTooManyKeys)
		n.awaitGone(few("1"))
		n.attach(few("4"), broker.CallNew)
		n.refused(few("6"), broker.ErrTooManyKeys)
	}},
	{"attached at once", "Of many who attach at once one makes the call, which is taken once, and all read its outcome.", rpc | keyedCalls, func(x *trial) {
		const keys, each = 5, 3
		nodes := []*keyedNode{x.keyedNode(x.process()), x.keyedNode(x.process()), x.keyedNode(x.process())}
		c := x.streamCallee(x.process(), "u")
		for key := range keys {
			made := make([]bool, len(nodes)*each)
			x.concurrently(len(made), func(g int) {
				a := keyed("u", fmt.Sprint(key))
				x.check("Attach", nodes[g/each].tryAttach(a))
				made[g] = a.State == broker.CallNew
			})
			if n := strings.Count(fmt.Sprint(made), "true"); n != 1 {
				x.errorf("%d made the call", n)
			}
		}
		for range keys {
			call := c.take()
			c.reply(broker.Result{To: call.ReplyTo, Args: call.Key[:]})
		}
		for key := range keys {
			for _, n := range nodes {
				a := keyed("u", fmt.Sprint(key))
				n.wantArgs(a, string(a.Call.Key[:]))
			}
		}
		nodes[0].attach(keyed("u", "last"), broker.CallNew)
		if call := c.take(); string(call.Args) != "last" {
			x.errorf("the call %q was taken twice", call.Args)
		}
	}},
	{"no callee for a keyed call", "An Attach that is ErrNoCallee leaves no record.", rpc | keyedCalls | discovery, func(x *trial) {
		n := x.keyedNode(x.process())
		a := keyed("u", "k")
		a.MaxOwned = 1
		n.refused(a, broker.ErrNoCallee)
		n.refused(joining(a), broker.ErrCallGone)
		x.wantGone(n, a)
		x.streamCallee(x.process(), "u")
		n.attach(a, broker.CallNew)
	}},
	{"full queue for a keyed call", "An Attach that is ErrQueueFull leaves no record.", rpc | keyedCalls | capacity, func(x *trial) {
		n, c := x.keyedNode(x.process()), x.streamCallee(x.process(), "u")
		a := keyed("u", "k")
		a.MaxOwned = 1
		x.fill(n.node, "u")
		n.refused(a, broker.ErrQueueFull)
		n.refused(joining(a), broker.ErrCallGone)
		x.wantGone(n, a)
		c.takeAll(x.engine.QueueCapacity, x.engine.QueueCapacity)
		x.await("there was room in the queue", func() bool {
			err := n.tryAttach(a)
			if err != nil && !errors.Is(err, broker.ErrQueueFull) {
				x.fatalf("Attach returned %v", err)
			}
			return err == nil
		})
		if a.State != broker.CallNew {
			x.errorf("Attach set the state %q", a.State)
		}
	}},
}

// wantGone checks that nothing is kept of a call.
func (x *trial) wantGone(n *keyedNode, a *broker.Attachment) {
	if rec := n.read(a, 0); rec.State != broker.CallGone {
		x.errorf("of a call that was not made the record says %+v", rec)
	}
}

// wantAnew makes a call anew whose key has a record of a call that was never taken. c takes
// the new one only.
func (x *trial) wantAnew(n *keyedNode, c *streamCallee, key string) {
	anew := keyed("u", key)
	anew.Call.Args = []byte("anew")
	n.attach(anew, broker.CallNew)
	n.attach(keyed("u", "behind"), broker.CallNew)
	for _, want := range []string{"anew", "behind"} {
		call := c.take()
		if string(call.Args) != want {
			x.errorf("took the call %q, not %q", call.Args, want)
		}
		c.echo(call)
	}
	n.wantArgs(anew, "anew")
	n.attach(anew, broker.CallDone)
}
