package juggler

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"time"
	"unsafe"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/index"
	"github.com/juggler-go/juggler/internal/wheel"
)

// pendingCall is a CALL without an outcome. The call table alone decides what a call's
// outcome is: callees and brokers may report a call twice or late.
type pendingCall struct {
	s     *session // nil once the session is gone
	timer wheel.Timer[pendingCall]
	uri   string

	next, prev *pendingCall // in the session's list
	inIndex    index.Node[pendingCall]

	slot, gen uint32 // what its address holds

	state  callState
	keyed  bool         // it has a key: the hub has who waits for it, see joinKeyed
	over   *Error       // set with callOver, or errStopped before the ACK
	early  *earlyResult // set with callEarly
	stream *stream      // nil unless its answer may come in parts

	watch callWatch

	idLen uint8
	idBuf [frame.MaxID]byte
}

type callState uint8

const (
	callSent  callState = iota // with the broker, not acknowledged yet
	callEarly                  // its result overtook the broker's confirmation; with a stream that has it
	callOver                   // it has an outcome of the server's own before it was acknowledged
	callAcked
)

// earlyResult is a result that has to wait for its ACK.
type earlyResult struct {
	args []byte
	err  *broker.Error
	ran  time.Duration
}

func (p *pendingCall) id() []byte { return p.idBuf[:p.idLen] }

// address is what the broker knows a call by.
func (p *pendingCall) address(sh *shard) broker.Address { return sh.address(p.slot, p.gen) }

func (sh *shard) address(slot, gen uint32) broker.Address {
	a := broker.Address{Node: sh.h.node}
	binary.LittleEndian.PutUint32(a.Ref[0:], slot)
	binary.LittleEndian.PutUint32(a.Ref[4:], gen)
	a.Ref[8] = sh.number
	return a
}

// callTable holds the pending calls of a shard.
type callTable struct {
	sh    *shard
	slots []*pendingCall
	free  *pendingCall // a list by next
	wheel wheel.Wheel[pendingCall]

	index index.Index[pendingCall] // by session and id
	seed  maphash.Seed             // of its keys
}

func (t *callTable) init(sh *shard) {
	t.sh = sh
	t.seed = maphash.MakeSeed()
}

// key hashes the id of a session's call.
func (t *callTable) key(s *session, id []byte) uint64 {
	return maphash.Bytes(t.seed, id) ^ uint64(s.Tag)*0x9e3779b97f4a7c15
}

// find returns the call of s with this id, or nil.
func (t *callTable) find(s *session, id []byte) *pendingCall {
	if s.calls == nil {
		return nil
	}
	for n := t.index.Find(t.key(s, id)); n != nil; n = n.Next() {
		if p := n.Owner; p.s == s && string(p.id()) == string(id) {
			return p
		}
	}
	return nil
}

// add makes a pending call of r, a CALL whose id has at most frame.MaxID
// bytes, and starts its time.
func (t *callTable) add(s *session, r *Request) *pendingCall {
	p := t.free
	if p != nil {
		t.free = p.next
	} else {
		p = &pendingCall{slot: uint32(len(t.slots))}
		p.timer.Owner, p.inIndex.Owner = p, p
		t.slots = append(t.slots, p)
	}
	p.s, p.uri, p.state, p.keyed = s, r.uri, callSent, r.keyed != nil
	if t.sh.h.cfg.callsAreWatched() {
		p.watch.began = t.sh.h.clock()
	}
	p.idLen = uint8(copy(p.idBuf[:], r.id))
	t.index.Add(&p.inIndex, t.key(s, r.id))

	p.prev, p.next = nil, s.calls
	if p.next != nil {
		p.next.prev = p
	}
	s.calls = p
	s.numCalls++
	if !p.keyed { // its time is the broker's to say
		t.wheel.Set(&p.timer, t.sh.group.After(r.timeout))
	}
	return p
}

// detach removes p from its session: from its list, the index and the timers.
func (t *callTable) detach(p *pendingCall) {
	if p.s == nil {
		return
	}
	if p.stream != nil {
		p.stream.drop()
	}
	if p.keyed {
		t.sh.leaveKeyed(p)
	}
	t.index.Remove(&p.inIndex)
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		p.s.calls = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	}
	p.s.numCalls--
	p.s, p.prev = nil, nil
	t.wheel.Remove(&p.timer)
}

// remove frees the slot of p. The generation of the slot changes, so that late results
// do not find the next call there.
func (t *callTable) remove(p *pendingCall) {
	t.detach(p)
	p.gen++
	p.uri, p.early, p.over, p.watch = "", nil, nil, callWatch{}
	p.next = t.free
	t.free = p
}

// bySlot returns the call that an address names, or nil if it is over.
func (t *callTable) bySlot(slot, gen uint32) *pendingCall {
	if int(slot) >= len(t.slots) || t.slots[slot].gen != gen {
		return nil
	}
	return t.slots[slot]
}

// acceptCall enters a CALL into the table of pending ones: its result may be
// back before the broker has confirmed it.
func (s *session) acceptCall(r *Request, f *frame.Frame) error {
	cfg := s.shard.h.cfg
	if f.Timeout > cfg.maxCallTimeout {
		return &Error{Code: CodeBadRequest, Message: "timeout is longer than " + cfg.maxCallTimeout.String()}
	}
	if int(s.numCalls) >= cfg.maxCalls {
		return tooMany(cfg.maxCalls, "calls without an outcome")
	}
	if s.callsOf(r.uri) >= cfg.maxCallsPerURI {
		return tooMany(cfg.maxCallsPerURI, "calls of this URI without an outcome")
	}
	if len(f.Key) > 0 {
		if err := s.acceptKey(r, f); err != nil {
			return err
		}
	}
	if r.timeout = f.Timeout; f.Timeout == 0 {
		r.timeout = cfg.callTimeout
	}
	r.call = s.shard.calls.add(s, r)
	r.replyTo = r.call.address(s.shard)
	if f.Parts > 0 && s.shard.h.broker.streamCaller != nil {
		r.call.stream = s.shard.newStream(r.call, f.Parts)
		r.window = r.call.stream.granted
	}
	return nil
}

// callsOf returns how many calls of a URI are pending, but 0 if all of them together are
// fewer than one URI may have: most sessions are never looked through.
func (s *session) callsOf(uri string) (n int) {
	if int(s.numCalls) < s.shard.h.cfg.maxCallsPerURI {
		return 0
	}
	for p := s.calls; p != nil; p = p.next {
		if p.uri == uri {
			n++
		}
	}
	return n
}

// sendCall sends a CALL to the broker.
func (h *Handler) sendCall(ctx context.Context, r *Request) error {
	if err := r.makeCall(); err != nil {
		return err
	}
	if r.keyed != nil {
		return h.attach(ctx, r)
	}
	if r.onTurn() {
		return h.callOutcome(r, r.s.shard.caller.Call(ctx, &r.brokerCall))
	}
	return h.callOutcome(r, h.broker.call(ctx, &r.brokerCall))
}

// makeCall fills in what the broker gets of a CALL.
func (r *Request) makeCall() error {
	left := r.timeout
	if !r.received.IsZero() {
		left -= time.Since(r.received)
	}
	if left <= 0 && r.keyed == nil { // with a key it may join another one
		return &Error{Code: CodeExpired, Message: "the call's time was over before it was queued"}
	}
	r.brokerCall = broker.Call{URI: r.uri, ReplyTo: r.replyTo, Timeout: left, Window: r.window, Headers: r.headers, Args: r.args}
	return nil
}

// callOutcome turns what the broker says of a call into ACK (nil) or NACK. An error
// refuses the call only if it says that the call was certainly not queued. After any
// other the call may be queued, so it is acknowledged and ends in its result or in 408.
func (h *Handler) callOutcome(r *Request, err error) error {
	if err == nil || certainlyNotDone(err) {
		return err
	}
	h.log.Warn("outcome of queueing a call is unknown", "uri", r.uri, "error", err)
	return nil
}

// result handles a result. The first one for a pending call counts.
func (t *callTable) result(r *resultItem) {
	p := t.bySlot(r.slot, r.gen)
	if p == nil || p.s == nil || p.state == callOver || p.state == callEarly {
		t.sh.h.stats.lateResults.Add(1)
		return
	}
	if p.stream != nil {
		p.stream.end(r)
		return
	}
	if p.state == callSent {
		p.state = callEarly
		p.early = &earlyResult{append([]byte(nil), r.args...), r.err, r.ran}
		return
	}
	p.finish(r.args, r.err, r.ran)
}

// acknowledged is called after the ACK of p was written.
func (p *pendingCall) acknowledged() {
	switch early := p.early; p.state {
	case callEarly:
		p.finish(early.args, early.err, early.ran)
	case callOver:
		p.cancelAtBroker()
		p.fail(p.over)
	default:
		p.state = callAcked
		if p.stream != nil {
			p.stream.goOn()
		}
		if p.over == errStopped {
			p.stop()
		}
	}
}

// finish ends p with what its callee returned, after its function ran for a time.
func (p *pendingCall) finish(args []byte, failure *broker.Error, ran time.Duration) {
	s := p.s
	if failure != nil && (failure.Code == CodeExpired || failure.Code == CodeCancelled) && s.protocol == frame.Juggler0 {
		p.fail(failure) // the callee noticed first
		return
	}
	f := frame.Frame{Type: frame.Res, For: p.id(), URI: bytesOf(p.uri), Args: args}
	if failure != nil {
		f.Args, f.Err = nil, failure.Body()
	}
	if problem := s.shard.h.unfit(args, failure); problem != nil {
		s.refuseResult(&f, problem)
	}
	s.respond(&f)
	s.callEnded(p, CallEnd{Code: f.Err.Code, Ran: ran})
	s.shard.calls.remove(p)
}

// refuseResult replaces what a callee returned in f, a RES, by an error: it cannot be
// sent.
func (s *session) refuseResult(f *frame.Frame, problem error) {
	h := s.shard.h
	h.log.Error("a callee's result cannot be sent", "uri", string(f.URI), "error", problem)
	e, _ := h.publicError(problem, false)
	f.Args, f.Err = nil, e.Body()
}

// unfit says why a callee's result cannot be sent, or returns nil.
func (h *Handler) unfit(args []byte, failure *broker.Error) error {
	size := len(args)
	if failure != nil {
		size = len(failure.Message) + len(failure.Data)
	}
	switch {
	case size > h.maxPayload():
		return resultTooLarge(size, h.maxPayload())
	case failure == nil && !frame.ValidJSON(args):
		return errResultNotJSON
	case failure != nil && failure.Code == 0:
		return errNoCode
	case failure != nil && len(failure.Data) > 0 && !frame.ValidJSON(failure.Data):
		return errDataNotJSON
	}
	return nil
}

var (
	errResultNotJSON = errors.New("the result is not JSON")
	errNoCode        = errors.New("the error of the result has no code")
	errDataNotJSON   = errors.New("the data of the error of the result is not JSON")
)

// resultTooLarge is the outcome of a call whose result the server does not let wait for a
// client.
func resultTooLarge(size, limit int) *Error {
	return Errorf(CodeTooLarge, "the result has %d bytes, and at most %d may wait for a client", size, limit)
}

// fail ends p with an outcome of the server's own.
func (p *pendingCall) fail(e *Error) {
	s := p.s
	// juggler.0 has no message for expiry and cancellation.
	if s.protocol == frame.Juggler1 {
		s.respond(&frame.Frame{Type: frame.Res, For: p.id(), URI: bytesOf(p.uri), Err: e.Body()})
	}
	s.callEnded(p, CallEnd{Code: int(e.Code)})
	s.shard.calls.remove(p)
}

var (
	errExpired   = &Error{Code: CodeExpired, Message: "the call's time is over"}
	errCancelled = &Error{Code: CodeCancelled, Message: "cancelled"}
)

// respond sends a RES, if the session can still be sent anything.
func (s *session) respond(f *frame.Frame) {
	if s.state < closing {
		if s.protocol == frame.Juggler0 {
			f.UUID = broker.NewID()
		}
		b := s.encode(f)
		if !s.shard.h.fits(len(b)) {
			s.refuseResult(f, resultTooLarge(len(b), s.shard.h.cfg.maxQueue-frameHeader))
			b = s.encode(f)
		}
		s.write(b, f.URI)
		s.shard.h.stats.results.add(f.Err.Code)
	}
}

// fits reports whether a message of n bytes may wait for a client.
func (h *Handler) fits(n int) bool { return n <= h.cfg.maxQueue-frameHeader }

// frameHeader is how many bytes WebSocket puts before a message at most.
const frameHeader = 10

// expire is called when the time of p is over.
func (p *pendingCall) expire() { p.giveUp(errExpired) }

// giveUp ends p. A call that is not acknowledged yet ends after its ACK.
func (p *pendingCall) giveUp(e *Error) {
	switch p.state {
	case callAcked:
		if e == errCancelled {
			p.cancelAtBroker()
		}
		p.fail(e)
	case callSent:
		p.state, p.over = callOver, e
	}
}

// cancelAtBroker cancels p at its callee.
func (p *pendingCall) cancelAtBroker() {
	if p.keyed {
		return // it goes on without its session
	}
	sh := p.s.shard
	var window broker.Window
	if p.stream != nil {
		window = p.stream.granted
	}
	if sh.h.cancels(window) {
		sh.h.cancelCall(p.uri, p.address(sh))
	}
}

// cancels reports whether a call with this window is cancelled at its callee. One with
// parts is in any case, as nobody is there to take them.
func (h *Handler) cancels(w broker.Window) bool { return !h.cfg.keepCalls || !w.IsZero() }

// cancelCall cancels a call at the broker.
func (h *Handler) cancelCall(uri string, to broker.Address) {
	b := &h.broker
	switch {
	case b.callsNeverWait:
		h.cancelled(b.caller.Cancel(h.ctx, uri, to), uri)
	case b.later.Len() >= maxLater:
		h.cancelled(errBehind, uri)
	default:
		b.askLater(func(ctx context.Context) { h.cancelled(b.caller.Cancel(ctx, uri, to), uri) })
	}
}

// maxLater bounds what waits to be asked of the broker: beyond it cancellations, which
// are a best effort, are dropped. The rest is bounded by the number of topics.
const maxLater = 10_000

var errBehind = errors.New("too much waits for the broker")

// cancelled logs why a cancellation failed: the call then ends by its time.
func (h *Handler) cancelled(err error, uri string) {
	if err != nil && !errors.Is(err, broker.ErrClosed) {
		h.log.Warn("cannot cancel a call", "uri", uri, "error", err)
	}
}

// dropCalls ends the calls of a session that is gone.
func (s *session) dropCalls() {
	t := &s.shard.calls
	for p := s.calls; p != nil; p = s.calls {
		if p.state == callAcked {
			p.cancelAtBroker()
			s.callEnded(p, CallEnd{Code: CodeCancelled})
			t.remove(p)
		} else {
			t.detach(p) // settle removes it
		}
	}
}

// bytesOf returns the bytes of s without a copy, for functions that only
// read them: package frame never writes to what it encodes.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
