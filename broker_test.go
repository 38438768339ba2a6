package juggler_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/jugglertest"
)

// alteredBroker is the embedded broker, without what is optional of it and
// with other behaviour where a field is set.
type alteredBroker struct {
	brokerCaller
	brokerCallee
	brokerPubSub
	call    func(context.Context, *broker.Call) error
	open    func(context.Context) error
	publish func(context.Context) error
}

func newAlteredBroker(t *testing.T) *alteredBroker {
	t.Helper()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	p := brokertest.Plain(brokertest.Roles{Caller: b, Callee: b, PubSub: b})
	return &alteredBroker{brokerCaller: p.Caller, brokerCallee: p.Callee, brokerPubSub: p.PubSub}
}

func (b *alteredBroker) OpenCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	if b.open != nil {
		if err := b.open(ctx); err != nil {
			return nil, err
		}
	}
	conn, err := b.brokerCaller.OpenCaller(ctx, node, deliver)
	if err != nil || b.call == nil {
		return conn, err
	}
	return &alteredCaller{conn, b.call}, nil
}

func (b *alteredBroker) Publish(ctx context.Context, e *broker.Event) error {
	if b.publish != nil {
		if err := b.publish(ctx); err != nil {
			return err
		}
	}
	return b.brokerPubSub.Publish(ctx, e)
}

type alteredCaller struct {
	broker.CallerConn
	call func(context.Context, *broker.Call) error
}

func (c *alteredCaller) Call(ctx context.Context, call *broker.Call) error { return c.call(ctx, call) }

// A broker that does not answer holds up neither a handshake for ever nor
// Shutdown beyond its context.
func TestBrokerThatDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAlteredBroker(t)
		b.open = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		h, err := juggler.New(juggler.WithBroker(b), juggler.WithBrokerTimeout(10*time.Second), juggler.WithLogger(quiet))
		if err != nil {
			t.Fatal(err)
		}
		try := func() int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, upgrade(jugglertest.URL))
			return w.Code
		}
		start := time.Now()
		if status := try(); status != http.StatusServiceUnavailable || time.Since(start) > 11*time.Second {
			t.Errorf("got %d after %v", status, time.Since(start))
		}
		done := make(chan int)
		for range 10 {
			go func() { done <- try() }()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if err := h.Shutdown(ctx); time.Since(start) > 2*time.Second {
			t.Errorf("Shutdown took %v: %v", time.Since(start), err)
		}
		for range 10 {
			if status := <-done; status != http.StatusServiceUnavailable {
				t.Errorf("got %d", status)
			}
		}
	})
}
