package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/juggler-go/juggler/frame"
)

// Member is a user who is in a channel.
type Member struct {
	User     string
	Sessions int             // how many the user has there, 1 or more
	Info     json.RawMessage // what the server tells besides, or nil
}

// Decode unmarshals the Info into v.
func (m *Member) Decode(v any) error {
	if err := json.Unmarshal(m.Info, v); err != nil {
		return fmt.Errorf("juggler: member %s: %w", m.User, err)
	}
	return nil
}

// Here is who is in a channel, over all nodes of the server. Do not change its Members.
type Here struct {
	Count   int      // how many users
	Members []Member // all of them, by user; nil where they are more than the server lists
}

// HereChange is who is in a channel, and what that is against the HereChange before.
type HereChange struct {
	Here
	Joined []Member // who was not there before
	Left   []string // the users who are not there any more
}

// WithHere asks who is in the channel: the users whose sessions are subscribed to it, as the
// server says. See [Subscription.Here] and [Subscription.HereChanges].
//
// Subscribe fails with [ErrUnsupported] where the server does not tell that: it has no rule
// for the channel, or knows nobody.
func WithHere() SubscribeOption {
	return subscribeFunc(func(s *Subscription) { s.here = &hereNews{changed: make(chan struct{})} })
}

// Here returns who is in the channel. It is right a moment after somebody has come, and some
// seconds after somebody has left, as who comes back at once was never away. While there is
// no connection it is who was there last. ok is false without [WithHere], and where the server
// does not tell any more.
func (s *Subscription) Here() (h Here, ok bool) {
	now, _ := s.hereNow()
	if now == nil {
		return Here{}, false
	}
	return *now, true
}

// hereNow returns who is in the channel, if that is known, and what is closed when it changes.
func (s *Subscription) hereNow() (now *Here, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.here == nil {
		return nil, nil
	}
	return s.here.now, s.here.changed
}

// HereChanges is an iterator over who is in the channel of a subscription [WithHere]: first
// who is there, with nobody in Joined and Left, then that again whenever it has changed. It
// has no buffer: changes that come while the loop is busy are told as one. Joined and Left are
// empty where the members before, or now, are more than the server lists.
//
// It ends as [Subscription.Events] does, and may run beside that.
func (s *Subscription) HereChanges(ctx context.Context) iter.Seq2[HereChange, error] {
	return func(yield func(HereChange, error) bool) {
		if s.here == nil {
			yield(HereChange{}, fmt.Errorf("juggler: %s: %w: HereChanges: want a subscription WithHere", s.name, ErrInvalidOption))
			return
		}
		var told *Here
		for {
			now, changed := s.hereNow()
			err := s.Err()
			if err == nil {
				err = ctx.Err()
			}
			switch {
			case errors.Is(err, ErrUnsubscribed):
				return
			case err != nil:
				yield(HereChange{}, err)
				return
			case now != nil && now != told:
				if !yield(now.since(told), nil) {
					return
				}
				told = now
				continue
			}
			select {
			case <-changed:
			case <-s.done:
			case <-ctx.Done():
			}
		}
	}
}

// since compares h with the Here before.
func (h *Here) since(before *Here) HereChange {
	c := HereChange{Here: *h}
	if before == nil || before.Members == nil || h.Members == nil {
		return c
	}
	byUser := func(a, b Member) int { return cmp.Compare(a.User, b.User) }
	for _, m := range h.Members {
		if _, found := slices.BinarySearchFunc(before.Members, m, byUser); !found {
			c.Joined = append(c.Joined, m)
		}
	}
	for _, m := range before.Members {
		if _, found := slices.BinarySearchFunc(h.Members, m, byUser); !found {
			c.Left = append(c.Left, m.User)
		}
	}
	return c
}

// hereNews is what only a Subscription has that asks who is there; guarded by its mu.
type hereNews struct {
	now     *Here         // nil: not known
	changed chan struct{} // closed and replaced when now changes
}

// tell gives s, if it asks for that, who is there.
func (s *Subscription) tell(now *Here) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.here == nil || s.here.now == now {
		return
	}
	s.here.now = now
	close(s.here.changed)
	s.here.changed = make(chan struct{})
}

// presence is who is in the channel of a topic; guarded by topics.mu.
type presence struct {
	asked   bool  // by the latest SUB on the connection of the topic
	offered bool  // by the HELLO of that connection
	tells   *conn // whose HERE counts; nil: none

	members map[string]Member // nil: more than the server lists
	now     *Here             // what the subscriptions are told; nil: not known
}

// wantsHere reports whether a subscription to t asks who is there.
func (t *topic) wantsHere() bool {
	return slices.ContainsFunc(t.subs, func(s *Subscription) bool { return s.here != nil })
}

// askHere adds to a SUB for cn whether to tell who is there.
func (t *topic) askHere(cn *conn, f *frame.Frame) {
	t.here.asked, t.here.offered = t.wantsHere(), cn.hello.Here
	f.WantsHere = t.here.asked && t.here.offered
}

// hereBegins takes the ACK of a SUB.
func (t *topic) hereBegins(f *frame.Frame) {
	t.here.tells = t.on
	if !t.here.asked || !f.HasCount {
		t.here.members = nil
		t.tellHere(nil)
		return
	}
	t.hereIs(f)
}

// hereChanges takes a HERE of cn.
func (t *topic) hereChanges(cn *conn, f *frame.Frame) {
	if cn != t.here.tells || t.here.now == nil {
		return
	}
	switch {
	case f.Members != nil:
		t.hereIs(f)
		return
	case f.Joined == nil && f.Left == nil:
		t.here.members = nil
	case t.here.members != nil:
		t.here.join(f.Joined)
		for user := range frame.TextSeq(f.Left) {
			delete(t.here.members, user)
		}
	}
	t.tellHere(t.here.is(f))
}

// hereIs takes the whole list, or that it is too long.
func (t *topic) hereIs(f *frame.Frame) {
	t.here.members = nil
	if f.Members != nil {
		t.here.members = make(map[string]Member)
		t.here.join(f.Members)
	}
	t.tellHere(t.here.is(f))
}

// join notes who came, and who has changed.
func (p *presence) join(members []byte) {
	for m := range frame.MemberSeq(members) {
		p.members[m.User] = Member{m.User, m.Sessions, bytes.Clone(m.Info)}
	}
}

// is returns who is there now, as many as f says.
func (p *presence) is(f *frame.Frame) *Here {
	h := &Here{Count: f.Count}
	if !f.HasCount {
		h.Count = len(p.members)
	}
	if p.members != nil {
		h.Members = make([]Member, 0, len(p.members))
		h.Members = slices.AppendSeq(h.Members, maps.Values(p.members))
		slices.SortFunc(h.Members, func(a, b Member) int { return cmp.Compare(a.User, b.User) })
	}
	return h
}

// tellHere tells the subscriptions of t.
func (t *topic) tellHere(now *Here) {
	t.here.now = now
	for _, s := range t.subs {
		s.tell(now)
	}
}

// admit confirms s, with who is there if it asks for that. It ends s, and reports false,
// where the server does not tell. Where it has not been asked yet, s waits.
func (t *topic) admit(s *Subscription) bool {
	switch {
	case s.here == nil || s.confirmed:
	case t.here.asked && t.here.now != nil:
		s.tell(t.here.now)
	case t.here.asked && t.isThere():
		s.close(t.noHere())
		return false
	default:
		return true
	}
	s.confirm(t.place.pos)
	return true
}

// admitAll admits all subscriptions of t.
func (t *topic) admitAll() {
	t.subs = slices.DeleteFunc(t.subs, func(s *Subscription) bool { return !t.admit(s) })
}

// noHere says why it is not known who is in t.
func (t *topic) noHere() error {
	if !t.here.offered {
		return fmt.Errorf("%w: WithHere: the server does not tell who is in channels", ErrUnsupported)
	}
	return fmt.Errorf("%w: WithHere: the server does not tell who is in this channel", ErrUnsupported)
}

// refuseHere handles the NACK of a SUB that was sent only for who is there.
func (t *topic) refuseHere(err *Error) {
	t.here.asked = false
	t.subs = slices.DeleteFunc(t.subs, func(s *Subscription) bool {
		refused := s.here != nil && !s.confirmed
		if refused {
			s.close(err)
		}
		return refused
	})
}
