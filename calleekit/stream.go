package calleekit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/juggler-go/juggler/broker"
)

var (
	errReturned   = errors.New("calleekit: send: the function of the call has returned")
	errConcurrent = errors.New("calleekit: send: another goroutine sends a part of this call")
)

// Streaming reports whether the caller takes the answer in parts: see [Call.Send].
func (c *Call) Streaming() bool { return c.send != nil }

// Send sends v to the caller as the next part of the answer, before the result. v becomes
// JSON as a result does, but a [json.RawMessage] stays the function's. If the caller wants
// no parts, which is the rule, Send returns nil at once and does not look at v.
//
// It returns nil when the broker has stored the part. The parts arrive in order and none
// is left out, or the call fails. While the caller takes no more at the moment, or the
// broker is out of reach, Send waits: so a function is as fast as its caller reads, and
// holds one part.
//
// Its errors:
//   - v cannot be encoded, or is not JSON: nothing was sent, the next part may be;
//   - that of the call's context, once it has ended: no more parts are taken. A function
//     that returns it ends as one that returns ctx.Err() does;
//   - that of ctx, if it ends before the call: the part may arrive nevertheless, before
//     the next one;
//   - that the function has returned, or that two goroutines send at a time.
//
// One goroutine at a time may call Send, which need not be the function's.
func (c *Call) Send(ctx context.Context, v any) error {
	if c.send == nil {
		return nil
	}
	return c.send(ctx, v)
}

// A SendFunc does what [Call.Send] does.
type SendFunc func(ctx context.Context, v any) error

// WrapSend puts a function around [Call.Send], for middleware that sees parts: wrap gets
// what Send did and returns what it does from now on. If the caller wants no parts,
// it has no effect.
func (c *Call) WrapSend(wrap func(next SendFunc) SendFunc) {
	if c.send != nil {
		c.send = wrap(c.send)
	}
}

// Stream makes a function of Go types that answers in parts one that [Callee.Handle]
// takes. Arguments are decoded as for [Typed]. Each value that f yields is a part, the
// result is null. An error that it yields ends the call as one that a function returns;
// nothing is asked of f after it, nor once the call is over.
//
// A caller that wants no parts gets the null alone.
func Stream[In, Part any](f func(ctx context.Context, in In) iter.Seq2[Part, error]) HandlerFunc {
	if f == nil {
		panic("calleekit: Stream(nil)")
	}
	return answers(func(ctx context.Context, c *Call) (any, error) {
		if asked[In, none, Part](ctx) {
			return nil, nil
		}
		var in In
		if err := c.Decode(&in); err != nil {
			return nil, err
		}
		for part, err := range f(ctx, in) {
			if err != nil {
				return nil, err
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := c.Send(ctx, part); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
}

// A stream is the parts of the answer to one call. Whoever holds its Call may call send
// for ever, so neither is used again for another call.
type stream struct {
	conn broker.StreamCalleeConn
	log  *slog.Logger
	ctx  *callContext
	to   broker.Address
	args []byte // of the call

	more    chan struct{} // has a token when window has grown
	refused atomic.Bool   // the broker takes no more of the answer, for whatever reason

	mu       sync.Mutex // guards the following
	window   broker.Window
	sending  bool       // a goroutine is about to send
	returned bool       // the function has
	idle     *sync.Cond // on mu: sending is false again

	// The following belong to who has set sending, and then to finish.

	sent    broker.Window // stored parts
	part    broker.Part   // of SendPart
	pending []byte        // the next part, which may be stored already: its Send was given up
}

func newStream(p *pool, c *broker.Call, ctx *callContext) *stream {
	s := &stream{
		conn:   p.parts,
		log:    p.callee.log,
		ctx:    ctx,
		to:     c.ReplyTo,
		args:   c.Args,
		window: c.Window,
		more:   make(chan struct{}, 1),
	}
	s.idle = sync.NewCond(&s.mu)
	return s
}

// grant makes the window greater. It does not wait.
func (s *stream) grant(w broker.Window) {
	s.mu.Lock()
	s.window = s.window.Union(w)
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (s *stream) known() broker.Window {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window
}

// send is [Call.Send].
func (s *stream) send(ctx context.Context, v any) error {
	args, err := encodePart(v, s.args)
	if err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	both, stop := s.both(ctx)
	defer stop()
	if s.pending != nil {
		err = s.store(both, s.pending)
	}
	if err == nil {
		s.pending = nil
		err = s.store(both, args)
	}
	switch {
	case err == nil:
		return nil
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	default:
		return ctx.Err()
	}
}

// encodePart is encode for a part.
func encodePart(v any, args json.RawMessage) ([]byte, error) {
	part, err := encode(v, args)
	if err != nil {
		return nil, fmt.Errorf("calleekit: send: a part cannot be encoded: %w", err)
	}
	return part, nil
}

// begin lets one goroutine send.
func (s *stream) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.returned:
		return errReturned
	case s.sending:
		return errConcurrent
	}
	s.sending = true
	return nil
}

func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending = false
	s.idle.Broadcast()
}

// finish lets no part be sent any more and returns how many were: the function has
// returned, and its context ended. A part on its way is waited for, as it may be made of
// the call's arguments, which are the broker's again once the call is answered.
func (s *stream) finish() (parts uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.returned = true
	for s.sending {
		s.idle.Wait()
	}
	return s.sent.Parts
}

// both returns a context that ends with ctx and with the call.
func (s *stream) both(ctx context.Context) (context.Context, func()) {
	if ctx == context.Context(s.ctx) {
		return ctx, func() {}
	}
	merged, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(s.ctx, cancel)
	return merged, func() {
		unlink()
		cancel()
	}
}

// store waits until the caller takes a part more, and until the broker has stored it. It
// fails only when ctx ends, or with the call's context.
func (s *stream) store(ctx context.Context, args []byte) error {
	if err := s.waitForRoom(ctx); err != nil {
		return err
	}
	s.part = broker.Part{To: s.to, N: s.sent.Parts + 1, Args: args}
	defer func() { s.part = broker.Part{} }()
	out := outage{log: s.log, operation: "send a part"}
	unsure := false // it may be stored
	for {
		s.part.Window = s.known()
		err := s.conn.SendPart(ctx, &s.part)
		switch {
		case err == nil:
			out.over()
			s.sent.Parts++
			s.sent.Bytes += uint64(len(args))
			return nil
		case errors.Is(err, broker.ErrCallOver):
			s.refused.Store(true)
			s.ctx.end(ErrCancelled)
			return err
		case errors.Is(err, broker.ErrClosed):
			s.ctx.end(ErrStopped)
			return err
		}
		unsure = unsure || !errors.Is(err, broker.ErrQueueFull) && !errors.Is(err, broker.ErrUnavailable)
		if err := out.failed(ctx, err); err != nil {
			if unsure {
				s.pending = slices.Clone(args)
			}
			return err
		}
	}
}

// waitForRoom waits until the caller takes a part more.
func (s *stream) waitForRoom(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for !s.known().Takes(s.sent) {
		select {
		case <-s.more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
