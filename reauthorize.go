package juggler

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// Reauthorize asks the authorizer for each subscription of the session's client again, after
// what it goes by has changed. What it refuses now ends: the client is told by UNSS with the
// authorizer's error, and one of juggler.0 is closed with 1012. A SUB that is on its way is
// refused with 503, so that the client asks again. What the server wants, too, goes on; the
// authorizer is not asked for what only the server wants. A session that signs in as another
// user, or with other attributes, is treated so without a call.
//
// It returns nil once that is done, also if the session has ended; it waits for the
// authorizer and for the session's event loop, so functions that must not wait may not call
// it. The authorizer gets ctx; after its end Reauthorize returns its error, and some
// subscriptions may not have been looked at.
func (s Session) Reauthorize(ctx context.Context) error {
	sess := s.s
	if err := sess.reauthorize(ctx, func(bool) { sess.rightsEnd() }); err != nil {
		return fmt.Errorf("juggler: authorize a session anew: %w", err)
	}
	return nil
}

// ReauthorizeUser is [Session.Reauthorize] for the sessions of a user on this node.
func (h *Handler) ReauthorizeUser(ctx context.Context, user string) error {
	_, err := h.reauthorizeUser(ctx, user)
	return err
}

// reauthorizeUser is ReauthorizeUser. It returns how many sessions were looked at.
func (h *Handler) reauthorizeUser(ctx context.Context, user string) (sessions int, err error) {
	for s := range h.SessionsOf(user) {
		if err := s.Reauthorize(ctx); err != nil {
			return sessions, err
		}
		sessions++
	}
	return sessions, nil
}

// Reauthorize is [Session.Reauthorize] for all sessions of this node, such as after the
// rules were replaced. An authorizer that may block is asked for up to 16 sessions at a time.
func (h *Handler) Reauthorize(ctx context.Context) error {
	if h.cfg.authorizer == nil {
		return nil
	}
	for i := range h.shards {
		sh := h.shards[i].Load()
		if sh == nil {
			continue
		}
		if err := sh.do(ctx, func(bool) { sh.rightsEnd() }); err != nil {
			return fmt.Errorf("juggler: authorize all sessions anew: %w", err)
		}
	}
	h.reauthorizeAll(ctx, h.Sessions())
	if ctx.Err() != nil {
		return fmt.Errorf("juggler: authorize all sessions anew: %w", ctx.Err())
	}
	return nil
}

// reauthorizeAll reauthorizes sessions, whose SUBs that were on their way do not count
// any more.
func (h *Handler) reauthorizeAll(ctx context.Context, sessions iter.Seq[Session]) {
	atOnce := 1
	if !neverBlocks(h.cfg.authorizer) {
		atOnce = maxReauthorized
	}
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for s := range sessions {
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }() // also if the authorizer ends the goroutine
			_ = s.s.reauthorize(ctx, nil)
		})
	}
	all.Wait()
}

// maxReauthorized is how many sessions an authorizer that may block is asked for at once.
const maxReauthorized = 16

// rightsEnd is that of all sessions of the shard.
func (sh *shard) rightsEnd() {
	for _, s := range sh.slots {
		if s != nil {
			s.rightsEnd()
		}
	}
}

// reauthorize ends what the authorizer refuses now, off the turn, after it had first run
// on it.
func (s *session) reauthorize(ctx context.Context, first func(late bool)) error {
	refused, err := s.shard.h.refusedNow(ctx, s, first)
	if len(refused) == 0 {
		return err
	}
	return cmp.Or(s.shard.do(ctx, func(bool) { s.endRefused(refused) }), err)
}

// A refusedTopic is what the authorizer refuses, that allowed it before.
type refusedTopic struct {
	name broker.Topic
	to   *identity // who the session was when the authorizer was asked
	why  *Error
}

// refusedNow asks the authorizer for what the client of a session is subscribed to, off the
// turn. Before that it has first run on the turn, unless it is nil, so that each SUB that was
// allowed before either is settled or will be refused. Beside an error, of the context, it
// returns what was refused until then.
func (h *Handler) refusedNow(ctx context.Context, s *session, first func(late bool)) (refused []refusedTopic, err error) {
	if h.cfg.authorizer == nil {
		return nil, nil
	}
	if first != nil {
		if err := s.shard.do(ctx, first); err != nil {
			return nil, err
		}
	}
	for _, t := range s.topicsOfClient() {
		r := &Request{s: s, typ: frame.Sub, channel: t.Name, pattern: t.Pattern, received: time.Now()}
		who := s.identity.Load()
		no := h.authorize(ctx, r)
		switch {
		case no == nil:
			continue
		case ctx.Err() != nil:
			return refused, ctx.Err()
		}
		e, known := h.publicError(no, false)
		if !known {
			h.log.Error("a subscription ends, since the authorizer failed", "session", idText(s.id), "channel", t.Name, "error", no)
		}
		refused = append(refused, refusedTopic{t, who, e})
	}
	return refused, nil
}

// topicsOfClient returns what the client of s has subscribed to.
func (s *session) topicsOfClient() (topics []broker.Topic) {
	mu := &s.shard.subsMu
	mu.Lock()
	defer mu.Unlock()
	for i := range s.subs {
		if s.subs[i].by&byClient != 0 {
			topics = append(topics, s.subs[i].topic.node.name)
		}
	}
	return topics
}

// endRefused ends what the authorizer has refused, on the turn. Who has signed in as
// somebody else meanwhile was asked for again.
func (s *session) endRefused(refused []refusedTopic) {
	for _, no := range refused {
		i := s.find(no.name)
		switch {
		case i < 0 || s.state >= closing || !no.to.sameRights(s.identity.Load()):
		case s.subs[i].by&byServer != 0:
			s.unwant(i, byClient)
		case s.subs[i].by.onlyClient():
			s.endSubscription(i, no.why)
		}
	}
}
