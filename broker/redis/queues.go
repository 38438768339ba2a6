package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

var _ broker.QueueReader = (*Broker)(nil)

// What one command reads of the queues of a lane, so that it holds up others for a few
// milliseconds at most.
const (
	queuesAtOnce   = 1000
	queuesBytes    = 256 << 10
	calleesCounted = 1000
)

// ReadQueues implements [broker.QueueReader], for up to 1,000 URIs of each lane. It asks all
// lanes, at the same time; a lane that does not answer until ctx ends, or is out of reach, is
// an error beside what the others say.
func (b *Broker) ReadQueues(ctx context.Context) (queues []broker.Queue, all bool, err error) {
	ops := make([]*op, len(b.keys.tags))
	for i := range ops {
		l := b.lane(i)
		if l == nil {
			return nil, false, wrap("read", "queues", broker.ErrClosed)
		}
		c := queuesScript.On([]string{b.keys.uris(i)}, 64)
		c.AddNumber(queuesAtOnce)
		c.AddNumber(queuesBytes)
		c.AddNumber(calleesCounted)
		ops[i] = &op{command: c, waiter: newWaiter(1)}
		l.writer.Submit(ops[i])
	}
	all = true
	var errs []error
	for i, o := range ops {
		err := o.waiter.wait(ctx)
		if err == nil {
			err = o.err
		}
		whole := false
		if err == nil {
			queues, whole, err = appendQueues(queues, o.command.Reply.List)
		}
		if err != nil {
			errs = append(errs, wrap("read", fmt.Sprint("queues of lane ", i), err))
		}
		all = all && whole
	}
	return queues, all, errors.Join(errs...)
}

// appendQueues appends what queues.lua replied.
func appendQueues(queues []broker.Queue, reply []resp.Reply) (_ []broker.Queue, all bool, err error) {
	if len(reply)%3 != 1 {
		return queues, false, fmt.Errorf("%w: unexpected reply of queues.lua", broker.ErrUnavailable)
	}
	all = reply[0].Value != 0
	for r := reply[1:]; len(r) > 0; r = r[3:] {
		queues = append(queues, broker.Queue{URI: string(r[0].Text), Calls: int(r[1].Value), Callees: int(r[2].Value)})
	}
	return queues, all, nil
}
