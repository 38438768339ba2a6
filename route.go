package juggler

import (
	"context"
	"errors"
	"fmt"
	"strconv"

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
	case !s.allowed.Has(f.Type):
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

// serve handles r up to the broker's answer: user code, then the broker. It runs on the
// turn, or off it on a worker, and leaves the outcome in r for settle.
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
		h.runChain(ctx, r)
		return
	}
	if h.before(ctx, r); r.err == nil {
		h.after(r, h.send(ctx, r))
	}
}

// mustSignInFirst reports whether s may send only AUTH.
func (h *Handler) mustSignInFirst(s *session) bool {
	return h.cfg.signIn != nil && s.identity.Load() == nil
}

// send sends r to the broker, and returns its error.
func (h *Handler) send(ctx context.Context, r *Request) error {
	switch r.typ {
	case frame.Call:
		return h.sendCall(ctx, r)
	case frame.Pub:
		return h.sendEvent(ctx, r)
	case frame.Sub:
		return h.topics.acquire(ctx, r)
	}
	return nil // UNSB asks nobody
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
		s.shard.sentCalls = true
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

// ack writes the ACK of r, and then what had to wait for it.
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
