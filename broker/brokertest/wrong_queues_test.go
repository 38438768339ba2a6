package brokertest_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/juggler-go/juggler/broker"
)

// Readers of queues that are wrong, each in one thing.
var wrongQueues = []wrongBroker{
	{"tells of no calls", []string{"queues"}, eachQueue(func(q *broker.Queue) { q.Calls = 0 }), nil},
	{"tells of a call that is gone", []string{"queues"}, eachQueue(func(q *broker.Queue) { q.Calls++ }), nil},
	{"tells of one callee", []string{"queues and callees"}, eachQueue(func(q *broker.Queue) { q.Callees = min(q.Callees, 1) }), nil},
	{"tells of a hundred URIs", []string{"queues and callees"}, toldQueues(func(queues []broker.Queue) []broker.Queue {
		slices.SortFunc(queues, func(a, b broker.Queue) int { return len(a.URI) - len(b.URI) })
		return queues[:min(len(queues), 100)]
	}), nil},
	{"tells of URIs twice", []string{"queues"}, toldQueues(func(queues []broker.Queue) []broker.Queue {
		return slices.Concat(queues, queues)
	}), nil},
	{"does not forget callees", []string{"queues and callees"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		most := make(map[string]broker.Queue)
		return &hooks{readQueues: func(_ context.Context, queues []broker.Queue) ([]broker.Queue, bool, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, q := range queues {
				q.Callees = max(q.Callees, most[q.URI].Callees)
				most[q.URI] = q
			}
			return slices.Collect(maps.Values(most)), true, nil
		}}
	}, nil},
	{"never tells of all", []string{"queues", "queues and callees"}, func(*testing.T) *hooks {
		return &hooks{readQueues: func(_ context.Context, queues []broker.Queue) ([]broker.Queue, bool, error) {
			return queues, false, nil
		}}
	}, nil},
	{"has an error of its own for the end of a context of ReadQueues", []string{"queues with an ended context"}, func(*testing.T) *hooks {
		return &hooks{readQueues: func(ctx context.Context, queues []broker.Queue) ([]broker.Queue, bool, error) {
			if ctx.Err() != nil {
				return nil, false, errors.New("interrupted")
			}
			return queues, true, nil
		}}
	}, nil},
}

// eachQueue bends a broker so that change changes what it tells of each URI.
func eachQueue(change func(*broker.Queue)) func(*testing.T) *hooks {
	return toldQueues(func(queues []broker.Queue) []broker.Queue {
		for i := range queues {
			change(&queues[i])
		}
		return queues
	})
}

// toldQueues bends a broker so that it tells what change returns.
func toldQueues(change func([]broker.Queue) []broker.Queue) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{readQueues: func(_ context.Context, queues []broker.Queue) ([]broker.Queue, bool, error) {
			return change(queues), true, nil
		}}
	}
}
