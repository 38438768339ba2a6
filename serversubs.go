package juggler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// User returns the channel of a user: one of the server's own (see [broker.OwnChannel]),
// which no client can name and no pattern matches. It means nothing by itself: give it in
// [Identity].Channels, and what is published on it reaches all sessions of the user, on all
// nodes.
func User(id string) string { return broker.OwnChannel("user:" + id) }

// Subscribe subscribes the session to a topic for the server: the client is told by SUBS,
// gets what is published from then on, and can neither refuse nor end it. The authorizer is
// not asked, and WithMaxSubscriptions does not count it. If the client has subscribed as
// well there is one subscription, which lasts until neither side wants it. That ends with
// the session: another one, also of the same client, begins without it.
//
// Subscribe returns nil once the session is subscribed. It waits for the broker, up to
// [WithBrokerTimeout], and for the session's event loop, so functions that must not wait
// may not call it; hooks may. Errors are those of [broker.SubscriberConn], the context's,
// [ErrSessionEnded], and for a client of juggler.0, which cannot be told, one that is
// [errors.ErrUnsupported]. After an error the session is not subscribed by this call.
func (s Session) Subscribe(ctx context.Context, t broker.Topic) error {
	if err := s.s.subscribeFor(ctx, []broker.Topic{t}, byCode); err != nil {
		return fmt.Errorf("juggler: subscribe a session to %q: %w", t.Name, err)
	}
	return nil
}

// Unsubscribe ends the session's subscription to a topic, whoever wants it, and tells the
// client why by UNSS: nil is code 403 without more. The client does not subscribe again by
// itself, unless the code is one that passes, such as 503; whether it may is for the
// authorizer to say. A SUB of the session that is on its way is refused with 503, so that
// the client asks again.
//
// It returns nil once that is so, also if the session has no such subscription or has
// ended; it waits for the session's event loop only. After an error, the context's, it is
// done soon. A session of juggler.0 that has the subscription is closed with 1012, as it
// cannot be told: its client comes back and subscribes again.
func (s Session) Unsubscribe(ctx context.Context, t broker.Topic, why *Error) error {
	e := errTakenAway
	if why != nil {
		e = s.s.shard.h.ownError(why)
	}
	err := s.s.shard.do(ctx, func(bool) {
		s.s.rightsEnd()
		if i := s.s.find(t); i >= 0 {
			s.s.endSubscription(i, e)
		}
	})
	if err != nil {
		return fmt.Errorf("juggler: unsubscribe a session from %q: %w", t.Name, err)
	}
	return nil
}

var errTakenAway = &Error{Code: CodeForbidden, Message: "the subscription was taken away"}

// do has f run on the shard's turn, and waits for it until ctx ends. If it does, f runs
// all the same, later, unless the handler is shut down.
func (sh *shard) do(ctx context.Context, f func(late bool)) error {
	var taken atomic.Bool // by the turn, or by who gives up
	done := make(chan struct{})
	sh.command(func() {
		defer close(done)
		f(!taken.CompareAndSwap(false, true))
	})
	err := ErrShutdown
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-sh.h.ctx.Done():
	}
	if taken.CompareAndSwap(false, true) {
		return err
	}
	<-done
	return nil
}

// subscribeFor subscribes s to topics for the server, off the turn: to all of them, unless
// there is an error.
func (s *session) subscribeFor(ctx context.Context, topics []broker.Topic, by wantedBy) error {
	joining, err := s.acquireAll(ctx, topics, by)
	if len(joining) == 0 {
		return err
	}
	var settled error
	late := s.shard.do(ctx, func(late bool) {
		if late {
			for _, r := range joining {
				r.err = context.Canceled
			}
		}
		for _, r := range joining {
			settled = errors.Join(settled, s.settleJoining(r))
			s.notify(r)
		}
	})
	if late != nil {
		return late
	}
	return settled
}

// acquireAll acquires topics, off the turn or where the broker never waits. Each of the
// requests that it returns has to be settled by settleJoining, also after an error, which
// all of them have then.
func (s *session) acquireAll(ctx context.Context, topics []broker.Topic, by wantedBy) ([]*Request, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	if s.protocol == frame.Juggler0 {
		return nil, fmt.Errorf("a client of juggler.0 cannot be told: %w", errors.ErrUnsupported)
	}
	joining := make([]*Request, 0, len(topics))
	for _, t := range topics {
		err := cmp.Or(checkTopic(t), ctx.Err())
		if err == nil {
			r := &Request{s: s, typ: frame.Subs, channel: t.Name, pattern: t.Pattern, by: by, received: time.Now()}
			err = s.shard.h.topics.acquire(ctx, r)
			joining = append(joining, r)
		}
		if err == nil {
			continue
		}
		if unclear(err) && ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", broker.ErrUnavailable, err) // what the broker was asked for is taken back
		}
		for _, r := range joining {
			r.err = err
		}
		return joining, err
	}
	return joining, nil
}

// checkTopic refuses what the server cannot subscribe a session to.
func checkTopic(t broker.Topic) error {
	name, own := broker.IsOwn(t.Name)
	switch most := option.ServerMaxNameBytes.Max; {
	case name == "":
		return &Error{Code: CodeBadRequest, Message: "empty channel"}
	case len(t.Name) > most:
		return &Error{Code: CodeBadRequest, Message: fmt.Sprintf("channel of %d bytes, more than %d", len(t.Name), most)}
	case !utf8.ValidString(t.Name):
		return &Error{Code: CodeBadRequest, Message: "channel is not UTF-8"}
	case own && t.Pattern:
		return &Error{Code: CodeBadRequest, Message: "no pattern matches the server's own channels"}
	}
	return nil
}

// settleJoining adds the topic of a request of acquireAll to those of the session, on the
// turn, and tells the client. It returns what it leaves in the request as its error.
func (s *session) settleJoining(r *Request) error {
	if r.err = s.subscribe(r); r.err != nil {
		return r.err
	}
	i := s.find(r.topic())
	if s.subs[i].by&told != 0 {
		return nil
	}
	s.setWanted(i, s.subs[i].by|told)
	f := topicFrame(frame.Subs, r.topic())
	if r.changed && r.history != nil {
		f.Pos = r.history.pos
	}
	s.tell(&f)
	return nil
}

// beginChannels subscribes a session that begins to the channels of its identity. Where the
// broker may wait, its queue does; otherwise it returns the requests, whose hooks are yet
// to be called. A session that cannot have them all ends.
func (s *session) beginChannels(topics []broker.Topic) (joined []*Request) {
	h := s.shard.h
	switch {
	case len(topics) == 0 || s.protocol == frame.Juggler0:
		return nil
	case !h.broker.topicsNeverWait:
		s.enqueueHook(func(ctx context.Context) {
			if err := s.subscribeFor(ctx, topics, byIdentity); err != nil && ctx.Err() == nil {
				s.shard.command(func() { s.endWithoutChannels(err) })
			}
		})
		return nil
	}
	joined, err := s.acquireAll(h.ctx, topics, byIdentity)
	for _, r := range joined {
		err = cmp.Or(err, s.settleJoining(r))
	}
	if err != nil {
		s.endWithoutChannels(err)
	}
	return joined
}

// endWithoutChannels ends a session that could not be subscribed to the channels of its
// identity.
func (s *session) endWithoutChannels(err error) {
	if s.state >= closing {
		return
	}
	h := s.shard.h
	h.log.Error("a session ends, since it cannot be subscribed to the channels of its identity", "session", idText(s.id), "error", err)
	e, _ := h.publicError(err, false)
	s.end(closeCode(e.Code), "cannot subscribe to the channels of the session")
}

// endSubscription ends a subscription, whoever wants it, and tells the client why.
func (s *session) endSubscription(i int, why *Error) {
	s.shard.h.stats.takenAway.Add(1)
	if s.protocol == frame.Juggler0 {
		s.end(frame.CloseRestart, "a subscription is not allowed any more")
		return
	}
	t := s.subs[i].topic.node.name
	s.removeSubscription(i, true)
	s.tellEnd(t, why)
	if f := s.shard.h.cfg.hooks.OnUnsubscribe; f != nil {
		s.enqueueHook(func(ctx context.Context) { f(ctx, Session{s}, t, EndedByServer) })
	}
}

// tellEnd tells the client that a subscription has ended. A SUB that came before is refused,
// as its ACK might come first.
func (s *session) tellEnd(t broker.Topic, why *Error) {
	s.rightsEnd()
	f := topicFrame(frame.Unss, t)
	f.Err = why.Body()
	s.tell(&f)
}

// errNotWanted is told with an UNSB, where the server's wish had ended before the client's.
var errNotWanted = &Error{Code: CodeForbidden, Message: "the server does not subscribe the session to it any more"}

// rightsEnd has the SUBs refused that are on their way: they may have been allowed before.
func (s *session) rightsEnd() {
	if s.queue != nil {
		s.queue.rights++
	}
}

// wantedBy returns who wants the session's subscription to a topic, none if it has none.
// It may be called off the turn.
func (s *session) wantedBy(t broker.Topic) wantedBy {
	mu := &s.shard.subsMu
	mu.Lock()
	defer mu.Unlock()
	for i := range s.subs {
		if s.subs[i].topic.node.name == t {
			return s.subs[i].by
		}
	}
	return 0
}

// topicFrame makes a message about a topic.
func topicFrame(typ frame.Type, t broker.Topic) frame.Frame {
	name, own := broker.IsOwn(t.Name)
	return frame.Frame{Type: typ, Channel: bytesOf(name), Own: own, Pattern: t.Pattern}
}

// tell sends what has its place among the events of the session.
func (s *session) tell(f *frame.Frame) {
	if s.state >= closing {
		return
	}
	if framed := wsconn.AppendText(nil, s.encode(f)); !s.queue.hold(framed, nil) {
		s.WriteRaw(framed)
	}
}

// serveReplay handles a SUB of a channel of the server's own: it needs no right but that
// the server has subscribed the session to it.
func (h *Handler) serveReplay(ctx context.Context, r *Request) {
	err := errNotSubscribed
	if r.s.wantedBy(r.topic())&byServer != 0 {
		err = h.topics.acquire(ctx, r)
	}
	r.err, r.accepted, r.unclear = err, err == nil, unclear(err)
}

// onlyReplays reports whether a SUB that the authorizer refuses asks for no more than what
// came before on a channel that the server has subscribed the session to.
func (r *Request) onlyReplays() bool {
	return r.typ == frame.Sub && r.history != nil && r.history.hasSince && r.s.wantedBy(r.topic())&byServer != 0
}

// mayReplay refuses a replay unless the server wants the subscription.
func (s *session) mayReplay(at int) error {
	if at < 0 || s.subs[at].by&byServer == 0 {
		return errNotSubscribed
	}
	return nil
}

var errNotSubscribed error = &Error{Code: CodeForbidden, Message: "the server has not subscribed this session to the channel"}
