package calleekit

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"sync"
)

// A Recorder is the caller in the test of a function. It takes the answer in parts and
// keeps them:
//
//	var r calleekit.Recorder
//	result, err := r.Serve(ctx, f, &calleekit.Call{Args: json.RawMessage(`3`)})
//	// r.Parts is what f has sent.
type Recorder struct {
	Parts []json.RawMessage // what was sent

	// Key is what [Call.Key] returns.
	Key string

	// Attempt is what [Call.Attempt] returns, up to 255; 0: 1 with a Key.
	Attempt int

	// Most, if above 0, is after how many parts the caller goes away: [Call.Send] then fails
	// and the context of the function ends with the cause [ErrCancelled].
	Most int
}

// Serve calls f with c as a callee does, but on this goroutine: a panic is the test's. It
// returns what f did, its value as JSON. The parts are added to those of r, which
// must not be used meanwhile.
func (r *Recorder) Serve(ctx context.Context, f HandlerFunc, c *Call) (result json.RawMessage, err error) {
	if c.key = r.Key; c.key != "" {
		c.attempt = uint8(max(1, min(r.Attempt, math.MaxUint8)))
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, callKey{}, c))
	var mu sync.Mutex // guards the following, and r
	returned := false
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		returned = true
		cancel(nil)
	}()
	c.send = func(sending context.Context, v any) error {
		part, err := encodePart(v, c.Args)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if returned {
			return errReturned
		}
		if r.Most > 0 && len(r.Parts) >= r.Most {
			cancel(ErrCancelled)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := sending.Err(); err != nil {
			return err
		}
		r.Parts = append(r.Parts, slices.Clone(part))
		return nil
	}
	v, err := f(ctx, c)
	if err != nil {
		return nil, err
	}
	return encode(v, c.Args)
}
