package brokertest_test

import (
	"context"

	"github.com/juggler-go/juggler/broker"
)

func (b bentCaller) ReadQueues(ctx context.Context) (queues []broker.Queue, all bool, err error) {
	queues, all, err = b.next.(broker.QueueReader).ReadQueues(ctx)
	if b.h.readQueues != nil {
		return b.h.readQueues(ctx, queues)
	}
	return queues, all, err
}
