package jugglertest_test

import (
	"errors"
	"testing"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

// What an application does without its broker: calls are refused, and a
// subscription learns afterwards that it may have missed events.
func ExampleBroker_Down() {
	_ = testOutage // func TestOutage(t *testing.T)
}

func testOutage(t *testing.T) {
	srv := jugglertest.New(t)
	c := srv.Client()
	sub, err := c.Subscribe(t.Context(), "news")
	if err != nil {
		t.Fatal(err)
	}
	srv.Broker.Down()
	if err := c.Call(t.Context(), "math.add", []int{1, 2}, nil); !errors.Is(err, client.CodeUnavailable) {
		t.Errorf("a call without a broker: %v", err)
	}
	srv.Broker.Up()
	if e, err := sub.Next(t.Context()); err != nil || !e.Gap {
		t.Errorf("got %+v, %v, want a gap", e, err)
	}
}
