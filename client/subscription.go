package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/glob"
)

// ID is the id of a publication: 16 bytes of a ULID.
type ID [16]byte

// String returns the 26 characters of the ULID.
func (id ID) String() string { return string(frame.AppendULID(nil, id)) }

// Event is a publication, or the notice of a gap, for one subscription. An
// event that several subscriptions of a client receive shares its Args and
// Headers: do not change them.
type Event struct {
	// ID is that of the publication; all subscriptions it matches get the
	// same. A publication made with juggler.0 has the UUID of its PUB.
	ID ID

	Channel string // that was published on; empty for a Gap of a pattern
	Pattern string // that matched; empty for the subscription of a channel

	Args    json.RawMessage // any JSON; nil if the publication had none
	Headers map[string]string

	// Gap says that events of this subscription may have been missed before
	// this point: the connection of the client, or of the server to its
	// broker, was lost meanwhile, and the server does not keep the events that
	// are missing. The application should read its state anew.
	// All other fields are zero then, but Pattern for the subscription of a
	// pattern, and Channel and Pos for that of a channel.
	Gap bool

	// Pos is where the channel stood after the event, or where it goes on after a Gap;
	// for [Since]. It is zero where that is not known: for a pattern, and where the
	// server keeps no events.
	Pos Position
}

// Position is where a channel stands whose events the server keeps. Its String is for an
// application that stores it, and [ParsePosition] reads that.
type Position = frame.Position

// ParsePosition reads what the String of a Position has written; ok is false for any other
// text, and for that of the zero Position.
func ParsePosition(text string) (p Position, ok bool) { return frame.ParsePosition(text) }

// Decode unmarshals the Args into v.
func (e *Event) Decode(v any) error {
	if err := json.Unmarshal(e.Args, v); err != nil {
		return fmt.Errorf("juggler: event on %s: %w", e.Channel, err)
	}
	return nil
}

// SubscribeOption configures one [Subscription].
type SubscribeOption interface{ applySubscribe(*Subscription) }

type subscribeFunc func(*Subscription)

func (f subscribeFunc) applySubscribe(s *Subscription) { f(s) }

// Pattern subscribes to all channels that match the name, a glob in the syntax
// of Redis (PSUBSCRIBE). [QuotePattern] is for parts of it that stand for themselves.
func Pattern() SubscribeOption { return subscribeFunc(func(s *Subscription) { s.pattern = true }) }

// QuotePattern returns a pattern that matches a name only: for what a pattern contains that
// somebody else has chosen, such as the name of a user.
//
//	c.Subscribe(ctx, "users."+client.QuotePattern(user)+".*", client.Pattern())
func QuotePattern(name string) string { return glob.Quote(name) }

// WithBuffer sets how many events the subscription buffers; see
// [WithEventBuffer] for the default and [WithStallTimeout] for what happens
// when it is full.
func WithBuffer(events int) SubscribeOption {
	return subscribeFunc(func(s *Subscription) { s.limit = events })
}

// Last asks for the newest n events of a channel that the server keeps, 1 to 1,000,000, before
// those to come. There are fewer if fewer are kept, and none where the server keeps nothing.
//
// Subscriptions of a client to one channel share what the server sends. Hence it is an error
// if the client has another one to the channel; one that comes later gets what is left.
func Last(n int) SubscribeOption {
	return subscribeFunc(func(s *Subscription) {
		if n < 1 || n > frame.MaxLast {
			s.err = fmt.Errorf("%w: Last(%d): want 1 to %d", ErrInvalidOption, n, frame.MaxLast)
		}
		s.last = n
	})
}

// Since goes on after a position that the application has stored, of an [Event] or of
// [Subscription.Pos], as if the subscription had not ended: the events since then come first,
// each once and in order; or, if the server cannot prove that none is missing, a Gap.
//
// As with [Last], it is an error if the client has another subscription to the channel.
func Since(p Position) SubscribeOption {
	return subscribeFunc(func(s *Subscription) {
		if p.IsZero() {
			s.err = fmt.Errorf("%w: Since: want the position of an event", ErrInvalidOption)
		}
		s.since, s.pos = p, p
	})
}

// Subscription receives the events of a channel or pattern in order, until it
// ends: by Unsubscribe, with the client, because the server does not allow it
// any more or ends it, or because its reader is too slow. If the server ends it with a code
// that passes ([Error.Retryable]), the client subscribes again after a pause. A lost connection does not end
// it: it is restored, and goes on with the event after the last one if the server
// keeps them; otherwise an [Event] with Gap set says that some may be missing.
//
// Its methods may be called concurrently.
type Subscription struct {
	c        *Client
	name     string
	pattern  bool
	own      bool
	byServer bool
	limit    int

	ready chan struct{} // closed when the server has confirmed it first
	done  chan struct{} // closed at its end
	wake  chan struct{} // has a value while there may be something for Next
	room  chan struct{} // gets a value when the buffer is not too full any more

	last      int      // how many of the newest events are wanted
	since     Position // after which events are wanted; zero: those to come
	confirmed bool     // guarded by topics.mu

	state *state    // of WithState, or nil
	here  *hereNews // of WithHere, or nil

	mu     sync.Mutex // guards the following
	buffer ring
	pos    Position // of what Next returned last
	err    error    // why it ended
}

// Subscribe subscribes to channel, or with [Pattern] to a pattern, and waits
// until the server has confirmed it: no event published from then on is
// missed, or a Gap says so. It waits for a connection too. If ctx has no
// deadline, it waits for the time of [WithCallTimeout]. Once Subscribe has
// returned, ctx means nothing to the subscription.
//
// Several subscriptions to one channel share one on the wire.
func (c *Client) Subscribe(ctx context.Context, channel string, opts ...SubscribeOption) (*Subscription, error) {
	s := c.newSubscription(channel)
	for _, o := range opts {
		o.applySubscribe(s)
	}
	if err := c.subscribe(ctx, s); err != nil {
		return nil, fmt.Errorf("juggler: subscribe %s: %w", channel, err)
	}
	return s, nil
}

func (c *Client) newSubscription(channel string) *Subscription {
	return &Subscription{
		c:     c,
		name:  channel,
		limit: c.cfg.eventBuffer,
		ready: make(chan struct{}),
		done:  make(chan struct{}),
		wake:  make(chan struct{}, 1),
		room:  make(chan struct{}, 1),
	}
}

func (c *Client) subscribe(ctx context.Context, s *Subscription) error {
	if err := checkName([]byte(s.name)); err != nil {
		return err
	}
	switch {
	case s.err != nil:
		return s.err
	case s.pattern && s.here != nil:
		return fmt.Errorf("%w: WithHere: want the name of a channel, not a pattern", ErrInvalidOption)
	case s.limit < 1:
		return fmt.Errorf("%w: WithBuffer(%d): want 1 or more", ErrInvalidOption, s.limit)
	case s.pattern && (s.last > 0 || !s.since.IsZero()):
		return fmt.Errorf("%w: Last, Since: want the name of a channel, not a pattern", ErrInvalidOption)
	case s.last > 0 && !s.since.IsZero():
		return fmt.Errorf("%w: Last, Since: want one of them", ErrInvalidOption)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.work.begin(); err != nil {
		return err
	}
	defer c.work.end()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.callTimeout)
		defer cancel()
	}
	c.start()
	if cn := c.current.Load(); cn != nil {
		deadline, _ := ctx.Deadline()
		if err := cn.pace(ctx, frame.Sub, 0, deadline); err != nil && err != errGone {
			return err
		}
	}
	c.topics.add(s)
	select {
	case <-s.ready:
		return nil
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		c.topics.remove(s, ctx.Err())
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.state != Open {
			return fmt.Errorf("%w: %w", ctx.Err(), notConnected(c.why))
		}
		return ctx.Err()
	}
}

// SubscribeFunc is like [Client.Subscribe], but calls handler with the
// subscription and each event, one after the other, on a goroutine of its own
// that ends with the subscription; [Subscription.Err] says why. While
// handler waits for a call of the same client, events are buffered; see
// [WithStallTimeout]. handler may close the client.
func (c *Client) SubscribeFunc(ctx context.Context, channel string, handler func(*Subscription, Event), opts ...SubscribeOption) (*Subscription, error) {
	if handler == nil {
		return nil, fmt.Errorf("juggler: subscribe %s: %w: nil handler", channel, ErrInvalidOption)
	}
	s, err := c.Subscribe(ctx, channel, opts...)
	if err != nil {
		return nil, err
	}
	go func() {
		for e, err := range s.Events(context.Background()) {
			if err == nil {
				handler(s, e)
			}
		}
	}()
	return s, nil
}

// Channel returns the channel or pattern.
func (s *Subscription) Channel() string { return s.name }

// Own reports whether the channel is one of the server's own, such as that of a user. These
// are another namespace: no client can subscribe to them, or publish there, and a channel of
// the same name without Own is another one. See [WithServerSubscriptions].
func (s *Subscription) Own() bool { return s.own }

// Next returns the next event. It waits for one within ctx; the error of ctx
// means nothing to the subscription. When the subscription has ended, Next
// first returns what is buffered, then the reason as an error.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		s.mu.Lock()
		if s.mustRead() {
			if s.err == nil && !s.state.reading {
				s.state.reading = true
				s.mu.Unlock()
				if err := s.readState(ctx); err != nil {
					return Event{}, err
				}
				continue
			}
		} else if e, ok := s.buffer.pop(); ok {
			s.pos = e.Pos
			if s.buffer.n > 0 {
				signal(s.wake)
			}
			if s.buffer.n == s.limit {
				signal(s.room)
			}
			s.mu.Unlock()
			return e, nil
		}
		err := s.err
		s.mu.Unlock()
		if err != nil {
			return Event{}, err
		}
		select {
		case <-s.wake:
		case <-s.done:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// Events is an iterator over the events. It ends quietly after Unsubscribe,
// and otherwise with the error of [Subscription.Next]. To leave the loop does
// not end the subscription, whose buffer then fills up: Unsubscribe, or go on
// with another loop.
func (s *Subscription) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			e, err := s.Next(ctx)
			if errors.Is(err, ErrUnsubscribed) || !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Unsubscribe ends the subscription. What is buffered is dropped; a handler of
// [Client.SubscribeFunc] may still be running, or about to be called with one
// event that was on its way to it. It does not wait for the server, which is
// told if no other subscription of the client is to the same channel, and never for one that
// it has made itself.
func (s *Subscription) Unsubscribe() {
	s.c.topics.remove(s, ErrUnsubscribed)
}

// Pos returns where the application stands: the position of the event that Next returned
// last, or where the channel stood when the subscription began. It is zero if that is not
// known. What is stored with the effect of an event can be gone on from with [Since].
func (s *Subscription) Pos() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pos
}

// Done is closed when the subscription has ended.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err returns why the subscription ended, or nil.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// confirm says that the server confirmed the subscription, and that the channel stands at
// pos, with topics.mu held.
func (s *Subscription) confirm(pos Position) {
	if !s.confirmed {
		s.confirmed = true
		if s.since.IsZero() {
			s.begin(pos)
		}
		if s.state != nil {
			s.push(Event{Gap: true, Pos: pos})
		}
		close(s.ready)
	}
}

// begin notes where s stands before its first event.
func (s *Subscription) begin(pos Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pos = pos
}

// close ends s, once.
func (s *Subscription) close(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = why
		close(s.done)
		if s.state != nil {
			s.state.end()
		}
	}
	if why == ErrUnsubscribed {
		s.buffer = ring{}
	}
}

// push buffers e, whether or not there is room, and reports whether the buffer
// is too full.
func (s *Subscription) push(e Event) (full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	if s.state != nil && e.Gap {
		s.startAnew(e)
	} else {
		s.buffer.push(e)
	}
	if s.buffer.n > s.limit && s.state != nil {
		s.holdNoMore()
	}
	signal(s.wake)
	return s.buffer.n > s.limit
}

// isFull reports whether a reader has to wait before it pushes more.
func (s *Subscription) isFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buffer.n <= s.limit {
		signal(s.room) // for another reader that waits too
		return false
	}
	return true
}

// awaitRoom waits until s has room or has ended. It returns false if ctx ends
// before.
func (s *Subscription) awaitRoom(ctx context.Context) bool {
	for s.isFull() {
		select {
		case <-s.room:
		case <-s.done:
			return true
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// ring is a queue that grows.
type ring struct {
	slots []Event
	head  int
	n     int
}

func (r *ring) push(e Event) {
	if r.n == len(r.slots) {
		slots := make([]Event, max(8, 2*r.n))
		n := copy(slots, r.slots[r.head:])
		copy(slots[n:], r.slots[:r.head])
		r.slots, r.head = slots, 0
	}
	r.slots[(r.head+r.n)%len(r.slots)] = e
	r.n++
}

func (r *ring) pop() (Event, bool) {
	if r.n == 0 {
		return Event{}, false
	}
	e := r.slots[r.head]
	r.slots[r.head] = Event{}
	r.head = (r.head + 1) % len(r.slots)
	r.n--
	return e, true
}
