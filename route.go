package juggler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// read decodes a message of s into r, on the turn. It returns false if there
// is nothing to handle: the message needs no answer, or ended the session.
// What is wrong with a request that can be answered is left in r.err.
func (s *session) read(r *Request, f *frame.Frame, message []byte) bool {
	s.shard.h.stats.messages.Add(1)
	err := s.protocol.DecodeRequest(message, f)
	r.typ, r.id = f.Type, f.ID
	if err != nil {
		return s.malformed(r, err)
	}
	switch {
	case f.Type == frame.Pong:
		return false
	case !s.allowed.has(f.Type):
		if s.protocol == frame.Juggler0 {
			s.end(ClosePolicy, "not allowed to send this type of message")
			return false
		}
		r.err = &Error{Code: CodeForbidden, Message: "this connection may not send " + f.Type.String()}
	case f.Type == frame.Cancel:
		r.id = f.For
		return true
	}
	if s.protocol == frame.Juggler1 && s.shard.calls.find(s, f.ID) != nil {
		s.end(CloseProtocolError, fmt.Sprintf("id %q is in use", f.ID))
		return false
	}
	if r.err == nil {
		r.err = s.accept(r, f)
	}
	return true
}

// malformed handles a message that could not be decoded.
func (s *session) malformed(r *Request, err error) bool {
	var d *frame.DecodeError
	if !errors.As(err, &d) || !d.Nack {
		code := uint16(CloseProtocolError)
		if d != nil {
			code = uint16(d.Code)
		}
		s.end(code, err.Error())
		return false
	}
	if s.protocol == frame.Juggler1 && s.shard.calls.find(s, r.id) != nil {
		s.end(CloseProtocolError, fmt.Sprintf("id %q is in use", r.id))
		return false
	}
	r.err = &Error{Code: d.Code, Message: d.Reason}
	return true
}

// accept checks the limits of a request and takes over its fields.
func (s *session) accept(r *Request, f *frame.Frame) error {
	if s.leaving && f.Type != frame.Unsb {
		return goingAway()
	}
	cfg := s.shard.h.cfg
	if n := max(len(f.URI), len(f.Channel)); n > cfg.maxName {
		return &Error{Code: CodeBadRequest, Message: "a name is longer than " + strconv.Itoa(cfg.maxName) + " bytes"}
	}
	if len(f.Headers) > cfg.maxHeaders {
		return &Error{Code: CodeTooLarge, Message: "headers are larger than " + strconv.Itoa(cfg.maxHeaders) + " bytes"}
	}
	if cfg.maxArgs > 0 && len(f.Args) > cfg.maxArgs {
		return &Error{Code: CodeTooLarge, Message: "args are larger than " + strconv.Itoa(cfg.maxArgs) + " bytes"}
	}
	r.args, r.headers, r.pattern, r.token = f.Args, f.Headers, f.Pattern, f.Token
	if len(r.args) == 0 {
		r.args = null
	}
	if f.Type != frame.Call {
		r.channel = s.shard.names.String(f.Channel)
		return nil
	}
	r.uri = s.shard.names.String(f.URI)
	return s.acceptCall(r, f.Timeout)
}

var null = []byte("null")

// acceptCall enters a CALL into the table of pending ones: its result may be
// back before the broker has confirmed it.
func (s *session) acceptCall(r *Request, timeout time.Duration) error {
	cfg := s.shard.h.cfg
	if timeout > cfg.maxCallTimeout {
		return &Error{Code: CodeBadRequest, Message: "timeout is longer than " + cfg.maxCallTimeout.String()}
	}
	if int(s.numCalls) >= cfg.maxCalls {
		return &Error{Code: CodeLimit, Message: "more than " + strconv.Itoa(cfg.maxCalls) + " calls without an outcome", RetryAfter: time.Second}
	}
	if r.timeout = timeout; timeout == 0 {
		r.timeout = cfg.callTimeout
	}
	r.call = s.shard.calls.add(s, r)
	r.replyTo = r.call.address(s.shard)
	return nil
}

// serve takes r through the chain. It runs on the turn or on the session's
// worker, and leaves the outcome in r for settle.
func (h *Handler) serve(ctx context.Context, r *Request) {
	switch {
	case r.err != nil || r.accepted || r.typ == frame.Cancel:
		return
	case r.typ == frame.Auth:
		r.err = h.signIn(ctx, r)
		return
	case h.mustSignInFirst(r.s):
		r.err = ErrUnauthenticated
		return
	}
	if h.cfg.blocking {
		h.conclude(r, h.guard(ctx, r))
		return
	}
	if h.enter(ctx, r); r.err == nil {
		h.leave(r, h.handOver(ctx, r))
	}
}

// mustSignInFirst reports whether s may send only AUTH.
func (h *Handler) mustSignInFirst(s *session) bool {
	return h.cfg.signIn != nil && s.identity.Load() == nil
}

// guard calls the chain and turns a panic in it into an error, which it leaves in
// r too, for whoever goes on if the chain ends the goroutine.
func (h *Handler) guard(ctx context.Context, r *Request) (err error) {
	h.protect("middleware", func(e error) { err = r.interrupted(e) }, func() { err = h.handle(ctx, r) })
	return err
}

// interrupted notes in r that user code has panicked or ended its goroutine.
func (r *Request) interrupted(e error) error {
	if e == errEnded && r.onTurn() {
		panic("juggler: code that was declared never to block ended the goroutine of many sessions (runtime.Goexit, as FailNow of a test does)")
	}
	if !r.accepted {
		r.err = e
	}
	return e
}

// route is the end of the chain: it hands r to the broker, if that is allowed.
func (h *Handler) route(ctx context.Context, r *Request) error {
	if r.routed {
		h.log.Error("middleware called next twice", "type", r.typ)
		return errInternal
	}
	r.routed = true
	err := h.authorize(ctx, r)
	if err == nil {
		err = h.handOver(ctx, r)
	}
	r.accepted = err == nil
	return err
}

// handOver returns what the broker says of r.
func (h *Handler) handOver(ctx context.Context, r *Request) error {
	switch {
	case r.typ == frame.Call:
		err := r.makeCall()
		if err == nil {
			err = h.call(ctx, r)
		}
		return h.callOutcome(r, err)
	case r.typ == frame.Pub:
		if err := r.makeEvent(); err != nil {
			return err
		}
		return h.publishFor(ctx, &r.brokerEvent)
	case r.typ == frame.Sub:
		return h.topics.acquire(ctx, r)
	default: // UNSB asks nobody
		return nil
	}
}

// brokerContext bounds what a broker that waits may take. The end of the
// session does not interrupt it half-way.
func (h *Handler) brokerContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), h.cfg.brokerTimeout)
}

func (h *Handler) call(ctx context.Context, r *Request) error {
	if r.onTurn() {
		return r.s.shard.caller.Call(ctx, &r.brokerCall)
	}
	if !h.callsInline {
		var cancel context.CancelFunc
		ctx, cancel = h.brokerContext(ctx)
		defer cancel()
	}
	return h.caller.Call(ctx, &r.brokerCall)
}

// publishFor publishes for a session, within the broker's time if it waits.
func (h *Handler) publishFor(ctx context.Context, e *broker.Event) error {
	if !h.publishesInline {
		var cancel context.CancelFunc
		ctx, cancel = h.brokerContext(ctx)
		defer cancel()
	}
	return h.publish(ctx, e)
}

// makeCall fills in what the broker gets of a CALL.
func (r *Request) makeCall() error {
	left := r.timeout
	if !r.received.IsZero() {
		left -= time.Since(r.received)
	}
	if left <= 0 {
		return &Error{Code: CodeExpired, Message: "the call's time was over before it was queued"}
	}
	r.brokerCall = broker.Call{URI: r.uri, ReplyTo: r.replyTo, Timeout: left, Headers: r.headers, Args: r.args}
	return nil
}

// callOutcome notes what became of a call. Only an error that says that it was
// certainly not queued refuses it; with any other it may be, so it is
// acknowledged and ends in its result or in 408.
func (h *Handler) callOutcome(r *Request, err error) error {
	if err == nil || certainlyNotDone(err) {
		return err
	}
	h.asked.Log(h.log, slog.LevelWarn, "outcome of queueing a call is unknown", "uri", r.uri, "error", err)
	return nil
}

// makeEvent fills in what the broker gets of a PUB.
func (r *Request) makeEvent() error {
	r.brokerEvent = broker.Event{Channel: r.channel, Headers: r.headers, Args: r.args}
	if r.s.protocol == frame.Juggler1 {
		r.brokerEvent.ID = newID()
		return nil
	}
	if len(r.id) == 0 {
		return nil // juggler.0 allows it, and writes it as an empty for
	}
	id, ok := frame.ParseUUID(r.id)
	if !ok {
		return &Error{Code: CodeBadRequest, Message: "uuid is not a UUID"}
	}
	r.brokerEvent.ID = id
	return nil
}

// settle answers r, on the turn.
func (s *session) settle(r *Request) {
	if r.typ == frame.Cancel {
		if p := s.shard.calls.find(s, r.id); p != nil {
			p.giveUp(CodeCancelled)
		}
		return
	}
	if r.err == nil {
		r.err = s.complete(r)
	}
	if s.state >= closing {
		s.abandon(r)
		return
	}
	if r.err != nil {
		s.nack(r)
	} else {
		s.ack(r)
	}
}

// complete does what an accepted request changes in the session.
func (s *session) complete(r *Request) error {
	switch r.typ {
	case frame.Sub:
		return s.subscribe(r)
	case frame.Unsb:
		s.unsubscribe(r)
	case frame.Call:
		s.shard.handedOver = true
	}
	return nil
}

// abandon is settle for a session that was closed meanwhile.
func (s *session) abandon(r *Request) {
	if p := r.call; p != nil {
		if r.accepted && !s.shard.h.cfg.keepCalls {
			s.shard.h.cancelCall(p.uri, r.replyTo)
		}
		s.shard.calls.remove(p)
	}
}

// ack writes the ACK of r and goes on with what had to wait for it.
func (s *session) ack(r *Request) {
	f := frame.Frame{Type: frame.Ack, For: r.id, ForType: r.typ, URI: bytesOf(r.uri), Channel: bytesOf(r.channel)}
	if r.typ == frame.Auth {
		s.state = live
		f.Expires = s.renewed()
	}
	s.reply(&f)
	if r.call != nil {
		r.call.acknowledged()
	}
	s.notify(r)
}

// nack writes the NACK of r.
func (s *session) nack(r *Request) {
	h := s.shard.h
	h.stats.nacks.Add(1)
	e, known := publicError(r.err)
	h.logNack(s, r, known)
	if r.call != nil {
		s.shard.calls.remove(r.call)
	}
	f := frame.Frame{Type: frame.Nack, For: r.id, ForType: r.typ, URI: bytesOf(r.uri), Channel: bytesOf(r.channel), Err: e.frameError()}
	s.reply(&f)
}

// reply sends an ACK or NACK.
func (s *session) reply(f *frame.Frame) {
	if s.protocol == frame.Juggler0 {
		f.UUID = newID()
	}
	s.send(f)
}

// signIn asks the application who sent an AUTH. It runs on the worker.
func (h *Handler) signIn(ctx context.Context, r *Request) (err error) {
	if h.cfg.signIn == nil {
		return &Error{Code: CodeBadRequest, Message: "this server takes no AUTH"}
	}
	var id *Identity
	h.protect("sign-in", func(e error) { err, r.err = e, e }, func() { id, err = h.cfg.signIn(ctx, Session{r.s}, string(r.token)) })
	if err != nil {
		return err
	}
	if id == nil {
		return ErrUnauthenticated
	}
	h.users.identify(r.s, id.clone())
	r.accepted = true
	return nil
}

// cancelCall tells the broker that nobody waits for a call any more.
func (h *Handler) cancelCall(uri string, to broker.Address) {
	if h.callsInline {
		h.cancelled(h.caller.Cancel(h.ctx, uri, to), uri)
		return
	}
	if h.later.Len() >= maxLater {
		h.cancelled(errBehind, uri)
		return
	}
	h.askLater(func(ctx context.Context) { h.cancelled(h.caller.Cancel(ctx, uri, to), uri) })
}

// maxLater is how much the broker may have yet to be asked before
// cancellations, which are a best effort, are dropped. What else is asked
// later is bounded by the topics.
const maxLater = 10_000

var errBehind = errors.New("too much waits for the broker")

// cancelled logs why a cancellation failed: the call then ends by its time.
func (h *Handler) cancelled(err error, uri string) {
	if err != nil && !errors.Is(err, broker.ErrClosed) {
		h.asked.Log(h.log, slog.LevelWarn, "cannot cancel a call", "uri", uri, "error", err)
	}
}
