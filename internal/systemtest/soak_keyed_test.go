//go:build long

package systemtest_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
)

const (
	// keepKeyed is for how long outcomes of calls with keys are kept: longer than anybody
	// joins them.
	keepKeyed = 30 * time.Second

	// keyedLateness is what the outcome of a call with a key may be late, beside lateness: a
	// node that cannot ask what has become of the call asks again for half a minute.
	keyedLateness = 40 * time.Second
)

// soakBegun is when the first keys were made.
var soakBegun = time.Now()

// isShared reports whether k names a call with a key, which belongs to no session.
func (k callKey) isShared() bool { return k.Session == 0 }

// args are what the callee gets of a CALL.
func (r *request) args(session, serial uint32) callKey {
	if r.number != 0 {
		return callKey{0, r.number}
	}
	return callKey{session, serial}
}

// A keyedAnswer is what "keyed" answers: another one for each run.
type keyedAnswer struct {
	Call json.RawMessage
	Run  uint64
}

func answerOnce(ctx context.Context, c *calleekit.Call) (any, error) {
	timer := time.NewTimer(rand.N(100 * time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
		return keyedAnswer{c.Args, rand.Uint64()}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// callKeyed makes a call with one of the keys of these seconds, or joins it.
func (s *session) callKeyed(r *rand.Rand) uint32 {
	if s.isBusy() {
		return 0
	}
	number := 1 + 4*uint32(time.Since(soakBegun)/time.Second) + r.Uint32N(12) // of three seconds
	uri := []string{"keyed", "child.keyed"}[number%2]
	join := r.IntN(5) == 0
	timeout := between(r, 1000, int(longestCall.Milliseconds()))
	return s.send(&frame.Frame{Type: frame.Call, URI: []byte(uri), Timeout: timeout, Key: strconv.AppendUint(nil, uint64(number), 10), HasSince: join},
		&request{uri: uri, timeout: timeout, number: number, join: join})
}

// keyedOutcome checks that of a call with a key. mu is held.
func (s *session) keyedOutcome(serial uint32, r *request, f *frame.Frame) {
	if took := time.Since(r.begun); took > longestCall+lateness+keyedLateness {
		s.books.violated("session %d: call %d with the key %d ended after %v", s.id, serial, r.number, took)
	}
	allowed := false
	switch code := f.Err.Code; {
	case code == 410 && f.Type == frame.Nack:
		allowed = r.join
	case code == 410:
		allowed = true
		s.books.lost(expiry{callKey{0, r.number}, r.begun, time.Now()})
	case code == 499 && f.Type == frame.Res:
		allowed = r.cancelled || s.books.wasStopped(r.number)
	case code == 502 && f.Type == frame.Res:
		allowed = true
		s.books.tell(r.number, "502")
	case code == 0:
		var answer keyedAnswer
		allowed = json.Unmarshal(f.Args, &answer) == nil && string(answer.Call) == string(encode(callKey{0, r.number}))
		s.books.tell(r.number, strconv.FormatUint(answer.Run, 16))
	default:
		allowed = code == 404 || code == 408 || code == 503
	}
	if !allowed {
		s.books.violated("session %d: call %d with the key %d ended in %v %d %s %s", s.id, serial, r.number, f.Type, f.Err.Code, f.Err.Message, f.Args)
	}
}

// A telling is an outcome that somebody was told of a call with a key.
type telling struct {
	outcome string
	at      time.Time
}

func (b *books) tell(number uint32, outcome string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told[number] = append(b.told[number], telling{outcome, time.Now()})
}

func (b *books) lost(e expiry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = append(b.gone, e)
}

func (b *books) stop(number uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped[number] = true
}

func (b *books) wasStopped(number uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stopped[number]
}

// checkKeyed looks at what was told of calls with keys. mu is held.
func (b *books) checkKeyed(t *testing.T) {
	t.Helper()
	mayForget := func(f *fault) bool { return f.mayForget }
	for number, told := range b.told {
		for _, other := range told[1:] {
			if first := told[0]; other.outcome != first.outcome && !b.excused(mayForget, aftermath, first.at.Add(-longestCall), other.at) {
				t.Errorf("of the key %d somebody was told %s, and %v later somebody %s%s", number, first.outcome, other.at.Sub(first.at), other.outcome, b.storm(first.at))
			}
		}
	}
	for _, e := range b.gone {
		if !b.excused(mayForget, aftermath, e.begun, e.end) {
			t.Errorf("of the key %d nothing was kept%s", e.key.Serial, b.storm(e.end))
		}
	}
	b.counts["calls with keys"] = len(b.told)
}
