package calleekit_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
)

// keyed attaches to a call of "f" with a key and returns how to read its record.
func (s *system) keyed(key string, w broker.Window) (node broker.KeyedCallerConn, read func() broker.CallRecord) {
	s.t.Helper()
	node, err := s.engine.OpenKeyedCaller(s.t.Context(), broker.ID{2}, func([]broker.Result) {}, func([]broker.Part) {}, func([]broker.CallKey) {})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { node.Close() })
	name := broker.NewCallKey("f", "user", key)
	err = node.Attach(s.t.Context(), &broker.Attachment{
		Call:     &broker.Call{URI: "f", Key: name, Timeout: time.Minute, Window: w},
		MaxOwned: 1, Keep: time.Minute, MaxPartBytes: 1 << 20,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return node, func() broker.CallRecord {
		var records [1]broker.CallRecord
		node.ReadCalls(context.Background(), []broker.CallRead{{URI: "f", Key: name, MaxParts: 1000, MaxBytes: 1 << 20}}, records[:])
		return records[0]
	}
}

// A function is told the key of a call that has one, and of no other.
func TestKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil, calleekit.WithConcurrency(1))
		c.Handle("f", func(_ context.Context, c *calleekit.Call) (any, error) { return c.Key(), nil })
		s.start(c)
		_, read := s.keyed("k", broker.Window{})
		synctest.Wait()
		if got, want := string(read().Result.Args), `"`+broker.NewCallKey("f", "user", "k").String()+`"`; got != want {
			t.Errorf("the key is %s, want %s", got, want)
		}
		if r := <-s.call("f", "").result; string(r.Args) != `""` {
			t.Errorf("the key of a call without one is %s", r.Args)
		}
	})
}

// The function of a call with a key waits for nobody in Send, and ends when it is stopped.
func TestKeyedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil)
		var cause error
		c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
			for i := range 500 {
				if err := c.Send(ctx, i); err != nil {
					return nil, err
				}
			}
			<-ctx.Done()
			cause = context.Cause(ctx)
			return nil, cause
		})
		s.start(c)
		node, read := s.keyed("k", broker.Window{Parts: 1, Bytes: 1})
		synctest.Wait()
		if rec := read(); rec.State != broker.CallRunning || len(rec.Parts) != 500 {
			t.Errorf("%d parts in the state %q", len(rec.Parts), rec.State)
		}
		if err := node.Stop(t.Context(), "f", broker.NewCallKey("f", "user", "k")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if cause != calleekit.ErrCancelled {
			t.Errorf("the function ended by %v", cause)
		}
		if err := read().Result.Err; err == nil || err.Code != frame.CodeCancelled {
			t.Errorf("the outcome is %v", err)
		}
	})
}
