package juggler_test

import (
	"context"
	"errors"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/jugglertest"
)

// A node is ready while its broker does its work and it does not shut down, also
// before the first client has come.
func TestReady(t *testing.T) {
	s := jugglertest.New(t)
	h := s.Handler
	if err := h.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
	s.Broker.Down()
	if err := h.Ready(t.Context()); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("without a broker: %v", err)
	}
	s.Broker.Up()
	if err := h.Ready(t.Context()); err != nil {
		t.Errorf("with the broker again: %v", err)
	}
	if err := h.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := h.Ready(t.Context()); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("after Shutdown: %v", err)
	}
}
