package memory_test

import (
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/kept"
	"github.com/juggler-go/juggler/internal/waiting"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	waiting.AtOnce(8)
	goleak.VerifyTestMain(m)
}

// The embedded broker keeps all rules of the contract.
func TestBroker(t *testing.T) {
	const grace, capacity = 200 * time.Millisecond, 64
	brokertest.Run(t, func(t *testing.T) brokertest.Engine {
		rule := broker.HistoryRule{Channels: "kept.*", Events: 16, For: time.Minute}
		b := newBroker(t, memory.WithCalleeGrace(grace), memory.WithQueueCapacity(capacity),
			memory.WithHistory(rule), memory.WithMaxHistoryBytes(64<<10))
		return brokertest.Engine{
			Open: func() brokertest.Roles {
				return brokertest.Roles{Caller: b, Callee: b, PubSub: b}
			},
			Grace:         grace,
			QueueCapacity: capacity,
			History:       rule,
			Rollback: func(channel string, newest int) {
				b.LoseKept(kept.Loss{Channel: channel, Newest: newest})
			},
			Unkept:   func(publish func([]byte)) { publish(make([]byte, 64<<10)) },
			Parallel: true,
		}
	})
}

// So it does without callee discovery.
func TestBrokerWithoutDiscovery(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Engine {
		b := newBroker(t, memory.WithoutCalleeDiscovery())
		return brokertest.Engine{
			Open: func() brokertest.Roles {
				return brokertest.Plain(brokertest.Roles{Caller: b, Callee: b})
			},
			Grace:    -1,
			Parallel: true,
		}
	})
}
