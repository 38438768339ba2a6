package redis

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// An op is one request on its way through a lane's writer: a call, a result,
// an event or any other command. Its outcome may be read once the waiter is
// done.
type op struct {
	kind    opKind
	urgent  bool          // to be sent before others that wait, as all that it is submitted with
	refuses bool          // of an outcome: it counts only if the call was never taken
	timeout uint32        // ms, of a call
	uri     string        // of a call; of an event its channel, with our prefix
	node    broker.ID     // of a result, an outcome or a part
	value   []byte        // of a call, result, outcome, part or event
	command *resp.Command // of a command

	err    error
	waiter *waiter
	entry  *outboxEntry // whose result it is; nil: of no outbox

	publication *publication // of an event on a channel that a rule keeps; others may have none
	keyed       *keyedOp     // of an attachment or a part of a call with a key
}

type opKind uint8

const (
	opCommand opKind = iota
	opCall
	opResult
	opPart
	opAttach // a call with a key is made or joined
	opCommit // the outcome of one
	opAppend // a part of the answer to one
	opEvent
	opKept  // an event on a channel that a rule keeps
	opRules // no op: the rules of history that a batch sets
)

// A waiter waits for a number of ops.
type waiter struct {
	left atomic.Int32
	done chan struct{}
}

func newWaiter(ops int) *waiter {
	w := &waiter{done: make(chan struct{})}
	w.left.Store(int32(ops))
	return w
}

// wait returns nil once all ops are done, or the error of ctx before.
func (w *waiter) wait(ctx context.Context) error {
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Size implements [conn.Request].
func (o *op) Size() int {
	if o.command != nil {
		return o.command.Size()
	}
	return len(o.value)
}

// Urgent implements [conn.Request].
func (o *op) Urgent() bool { return o.urgent }

// Finish implements [conn.Request].
func (o *op) Finish(err error) {
	o.err = err
	w := o.waiter // of this try: the entry may be retried at once
	if o.entry != nil {
		o.entry.finished(err)
	}
	if w.left.Add(-1) == 0 {
		close(w.done)
	}
}

// A bundle holds ops by lane: those of a lane are submitted, and so sent,
// together.
type bundle struct {
	size  int // ops, of all lanes
	parts []bundlePart
}

type bundlePart struct {
	lane *lane
	ops  []*op
}

func (b *bundle) add(l *lane, o *op) {
	i := slices.IndexFunc(b.parts, func(p bundlePart) bool { return p.lane == l })
	if i < 0 {
		i = len(b.parts)
		b.parts = append(b.parts, bundlePart{lane: l})
		if i == 0 { // as a rule there is no other
			b.parts[0].ops = make([]*op, 0, b.size)
		}
	}
	b.parts[i].ops = append(b.parts[i].ops, o)
}

func (b *bundle) submit() {
	for _, p := range b.parts {
		p.lane.writer.Submit(p.ops...)
	}
}
