package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/memory"
)

// queueBroker tells what a test says of its queues.
type queueBroker struct {
	*memory.Broker
	told []broker.Queue
	err  error
}

func (b *queueBroker) ReadQueues(context.Context) ([]broker.Queue, bool, error) {
	return slices.Clone(b.told), b.err == nil, b.err
}

func TestQueues(t *testing.T) {
	m, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want := []broker.Queue{{URI: "b", Calls: 7, Callees: 0}, {URI: "a", Calls: 7, Callees: 1}, {URI: "e", Calls: 1, Callees: 9}, {URI: "c", Callees: 2}, {URI: "d", Callees: 2}}
	for _, failure := range []error{nil, broker.ErrUnavailable} {
		b := &queueBroker{m, []broker.Queue{want[3], want[1], want[4], want[2], want[0]}, failure}
		h, err := juggler.New(juggler.WithBroker(b), juggler.WithAuthorizer(juggler.AllowAll()), juggler.WithLogger(quiet))
		if err != nil {
			t.Fatal(err)
		}
		got, all, err := h.Queues(t.Context())
		if fmt.Sprint(got) != fmt.Sprint(want) || all != (failure == nil) || !errors.Is(err, failure) {
			t.Errorf("%v, %v, %v", got, all, err)
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestQueuesOfAnotherBroker(t *testing.T) {
	m, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	plain := brokertest.Plain(brokertest.Roles{Caller: m, PubSub: m})
	h, err := juggler.New(juggler.WithCaller(plain.Caller), juggler.WithPubSub(plain.PubSub), juggler.WithAuthorizer(juggler.AllowAll()), juggler.WithLogger(quiet))
	if err != nil {
		t.Fatal(err)
	}
	if queues, all, err := h.Queues(t.Context()); len(queues) > 0 || all || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, %v, %v", queues, all, err)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
