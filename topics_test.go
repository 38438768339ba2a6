package juggler_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/jugglertest"
)

// A SUB that waits behind a hook is handled off the turn. The topic may have
// lost its last subscriber by the time the SUB is answered.
func TestSubscribeBehindAHookWhileOthersUnsubscribe(t *testing.T) {
	var first atomic.Bool
	connected, acquired, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	stop := func(_ context.Context, r *juggler.Request) (func(error) error, error) {
		return func(err error) error {
			if r.Session().User() == "ann" {
				close(acquired)
				<-release
			}
			return err
		}, nil
	}
	s := newServer(t, juggler.WithEventLoops(1), juggler.WithNonBlockingMiddleware(stop),
		juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
			return &juggler.Identity{User: r.Header.Get("User")}, nil
		}),
		juggler.WithHooks(juggler.Hooks{OnConnect: func(_ context.Context, s juggler.Session) {
			if s.User() == "ann" && first.CompareAndSwap(false, true) {
				<-connected
			}
		}}))
	bob := s.dialHeader("juggler.1", http.Header{"User": {"bob"}})
	bob.send(`{"type":"SUB","id":"1","channel":"c"}`)
	bob.expect(`{"type":"ACK","for":"1"}`)
	ann := s.dialHeader("juggler.1", http.Header{"User": {"ann"}})
	before := s.h.Stats().Messages
	ann.send(`{"type":"SUB","id":"1","channel":"c"}`)
	waitFor(t, "the SUB to be read", func() bool { return s.h.Stats().Messages > before })
	close(connected)
	<-acquired
	bob.send(`{"type":"UNSB","id":"2","channel":"c"}`)
	bob.expect(`{"type":"ACK","for":"2"}`)
	close(release)
	ann.expect(`{"type":"ACK","for":"1"}`)
	if err := s.h.Publish(t.Context(), "c", 7, nil); err != nil {
		t.Fatal(err)
	}
	ann.expect(`{"type":"EVNT","channel":"c","args":7}`)
}

// A SUB that was handed over and is not answered yet counts for the PUB behind
// it, also if the last subscriber of the shard left meanwhile.
func TestSubCountsThoughTheLastSubscriberLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settle, release := make(chan struct{}), make(chan struct{})
		subs := 0
		srv := jugglertest.New(t, juggler.WithEventLoops(1), juggler.WithLogger(blockingLogger(release)),
			juggler.WithMiddleware(func(next juggler.RequestHandler) juggler.RequestHandler {
				return func(ctx context.Context, r *juggler.Request) error {
					if r.Channel() == "refused" {
						return juggler.ErrForbidden
					}
					err := next(ctx, r)
					if r.Type() == frame.Sub {
						if subs++; subs == 2 {
							<-settle
						}
					}
					return err
				}
			}))
		first, second, third := dialIn(t, srv, "juggler.1", nil), dialIn(t, srv, "juggler.1", nil), dialIn(t, srv, "juggler.1", nil)
		first.send(`{"type":"SUB","id":"1","channel":"c"}`)
		first.expect(`{"type":"ACK","for":"1"}`)
		second.send(`{"type":"SUB","id":"1","channel":"c"}`)
		synctest.Wait() // it is handed over
		second.send(`{"type":"PUB","id":"2","channel":"c"}`)
		first.send(`{"type":"UNSB","id":"2","channel":"c"}`)
		first.expect(`{"type":"ACK","for":"2"}`)
		synctest.Wait() // nobody wants the turn
		third.send(`{"type":"PUB","id":"1","channel":"refused"}`)
		synctest.Wait() // the turn waits for the logger
		close(settle)
		synctest.Wait() // the event is there before the SUB is settled
		close(release)
		second.expect(`{"type":"ACK","for":"1"}`)
		second.expect(`{"type":"ACK","for":"2"}`)
		second.expect(`{"type":"EVNT","channel":"c"}`)
	})
}
