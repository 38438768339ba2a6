package memory

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

var (
	_ broker.KeyedCaller     = (*Broker)(nil)
	_ broker.KeyedCallerConn = (*callerConn)(nil)
)

// OpenKeyedCaller implements [broker.KeyedCaller]. deliver, parts and news must not wait.
func (b *Broker) OpenKeyedCaller(_ context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part), news func([]broker.CallKey)) (broker.KeyedCallerConn, error) {
	if parts == nil || news == nil {
		return nil, errors.New("memory: open caller: parts or news is nil")
	}
	c, err := b.openCaller(node, callerFuncs{deliver, parts, news})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Attach implements [broker.KeyedCallerConn].
func (c *callerConn) Attach(_ context.Context, a *broker.Attachment) error {
	r, s := c.rpc, &c.rpc.records
	if err := checkAttachment(a); err != nil {
		return err
	}
	args := maphash.Bytes(s.seed, a.Call.Args)
	now := r.now()
	var k *call
	if !a.Join {
		req := *a.Call
		if !req.Window.IsZero() {
			req.Window = broker.Window{Parts: math.MaxUint32, Bytes: math.MaxUint64}
		}
		k = r.pool.get(s.keeper, &req, now)
	}
	r.mu.Lock()
	made, err := c.attach(a, args, k, now)
	r.mu.Unlock()
	if k != nil && !made {
		r.pool.put(k)
	}
	return err
}

// free reports whether the call of rec was never taken, and no attempt before it may have run
// with other arguments.
func (rec *record) free(args uint64) bool {
	return rec.refused() && (rec.attempt == 1 || rec.args == args)
}

// runsAgain reports whether a makes the call of rec anew, which may have run.
func (rec *record) runsAgain(a *broker.Attachment, args uint64, now time.Duration) bool {
	return a.Repeat && rec.args == args && (rec.lost || !rec.done && rec.deadline <= now)
}

// checkAttachment returns the error for one that no state of the broker allows.
func checkAttachment(a *broker.Attachment) error {
	switch req := a.Call; {
	case req.Key.IsZero():
		return fmt.Errorf("memory: attach to a call of %s: it has no key", req.URI)
	case a.Join:
		return nil
	case req.Timeout <= 0:
		return fmt.Errorf("memory: attach to a call of %s: timeout %v is not more than 0", req.URI, req.Timeout)
	case a.Keep < time.Second:
		return fmt.Errorf("memory: attach to a call of %s: its outcome would be kept for %v, less than 1s", req.URI, a.Keep)
	}
	return nil
}

// attach joins the record of a, or makes it with k, which it reports. args is the hash of
// the arguments. The caller holds rpc.mu.
func (c *callerConn) attach(a *broker.Attachment, args uint64, k *call, now time.Duration) (made bool, err error) {
	r, s := c.rpc, &c.rpc.records
	if r.closed || c.closed {
		return false, broker.ErrClosed
	}
	rec := s.byKey[a.Call.Key]
	if rec != nil {
		s.expire(rec, now)
	}
	switch {
	case rec == nil && a.Join:
		return false, broker.ErrCallGone
	case rec == nil || !a.Join && (rec.free(args) || rec.runsAgain(a, args, now)):
		if rec, err = s.add(a, rec, k, now); err != nil {
			return false, err
		}
		rec.args = args
		a.State, made = broker.CallNew, true
	case !a.Join && rec.args != args:
		return false, broker.ErrOtherArgs
	case rec.done:
		a.State = broker.CallDone
	default:
		a.State = broker.CallRunning
	}
	rec.attach(c)
	return made, nil
}

// ReadCalls implements [broker.KeyedCallerConn].
func (c *callerConn) ReadCalls(_ context.Context, reads []broker.CallRead, records []broker.CallRecord) {
	r, s := c.rpc, &c.rpc.records
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range reads {
		records[i] = broker.CallRecord{}
		if r.closed || c.closed {
			records[i].Err = broker.ErrClosed
		} else if rec := s.byKey[reads[i].Key]; rec != nil {
			s.expire(rec, now)
			rec.read(&reads[i], &records[i], now)
		}
	}
}

// Stop implements [broker.KeyedCallerConn].
func (c *callerConn) Stop(_ context.Context, _ string, key broker.CallKey) error {
	r, s := c.rpc, &c.rpc.records
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || c.closed {
		return broker.ErrClosed
	}
	rec := s.byKey[key]
	switch {
	case rec == nil:
		return broker.ErrCallGone
	case !rec.done:
		s.stop(rec)
	}
	return nil
}

// tellNews tells the node of a key, unless it has closed. The caller holds no lock.
func (c *callerConn) tellNews(keys []broker.CallKey) {
	if c.gate.enter() {
		defer c.gate.leave()
		c.news(keys)
	}
}

// attach has news of rec told to c, too.
func (rec *record) attach(c *callerConn) {
	if c.news != nil && !slices.Contains(rec.nodes, c) {
		open := slices.DeleteFunc(slices.Clone(rec.nodes), func(c *callerConn) bool { return c.closed })
		rec.nodes = append(open, c)
	}
}

// read answers a read at the time now.
func (rec *record) read(read *broker.CallRead, to *broker.CallRecord, now time.Duration) {
	to.State, to.Left, to.Attempt = broker.CallRunning, rec.deadline-now, rec.attempt
	if rec.done {
		to.State, to.Result, to.Late = broker.CallDone, rec.result, rec.late
	}
	if len(rec.parts) == 0 {
		return
	}
	to.First = rec.first()
	from := 0
	if read.After >= to.First {
		from = int(min(read.After-to.First+1, uint32(len(rec.parts))))
	}
	kept := rec.parts[from:]
	n, bytes := 0, 0
	for n < min(len(kept), read.MaxParts) && (n == 0 || bytes+len(kept[n]) <= read.MaxBytes) {
		bytes += len(kept[n])
		n++
	}
	if n == 0 {
		return
	}
	to.Parts = make([]broker.Part, n)
	for i := range to.Parts {
		to.Parts[i] = broker.Part{N: to.First + uint32(from+i), Args: kept[i]}
	}
}

// refusal returns the outcome of a call that was never taken.
func refusal(code frame.Code, message string) *broker.Error {
	return &broker.Error{Code: code, Message: message, Refused: true}
}

var (
	errExpired   = refusal(frame.CodeExpired, "the call's time was over before a callee took it")
	errUnserved  = refusal(broker.ErrUnserved.Code, broker.ErrUnserved.Message)
	errWithdrawn = refusal(frame.CodeCancelled, "the call was stopped before a callee took it")
	errStopped   = &broker.Error{Code: frame.CodeCancelled, Message: "the call was stopped"}

	errNoRoom = fmt.Errorf("memory: no room for what is kept of one more call with a key: %w", broker.ErrUnavailable)
)
