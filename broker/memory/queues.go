package memory

import (
	"context"

	"github.com/juggler-go/juggler/broker"
)

var _ broker.QueueReader = (*Broker)(nil)

// mostQueues bounds what is read of queues at once, under the lock of all calls.
const mostQueues = 10_000

// ReadQueues implements [broker.QueueReader], for up to 10,000 URIs.
func (b *Broker) ReadQueues(context.Context) (queues []broker.Queue, all bool, err error) {
	r := &b.rpc
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, false, broker.ErrClosed
	}
	queues = make([]broker.Queue, 0, min(len(r.queues), mostQueues))
	for uri, q := range r.queues {
		if q.calls.len == 0 && len(q.callees) == 0 {
			continue
		}
		if len(queues) == mostQueues {
			return queues, false, nil
		}
		queues = append(queues, broker.Queue{URI: uri, Calls: q.calls.len, Callees: len(q.callees)})
	}
	return queues, true, nil
}
