package redis

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A keyedOp is what an op has of a call with a key besides.
type keyedOp struct {
	to broker.Address // of its record
	n  uint32         // of a part

	// Of an attachment.
	key     broker.CallKey
	join    bool
	repeat  bool
	args    [16]byte // a hash of them
	node    broker.ID
	keep    time.Duration
	bytes   int // of parts that are kept; 0: none
	owned   int // records that the owner may have
	outcome broker.CallState
}

// hashOfArgs returns what tells the arguments of two calls with one key apart.
func hashOfArgs(args []byte) [16]byte {
	sum := sha256.Sum256(args)
	return [16]byte(sum[:])
}

// attachEach makes groups of the attachments.
func (b *batcher) attachEach(ops []*op) {
	for _, o := range ops {
		if o.kind == opAttach {
			b.groups = append(b.groups, group{kind: opAttach, command: b.attach(o), sets: [][]*op{{o}}})
		}
	}
}

// attach returns the command that makes or joins a call with a key.
func (b *batcher) attach(o *op) *resp.Command {
	keys, index, k, config := b.lane.broker.keys, b.lane.index, o.keyed, &b.lane.broker.config
	names := []string{keys.keyed(index, k.to.Node), keys.keyedParts(index, k.to.Node), keys.keyedOwner(index, k.to.Ref)}
	names = b.appendURI(names, o.uri)
	c := attachScript.On(append(names, keys.watch(index)), len(o.value)+256)
	c.AddNumber(int64(config.queueCapacity))
	c.AddNumber(digit(config.discovery))
	c.AddText(b.bunches[o.uri])
	c.AddNumber(digit(k.join))
	c.AddBytes(k.key[:])
	c.AddBytes(k.args[:])
	c.AddBytes(k.node[:])
	c.AddNumber(int64(o.timeout))
	c.AddNumber(max(k.keep.Milliseconds(), 1))
	c.AddNumber(int64(k.bytes))
	c.AddNumber(int64(k.owned))
	c.AddBytes(o.value)
	if k.repeat {
		c.AddBytes(lostOutcome)
	} else {
		c.AddText("")
	}
	return c
}

// lostOutcome is how the value of an outcome goes on behind the address if the callee was lost.
var lostOutcome = encodeResult(&broker.Result{Err: broker.ErrCalleeLost})[1+len(broker.Address{}.Ref):]

// What attach.lua returns besides what push.lua does.
var (
	attachStates = [...]broker.CallState{broker.CallGone, broker.CallNew, broker.CallRunning, broker.CallDone}
	attachErrors = map[int64]error{0: broker.ErrCallGone, -5: broker.ErrOtherArgs, -6: broker.ErrTooManyKeys}
)

// finishAttach reads the reply of attach.lua.
func (b *batcher) finishAttach(g *group) (again []*op, reason error) {
	set, reply := g.sets[0], g.command.Reply.List
	if len(reply) != 2 || int(reply[0].Value) >= len(attachStates) {
		finishSet(set, fmt.Errorf("%w: unexpected reply of attach.lua", broker.ErrUnknownOutcome), 0)
		return nil, nil
	}
	code, more := reply[0].Value, reply[1]
	switch err := attachErrors[code]; {
	case err != nil:
		finishSet(set, err, 0)
	case code > 0:
		if set[0].keyed.outcome = attachStates[code]; code == 1 {
			b.lane.broker.stats.calls.Add(1)
		}
		finishSet(set, nil, 0)
	case code == -4:
		finishSet(set, broker.ErrQueueFull, time.Duration(more.Value)*time.Millisecond)
	default:
		if err := b.notQueued(set, code, more); err != nil {
			return set, err
		}
	}
	return nil, nil
}

// commit returns the command that stores outcomes of calls with keys.
func (b *batcher) commit(sets [][]*op, size int) *resp.Command {
	keys, index := b.lane.broker.keys, b.lane.index
	var names []string
	for _, set := range sets {
		for _, o := range set {
			names = append(names, keys.keyed(index, o.node), keys.keyedParts(index, o.node), keys.keyedOwner(index, refOf(o.value)))
		}
	}
	c := commitScript.On(names, size)
	for _, set := range sets {
		for _, o := range set {
			c.AddNumber(digit(o.refuses))
			c.AddBytes(o.value)
		}
	}
	return c
}

// refOf returns the second half of the address in the value of a result.
func refOf(value []byte) [16]byte { return [16]byte(value[1:17]) }

// finishCommits reads the reply of commit.lua. An outcome that is not the first is done,
// too.
func (b *batcher) finishCommits(g *group) {
	b.eachKeyed(g, func(o *op, code int64, more []byte) {
		if code > 0 {
			b.lane.broker.stats.results.Add(1)
			b.lane.broker.news.tell(more)
		}
		o.Finish(nil)
	})
}

// append returns the command that stores parts of answers to calls with keys.
func (b *batcher) append(sets [][]*op, size int) *resp.Command {
	keys, index := b.lane.broker.keys, b.lane.index
	var names []string
	for _, set := range sets {
		for _, o := range set {
			names = append(names, keys.keyed(index, o.node), keys.keyedParts(index, o.node))
		}
	}
	c := appendScript.On(names, size)
	for _, set := range sets {
		for _, o := range set {
			c.AddBytes(o.keyed.to.Ref[:])
			c.AddNumber(int64(o.keyed.n))
			c.AddBytes(o.value)
		}
	}
	return c
}

// finishAppends reads the reply of append.lua.
func (b *batcher) finishAppends(g *group) (again []*op, reason error) {
	b.eachKeyed(g, func(o *op, code int64, more []byte) {
		switch {
		case code > 0:
			b.lane.broker.stats.parts.Add(1)
			b.lane.broker.news.tell(more)
			o.Finish(nil)
		case code == 0:
			o.Finish(broker.ErrCallOver)
		default:
			if err := b.refused([]*op{o}, more); err != nil {
				again, reason = append(again, o), err
			}
		}
	})
	return again, reason
}

// eachKeyed goes through the two values for each op in the reply of a script.
func (b *batcher) eachKeyed(g *group, finish func(o *op, code int64, more []byte)) {
	reply := g.command.Reply.List
	for _, set := range g.sets {
		for _, o := range set {
			if len(reply) < 2 {
				o.Finish(fmt.Errorf("%w: unexpected reply of a script", broker.ErrUnknownOutcome))
				continue
			}
			finish(o, reply[0].Value, reply[1].Text)
			reply = reply[2:]
		}
	}
}

// commitAll stores an error as the outcome of calls with keys of the lane, and reports
// whether that is done. refuses: it counts only for those that were never taken.
func (l *lane) commitAll(ctx context.Context, calls []broker.Address, failure *broker.Error, refuses bool) bool {
	if len(calls) == 0 {
		return true
	}
	w := newWaiter(len(calls))
	ops := make([]*op, len(calls))
	for i, to := range calls {
		ops[i] = &op{kind: opCommit, node: to.Node, value: encodeResult(&broker.Result{To: to, Err: failure}), refuses: refuses, waiter: w}
	}
	l.writer.Submit(ops...)
	if w.wait(ctx) != nil {
		return false
	}
	for _, o := range ops {
		if o.err != nil {
			return false
		}
	}
	return true
}
