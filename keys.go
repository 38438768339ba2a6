package juggler

import (
	"context"
	"fmt"

	"github.com/juggler-go/juggler/broker"
)

// A client gives a PUB a key, so that it may send the same once more where it does not know
// what became of the first. A key belongs to its channel and its user.

// mayUseKeys reports whether the PUBs of s may have keys.
func (s *session) mayUseKeys() bool {
	return s.shard.h.broker.history != nil && Session{s}.User() != ""
}

// makeKey fills in what the broker gets of the key of a PUB. It runs where the PUB is sent,
// as an AUTH before it may change the user.
func (r *Request) makeKey() error {
	r.brokerKey = ""
	if len(r.key) == 0 {
		return nil
	}
	user := r.Session().User()
	if user == "" {
		return &Error{Code: CodeForbidden, Message: "a key needs a user, and this session has none"}
	}
	if history := r.s.shard.h.broker.history; history != nil && history.Kept(r.channel) {
		r.brokerKey = broker.KeyOf(user, string(r.key))
		return nil
	}
	if r.again { // and nobody can tell whether the first one was published
		return &Error{Code: CodeInternal, Message: "outcome unknown: no rule keeps the events of this channel, so a key means nothing"}
	}
	return nil
}

// hasKey reports whether the key of r counts.
func (r *Request) hasKey() bool { return r.brokerKey != "" }

// publication returns what the broker gets of a PUB whose key it minds.
func (r *Request) publication() broker.Publication {
	return broker.Publication{Event: r.brokerEvent, Key: r.brokerKey}
}

// publishKept sends publications to the broker, with their keys. The node must not be
// behind.
func (h *Handler) publishKept(ctx context.Context, publications []broker.Publication, done []broker.Published) {
	h.stats.publications.Add(uint64(len(publications)))
	h.broker.history.PublishKept(ctx, publications, done)
	for i := range done {
		if done[i].Repeated {
			h.stats.repeated.Add(1)
		}
		done[i].Err = publishOutcome(done[i].Err)
	}
}

// PublishKeyed is [Handler.Publish] of what may have been published before, with the same
// key: after an error that leaves open what became of the first, or from an outbox whose
// worker was restarted. Within [broker.KeyLife] of the first publication on the channel
// with this key, another one with the same args is not published, and Repeated is true. A
// key has 1 to 64 bytes of UTF-8 (400). It is the application's: no client's key is the
// same.
//
// Errors are those of Publish, and [broker.ErrKeyConflict] if the first one had other args,
// and [broker.ErrNotKept] if no rule of the broker keeps the channel: it minds no keys there.
// The position is of use for logs only: what came before is not known to have arrived.
func (h *Handler) PublishKeyed(ctx context.Context, key, channel string, args any, headers map[string]string) (broker.Published, error) {
	if h.closing.Load() {
		return broker.Published{}, ErrShutdown
	}
	p, err := broker.NewPublication(key, channel, args, headers)
	if err == nil {
		err = h.checkSize(&p.Event)
	}
	if err == nil {
		err = h.behind()
	}
	switch history := h.broker.history; {
	case err != nil:
	case history == nil || !history.Kept(channel):
		err = broker.ErrNotKept
	default:
		ctx, cancel := context.WithTimeout(ctx, h.cfg.brokerTimeout)
		defer cancel()
		var done [1]broker.Published
		h.publishKept(ctx, []broker.Publication{p}, done[:])
		if err = done[0].Err; err == nil {
			return done[0], nil
		}
	}
	return broker.Published{}, fmt.Errorf("juggler: publish on %s: %w", channel, err)
}
