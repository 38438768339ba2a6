package juggler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/keyed"
)

// An Outcome is what is known of a call with a key.
type Outcome struct {
	// State is broker.CallRunning or broker.CallDone. The rest is that of a call that is
	// done, but for Left.
	State broker.CallState

	Args  json.RawMessage // the result, if Err is nil
	Err   *Error          // why the call failed
	Ran   time.Duration   // how long its function ran; 0: not known
	Parts int             // how many parts the answer had
	Late  bool            // the time of the call was over: who waited got code 408

	Left time.Duration // the time that is left of a call that runs
}

// Outcome looks up what became of the call that clients with this scope ([WithKeyScope])
// have made to uri with this key, whichever node they are on. It is for code of the server
// that has to know, such as a page about an order; nobody's rights are asked for. The error
// is, or wraps, [broker.ErrCallGone] if nothing is kept of such a call, and
// [ErrNoOutcomes] if the broker keeps none at all.
func (h *Handler) Outcome(ctx context.Context, uri, scope, key string) (Outcome, error) {
	conn, err := h.keyedCaller(ctx)
	if err != nil {
		return Outcome{}, outcomeError(uri, err)
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.brokerTimeout)
	defer cancel()
	reads := [1]broker.CallRead{{URI: uri, Key: broker.NewCallKey(uri, scope, key)}}
	var records [1]broker.CallRecord
	conn.ReadCalls(ctx, reads[:], records[:])
	switch r := &records[0]; {
	case r.Err != nil:
		return Outcome{}, outcomeError(uri, r.Err)
	case r.State == broker.CallGone:
		return Outcome{}, outcomeError(uri, broker.ErrCallGone)
	case r.State == broker.CallRunning:
		return Outcome{State: r.State, Left: max(r.Left, 0)}, nil
	default:
		o := outcomeOf(&r.Result)
		o.Late = r.Late
		return o, nil
	}
}

// AwaitOutcome is [Handler.Outcome] that waits until the call has its outcome, until its
// time is over (Err has code 408), or until ctx ends. The call goes on in any case.
func (h *Handler) AwaitOutcome(ctx context.Context, uri, scope, key string) (Outcome, error) {
	if _, err := h.keyedCaller(ctx); err != nil {
		return Outcome{}, outcomeError(uri, err)
	}
	got := make(chan Outcome, 1)
	w := &keyed.Waiter{Tell: func(r *broker.Result) { got <- outcomeOf(r) }}
	a := broker.Attachment{Call: &broker.Call{URI: uri, Key: broker.NewCallKey(uri, scope, key)}, Join: true}
	rule := h.cfg.outcomeRule(uri)
	a.Keep, a.MaxPartBytes = rule.Keep, rule.PartBytes
	within, cancel := context.WithTimeout(ctx, h.cfg.brokerTimeout)
	err := h.keyed.Attach(within, &a, w)
	cancel()
	if err != nil {
		return Outcome{}, outcomeError(uri, err)
	}
	h.keyed.Join(w, broker.Window{})
	defer h.keyed.Leave(w)
	select {
	case o := <-got:
		return o, nil
	case <-ctx.Done():
		return Outcome{}, outcomeError(uri, ctx.Err())
	case <-h.ctx.Done():
		return Outcome{}, ErrShutdown
	}
}

// StopCall ends such a call for all who wait for it, as a client's CANCEL with stop does. One
// that has an outcome keeps it.
func (h *Handler) StopCall(ctx context.Context, uri, scope, key string) error {
	conn, err := h.keyedCaller(ctx)
	if err == nil {
		within, cancel := context.WithTimeout(ctx, h.cfg.brokerTimeout)
		defer cancel()
		err = conn.Stop(within, uri, broker.NewCallKey(uri, scope, key))
	}
	if err != nil {
		return outcomeError(uri, err)
	}
	return nil
}

// ErrNoOutcomes is the error of methods about calls with keys of a handler whose broker
// keeps no outcomes.
var ErrNoOutcomes = errors.New("the broker keeps no outcomes of calls")

// keyedCaller returns the connection to a broker that keeps outcomes, and opens it if no
// session has.
func (h *Handler) keyedCaller(ctx context.Context) (broker.KeyedCallerConn, error) {
	if h.closing.Load() {
		return nil, ErrShutdown
	}
	if err := h.start(ctx); err != nil {
		return nil, err
	}
	if h.broker.keyedCaller == nil {
		return nil, ErrNoOutcomes
	}
	return h.broker.keyedCaller, nil
}

// outcomeOf returns what a result is to code of the server.
func outcomeOf(r *broker.Result) Outcome {
	o := Outcome{State: broker.CallDone, Err: r.Err, Ran: r.Ran, Parts: int(r.Parts)}
	if r.Err == nil {
		o.Args = r.Args
	}
	return o
}

func outcomeError(uri string, err error) error {
	return fmt.Errorf("juggler: outcome of a call of %s: %w", uri, err)
}
