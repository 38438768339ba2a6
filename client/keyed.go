package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// CallState says how far a call with a [Key] was when the client joined it.
type CallState = frame.State

// The states that a server says.
const (
	CallNew     = frame.New     // this client has made it
	CallRunning = frame.Running // it was made before, and has no outcome yet
	CallDone    = frame.Done    // its outcome is kept, and comes
)

// Join makes a call with a [Key] one that only joins: if the server keeps nothing of it, or
// not any more, it fails with [CodeGone], and nothing is run. Args are not compared then, nil
// will do. The parts of a [Stream] are those behind the part after, 0 for all that are kept;
// see [Stream.Last].
func Join(after int) CallOption {
	return callFunc(func(r *request) {
		if after < 0 || after > frame.MaxPart {
			r.err = fmt.Errorf("%w: Join(%d): want 0 to %d", ErrInvalidOption, after, frame.MaxPart)
			return
		}
		k := r.attachment()
		k.join, k.after = true, after
		if s := r.stream(); s != nil {
			s.came, s.last = after, after
		}
	})
}

// PartsGoneError says that parts of an answer are not kept any more that a [Stream] has not
// got: the next part is From, and not the one behind Last. It is no end: a loop that goes on
// gets the parts from there. One that is left detaches from the call.
type PartsGoneError struct{ Last, From int }

// Error implements error.
func (e *PartsGoneError) Error() string {
	return fmt.Sprintf("parts of the answer are not kept any more: part %d follows on part %d", e.From, e.Last)
}

// errNotKept is for a call with a key on a session that has none.
var errNotKept = fmt.Errorf("%w: the server keeps no calls for this session: it knows no keys, its broker keeps none, or the session has no user (%w)",
	ErrUnsupported, CodeBadRequest)

// attachment is what only a call with a key needs of its request. It is guarded by
// request.mu, but for what options set.
type attachment struct {
	join   bool // it does not make the call
	after  int  // the part to go on after at first
	stop   bool // ends the call for all, as soon as it has joined
	joined chan struct{}
	state  CallState // set when joined is closed
	nacked bool      // the answer was a NACK
	pauses backoff   // between attempts to join again
}

// attachment returns that of r, which it makes.
func (r *request) attachment() *attachment {
	if r.attach == nil {
		r.attach = &attachment{joined: make(chan struct{})}
	}
	return r.attach
}

// isJoined reports whether the server has said that the client has joined the call.
func (a *attachment) isJoined() bool {
	select {
	case <-a.joined:
		return true
	default:
		return false
	}
}

// checkKey checks that a call has what its options need.
func (r *request) checkKey() error {
	if r.attach != nil && len(r.key) == 0 {
		return fmt.Errorf("%w: Join: want a Key beside it", ErrInvalidOption)
	}
	return nil
}

// addCallKey puts into the CALL of r what joins it, with mu of cn and r held. Who was joined
// once does not make the call any more.
func (cn *conn) addCallKey(f *frame.Frame, r *request) error {
	a := r.attach
	if a == nil {
		return nil
	}
	if !cn.keyed {
		return errNotKept
	}
	f.Key = r.key
	if f.HasSince = a.join || a.isJoined(); f.HasSince {
		f.N = a.after
		if s := r.stream(); s != nil {
			f.N = s.lastCame()
		}
	}
	return nil
}

// joined takes the ACK f of the call r, which has request id, with mu of cn held.
func (cn *conn) joined(id uint64, r *request, f *frame.Frame) {
	if r == nil || r.attach == nil {
		return
	}
	a := r.attach
	r.mu.Lock()
	defer r.mu.Unlock()
	a.pauses.attempt, a.nacked = 0, false
	if !a.isJoined() {
		a.state = f.State
		close(a.joined)
	}
	if s := r.stream(); s != nil && f.N > 0 {
		s.skipTo(f.N)
	}
	if a.stop && f.State != CallDone {
		cn.appendCancel(id, true)
	}
}

// moveKeyed takes the calls with keys off cn, which the server ends, to go on with them on
// next. From then on nothing comes of them on cn any more. They stay if next cannot take them.
func (c *Client) moveKeyed(cn, next *conn) {
	if !next.isKeyed() {
		return
	}
	cn.mu.Lock()
	var moving []*request
	for id, e := range cn.pending {
		if e.req != nil && e.req.attach != nil {
			e.req.maybeSent = true
			moving = append(moving, e.req)
			cn.giveUp(id, e)
		}
	}
	cn.mu.Unlock()
	sortByID(moving)
	for _, r := range moving {
		c.retry(r, errMoved, 0)
	}
}

// isKeyed reports whether CALLs of the session may have keys.
func (cn *conn) isKeyed() bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.keyed
}

// joinsLater reports whether r is to be sent once more, as its answer does not say what has
// become of the call. A call that the client has made, or joined, goes on meanwhile.
func (r *request) joinsLater(f *frame.Frame) bool {
	if r.attach == nil || f.Type != frame.Nack {
		return false
	}
	r.attach.nacked = true
	if !r.maybeSent {
		return false
	}
	switch Code(f.Err.Code) {
	case CodeExpired, CodeLimit, CodeInternal, CodeUnavailable:
		return true
	}
	return false
}

// joinLater sends r once more after a pause, as its answer was err.
func (c *Client) joinLater(r *request, err error) {
	b := &r.attach.pauses
	b.min, b.max = c.cfg.minBackoff, c.cfg.maxBackoff
	pause := b.next(retryAfter(err))
	c.retry(r, err, pause)
	time.AfterFunc(pause, func() { c.sendLateRetries(nil) })
}

// joinedState waits within ctx until r is joined, and returns the state of the call then.
func (r *request) joinedState(ctx context.Context) (CallState, error) {
	if r.attach == nil {
		return frame.NoState, fmt.Errorf("%w: want a Key", ErrInvalidOption)
	}
	select {
	case <-r.attach.joined:
	case <-r.done:
	case <-ctx.Done():
	}
	switch {
	case r.attach.isJoined():
		return r.attach.state, nil
	case r.claimed.Load():
		<-r.done
		return frame.NoState, r.err
	}
	return frame.NoState, ctx.Err()
}

// State waits within ctx until the server says that the client has joined the call, which
// has a [Key], and returns how far that was. If the call fails before, it returns why.
func (p *PendingCall) State(ctx context.Context) (CallState, error) {
	state, err := p.r.joinedState(ctx)
	if err != nil {
		err = fmt.Errorf("juggler: call %s: %w", p.uri, err)
	}
	return state, err
}

// State is like [PendingCall.State].
func (s *Stream) State(ctx context.Context) (CallState, error) {
	state, err := s.r.joinedState(ctx)
	if err != nil {
		err = s.wrap(err)
	}
	return state, err
}

// Stop ends the call of uri with key for all who have joined it: its callee is told, and its
// outcome is [CodeCancelled], unless it has one. Stop returns nil once the call has an
// outcome, whichever. If nothing is kept of such a call, it fails with [CodeGone]. Contexts
// and time are as for [Client.Call].
func (c *Client) Stop(ctx context.Context, uri, key string) error {
	if err := c.stopCall(ctx, uri, key); err != nil {
		return fmt.Errorf("juggler: stop %s: %w", uri, err)
	}
	return nil
}

func (c *Client) stopCall(ctx context.Context, uri, key string) error {
	if err := c.work.begin(); err != nil {
		return err
	}
	defer c.work.end()
	r := c.newCall(uri, []CallOption{Key(key), Join(0)})
	r.attach.stop = true
	if err := c.prepare(ctx, r, nil); err != nil {
		return err
	}
	if err := c.submit(ctx, r); err != nil {
		return err
	}
	err := c.wait(ctx, r)
	if _, ok := errors.AsType[*Error](err); ok && !r.attach.nacked && !errors.Is(err, CodeExpired) {
		return nil // it was stopped, or its function has failed
	}
	return err
}

// skipTo notes that the next part is number from, as those before are not kept any more.
func (s *Stream) skipTo(from int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from <= s.came+1 {
		return
	}
	s.parts = append(s.parts, streamPart{gone: &PartsGoneError{Last: s.came, From: from}})
	s.asked += from - 1 - s.came
	s.came = from - 1
	signal(s.wake)
}

// isGone reports whether err only says that parts are gone.
func isGone(err error) bool {
	_, ok := errors.AsType[*PartsGoneError](err)
	return ok
}

// Last returns the number of the part that the loop took last, those that were not kept any
// more included; 0 if it took none. With [Join] of it, a later Stream of the same call goes
// on where this one was left.
func (s *Stream) Last() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}
