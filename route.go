package juggler

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// onTurn handles a request from message to answer. AUTH goes to the session's queue, as
// signing in may block, and so does a SUB that asks who is there.
func (s *session) onTurn(message []byte) {
	sh := s.shard
	r := &sh.request
	r.reset(s)
	if !s.read(r, &sh.frame, message) {
		return
	}
	if r.err == nil && (r.typ == frame.Auth && sh.h.cfg.signIn != nil || r.wantsHere) {
		s.enqueue(newJobOf(r))
		return
	}
	sh.h.serve(sh.h.ctx, r)
	s.settle(r)
}

// reset makes r an empty request of s.
func (r *Request) reset(s *session) { *r = Request{s: s, done: r.done[:0]} }

// read decodes a message of s into r, on the turn. It returns false if there
// is nothing to handle: the message needs no answer, or ended the session.
// What is wrong with a request that can be answered is left in r.err.
func (s *session) read(r *Request, f *frame.Frame, message []byte) bool {
	s.shard.h.stats.messages.Add(1)
	early := s.countMessage(len(message))
	if s.state >= closing {
		return false
	}
	err := s.protocol.DecodeRequest(message, f)
	if fo := s.shard.h.follower.Load(); fo != nil {
		fo.received(s, len(message), f, err)
	}
	r.typ, r.id = f.Type, f.ID
	if err != nil {
		return s.malformed(r, err)
	}
	switch {
	case f.Type == frame.Pong:
		return false
	case f.Type == frame.More:
		s.more(f)
		return false
	case !s.allowed.Has(f.Type):
		if s.protocol == frame.Juggler0 {
			s.end(ClosePolicy, "not allowed to send this type of message")
			return false
		}
		r.err = &Error{Code: CodeForbidden, Message: "this connection may not send " + f.Type.String()}
	case f.Type == frame.Cancel:
		r.id, r.stop = f.For, f.Stop
		return true
	}
	if s.protocol == frame.Juggler1 && s.shard.calls.find(s, f.ID) != nil {
		s.end(CloseProtocolError, fmt.Sprintf("id %q is in use", f.ID))
		return false
	}
	if f.Type != frame.Unsb && r.err == nil { // to unsubscribe makes room
		r.err = early
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
	r.err = &Error{Code: frame.Code(d.Code), Message: d.Reason}
	return true
}

// accept checks the limits of a request and takes over its fields.
func (s *session) accept(r *Request, f *frame.Frame) error {
	if s.leaving && f.Type != frame.Unsb {
		return goingAway()
	}
	if err := s.countRequest(f.Type); err != nil {
		return err
	}
	if f.Type == frame.Auth {
		if e := s.shard.h.maySignIn(s.address()); e != nil {
			return e
		}
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
	if f.Type == frame.Sub && f.Pattern {
		if err := cfg.acceptPattern(len(f.Channel)); err != nil {
			return err
		}
	}
	r.args, r.headers, r.pattern, r.token = f.Args, f.Headers, f.Pattern, f.Token
	r.key, r.again = f.Key, f.Again
	if len(r.args) == 0 {
		r.args = null
	}
	if f.Type != frame.Call {
		r.by = byClient
		if r.replays = f.Own; f.Own {
			r.channel = broker.OwnChannel(string(f.Channel))
		} else {
			r.channel = s.shard.names.String(f.Channel)
		}
		if f.Type == frame.Pub {
			s.shard.top.add(topPublications, r.channel, 1)
		}
		r.wantsHere = f.WantsHere && cfg.presenceRule(r.topic()) > 0
		if f.HasSince || f.Last > 0 {
			r.history = &wanted{since: f.Since, hasSince: f.HasSince, last: f.Last}
		}
		return nil
	}
	r.uri = s.shard.names.String(f.URI)
	s.shard.top.add(topCalls, r.uri, 1)
	return s.acceptCall(r, f)
}

var null = []byte("null")

// settle answers r, on the turn.
func (s *session) settle(r *Request) {
	if r.typ == frame.Cancel {
		if p := s.shard.calls.find(s, r.id); p != nil {
			p.cancel(r.stop)
		}
		return
	}
	if r.err == nil {
		r.err = s.complete(r)
	}
	switch {
	case s.state >= closing:
		s.abandon(r)
	case r.err != nil:
		s.nack(r)
	default:
		s.ack(r)
	}
	if r.signIn != nil {
		s.settleSignIn(r)
	}
}

// complete does what an accepted request changes in the session.
func (s *session) complete(r *Request) error {
	switch r.typ {
	case frame.Sub:
		if !r.pattern && !r.replays {
			s.shard.h.warnOfChannel(s, r.channel)
		}
		err := s.subscribe(r)
		s.settleHere(r, err)
		return err
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
		switch {
		case !r.accepted:
		case r.keyed != nil:
			s.shard.h.keyed.Leave(r.keyed)
		case s.shard.h.cancels(r.window):
			s.shard.h.cancelCall(p.uri, r.replyTo)
		}
		p.watch.join(r.watch)
		s.callEnded(p, CallEnd{Code: CodeCancelled})
		s.shard.calls.remove(p)
	}
}

// ack writes the ACK of r, and then what had to wait for it.
func (s *session) ack(r *Request) {
	f := frame.Frame{Type: frame.Ack, For: r.id, ForType: r.typ, URI: bytesOf(r.uri), Channel: bytesOf(r.channel)}
	if r.typ == frame.Auth {
		f.Expires, f.Keys, f.Keyed = s.signedIn(), s.mayUseKeys(), s.mayKeyCalls()
	}
	if r.keyed != nil {
		f.State, f.N = r.keyed.State, int(r.keyed.From)
	}
	if r.history != nil {
		f.Pos, f.Recovery = r.history.pos, r.history.recovery
		s.shard.h.countRecovery(f.Recovery)
	}
	if r.asked {
		s.ackHere(&f, r)
	}
	s.reply(&f)
	if r.call != nil {
		r.call.watch.join(r.watch)
		if r.keyed != nil {
			s.shard.joinKeyed(r.call, r.keyed)
		}
		r.call.acknowledged()
	}
	if r.typ == frame.Unsb && r.changed && r.by&told != 0 {
		s.tellEnd(r.topic(), errNotWanted)
	}
	s.notify(r)
}

// notify has the hook of a request that was acknowledged run.
func (s *session) notify(r *Request) {
	hooks := &s.shard.h.cfg.hooks
	switch {
	case (r.typ == frame.Sub || r.typ == frame.Subs) && r.changed && hooks.OnSubscribe != nil:
		t := r.topic()
		s.enqueueHook(func(ctx context.Context) { hooks.OnSubscribe(ctx, Session{s}, t) })
	case r.typ == frame.Unsb && r.changed && hooks.OnUnsubscribe != nil:
		t := r.topic()
		s.enqueueHook(func(ctx context.Context) { hooks.OnUnsubscribe(ctx, Session{s}, t, EndedByUnsb) })
	case r.typ == frame.Auth && hooks.OnSignIn != nil:
		s.enqueueHook(func(ctx context.Context) { hooks.OnSignIn(ctx, Session{s}) })
	}
}

// nack writes the NACK of r.
func (s *session) nack(r *Request) {
	h := s.shard.h
	e, known := h.publicError(r.err, r.unclear)
	h.stats.nacks[r.typ].add(int(e.Code))
	h.logNack(s, r, known)
	if errors.Is(r.err, broker.ErrNoCallee) {
		h.warnOfURI(s, r.uri)
	}
	if r.typ == frame.Auth {
		defer s.authRefused(e) // the NACK goes first
	}
	f := frame.Frame{Type: frame.Nack, For: r.id, ForType: r.typ, URI: bytesOf(r.uri), Channel: bytesOf(r.channel), Err: e.Body()}
	s.reply(&f)
	if r.typ == frame.Call {
		s.callRefused(r, int(e.Code))
	}
}

// callRefused ends a CALL that got a NACK.
func (s *session) callRefused(r *Request, code int) {
	end := CallEnd{URI: r.uri, Code: code, Refused: true}
	if r.call == nil {
		s.callEnded(nil, end)
		return
	}
	r.call.watch.join(r.watch)
	s.callEnded(r.call, end)
	s.shard.calls.remove(r.call)
}

// reply sends an ACK or NACK.
func (s *session) reply(f *frame.Frame) {
	if s.protocol == frame.Juggler0 {
		f.UUID = broker.NewID()
	}
	s.send(f)
}

// send encodes f and queues it for the client.
func (s *session) send(f *frame.Frame) {
	b := s.encode(f)
	switch {
	case len(b) == 0: // juggler.0 lacks some messages
	case f.Type == frame.Ack && f.ForType == frame.Call && !s.shard.inline:
		s.WriteTextDelayed(b) // the RES may be here soon
	default:
		name := f.URI
		if len(name) == 0 {
			name = f.Channel
		}
		s.write(b, name)
	}
}

// encode returns f as the client gets it, valid until the next one is encoded.
func (s *session) encode(f *frame.Frame) []byte {
	sh := s.shard
	sh.out = s.protocol.Append(sh.out[:0], f)
	return sh.out
}
