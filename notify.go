package juggler

import (
	"context"

	"github.com/juggler-go/juggler/frame"
)

// notify has the hook of a request that was acknowledged run.
func (s *session) notify(r *Request) {
	hooks := &s.shard.h.cfg.hooks
	t := r.topic()
	switch {
	case r.typ == frame.Sub && hooks.OnSubscribe != nil:
		s.enqueueHook(func(ctx context.Context) { hooks.OnSubscribe(ctx, Session{s}, t) })
	case r.typ == frame.Unsb && hooks.OnUnsubscribe != nil:
		s.enqueueHook(func(ctx context.Context) { hooks.OnUnsubscribe(ctx, Session{s}, t) })
	case r.typ == frame.Auth && hooks.OnSignIn != nil:
		s.enqueueHook(func(ctx context.Context) { hooks.OnSignIn(ctx, Session{s}) })
	}
}
