package juggler_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/jugglertest"
)

// ends is what observers were told.
type ends struct {
	mu  sync.Mutex
	all []juggler.CallEnd
}

func (e *ends) add(end juggler.CallEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, end)
}

// await returns the first end, and forgets it.
func (e *ends) await(t *testing.T) (end juggler.CallEnd) {
	t.Helper()
	waitFor(t, "the end of a call", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.all) == 0 {
			return false
		}
		end, e.all = e.all[0], e.all[1:]
		return true
	})
	return end
}

// Whatever becomes of a call, its observers are told once: those of all calls, and
// what middleware has left with it. The road of the call does not matter.
func TestCallObservers(t *testing.T) {
	for name, road := range map[string]struct {
		roles func(*memory.Broker) jugglertest.Roles
		opts  func(leave func(*juggler.Request)) juggler.Option
	}{
		"on the turn": {itself, nonBlockingMiddleware},
		"in a batch":  {mayWait, nonBlockingMiddleware},
		"in the queue": {itself, func(leave func(*juggler.Request)) juggler.Option {
			return juggler.WithMiddleware(func(next juggler.RequestHandler) juggler.RequestHandler {
				return func(ctx context.Context, r *juggler.Request) error {
					leave(r)
					return next(ctx, r)
				}
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var all, own ends
			s := newServerOn(t, road.roles, juggler.WithLogger(quiet), juggler.WithMaxCalls(1), juggler.WithCallObserver(all.add),
				road.opts(func(r *juggler.Request) {
					uri := r.URI()
					r.OnCallEnd(func(juggler.CallEnd) { panic("in an observer") })
					r.OnCallEnd(func(e juggler.CallEnd) {
						if e.URI != uri {
							t.Errorf("the function that was left with %s is told of %s", uri, e.URI)
						}
						own.add(e)
					})
				}))
			s.handle("echo", echo)
			s.handle("wait", wait)
			s.handle("fail", func(context.Context, *calleeCall) (any, error) { return nil, &calleekit.Error{Code: 422} })
			testCallEnds(t, s, &all, &own)
		})
	}
}

func nonBlockingMiddleware(leave func(*juggler.Request)) juggler.Option {
	return juggler.WithNonBlockingMiddleware(func(_ context.Context, r *juggler.Request) (func(error) error, error) {
		leave(r)
		return nil, nil
	})
}

func testCallEnds(t *testing.T, s *testServer, all, own *ends) {
	c := s.dial("juggler.1")
	for _, tt := range []struct {
		send   []string
		expect []string
		want   juggler.CallEnd
		early  bool // middleware does not see it
	}{
		{[]string{`{"type":"CALL","id":"1","uri":"echo","args":1}`}, []string{`{"type":"ACK"}`, `{"type":"RES"}`}, juggler.CallEnd{URI: "echo"}, false},
		{[]string{`{"type":"CALL","id":"1","uri":"fail"}`}, []string{`{"type":"ACK"}`, `{"type":"RES"}`}, juggler.CallEnd{URI: "fail", Code: 422}, false},
		{[]string{`{"type":"CALL","id":"1","uri":"nobody"}`}, []string{`{"type":"NACK"}`}, juggler.CallEnd{URI: "nobody", Code: 404, Refused: true}, false},
		{[]string{`{"type":"CALL","id":"1","uri":"echo","timeout":99999999999}`}, []string{`{"type":"NACK"}`}, juggler.CallEnd{URI: "echo", Code: 400, Refused: true}, true},
		{[]string{`{"type":"CALL","id":"1","uri":"wait","timeout":500}`}, []string{`{"type":"ACK"}`, `{"type":"RES","error":{"code":408}}`}, juggler.CallEnd{URI: "wait", Code: 408}, false},
		{[]string{`{"type":"CALL","id":"1","uri":"wait"}`, `{"type":"CANCEL","for":"1"}`}, []string{`{"type":"ACK"}`, `{"type":"RES","error":{"code":499}}`}, juggler.CallEnd{URI: "wait", Code: 499}, false},
		{[]string{`{"type":"CALL","id":"1","uri":"wait"}`}, []string{`{"type":"ACK"}`}, juggler.CallEnd{URI: "wait", Code: 499, Untold: true}, false},
	} {
		for _, message := range tt.send {
			c.send(message)
		}
		for _, message := range tt.expect {
			c.expect(message)
		}
		if tt.want.Untold {
			c.conn.CloseNow()
		}
		got := all.await(t)
		if got.Session.ID() == "" || got.Ran > got.Total || got.Total <= 0 && !tt.early || got.Code < 408 && (got.Ran > 0) != (got.Code == 0) {
			t.Errorf("%v: %+v", tt.send, got)
		}
		if !tt.early {
			if theirs := own.await(t); theirs != got {
				t.Errorf("%v: middleware is told %+v, other observers %+v", tt.send, theirs, got)
			}
		}
		got.Session, got.Total, got.Ran = juggler.Session{}, 0, 0
		if got != tt.want {
			t.Errorf("%v: got %+v, want %+v", tt.send, got, tt.want)
		}
	}
	s.waitSessions(0)
	if len(all.all) > 0 || len(own.all) > 0 {
		t.Errorf("told more than once: %v, %v", all.all, own.all)
	}
}

// Calls that have ended are counted by URI, but not for each name that clients think of.
func TestStatsOfCalls(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet), juggler.WithCallStats(2))
	for _, uri := range []string{"a", "b", "c"} {
		s.handle(uri, func(context.Context, *calleeCall) (any, error) {
			if uri == "b" {
				return nil, &calleekit.Error{Code: 409}
			}
			runtime.Gosched()
			return nil, nil
		})
	}
	c := s.dial("juggler.1")
	for i, uri := range []string{"nobody", "b", "a", "c", "a", "nothing"} {
		c.send(fmt.Sprintf(`{"type":"CALL","id":"%d","uri":%q}`, i, uri))
		if c.receive(); uri < "n" {
			c.receive()
		}
	}
	c.send(`{"type":"CALL","id":"1","uri":"a","timeout":99999999999}`)
	c.expect(`{"type":"NACK"}`)
	calls := s.h.Stats().Calls
	for i := range calls {
		if n := &calls[i]; n.Total < n.Ran || (n.Ran > 0) != (n.Code != 404 && n.Code != 400) {
			t.Errorf("times: %+v", *n)
		} else {
			n.Total, n.Ran = 0, 0
		}
	}
	want := []juggler.CallCount{
		{URI: "", Code: 0, Count: 1}, {URI: "", Code: 404, Count: 2},
		{URI: "a", Code: 0, Count: 2}, {URI: "a", Code: 400, Count: 1}, {URI: "b", Code: 409, Count: 1},
	}
	if !slices.Equal(calls, want) {
		t.Errorf("got  %+v\nwant %+v", calls, want)
	}
}

// The time that a call waits for its callee is told apart from that of the function.
func TestCallObserversTellQueueTime(t *testing.T) {
	var all ends
	s := newServer(t, juggler.WithCallObserver(all.add))
	callee, err := calleekit.New(s.broker, calleekit.WithConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	callee.Handle("f", func(_ context.Context, c *calleeCall) (any, error) {
		if string(c.Args) == "1" {
			<-release
		}
		return nil, nil
	})
	if err := callee.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer callee.Close()
	c := s.dial("juggler.1")
	c.send(`{"type":"CALL","id":"1","uri":"f","args":1}`)
	c.send(`{"type":"CALL","id":"2","uri":"f","args":2}`)
	c.expect(`{"type":"ACK"}`)
	c.expect(`{"type":"ACK"}`)
	start := time.Now()
	waitFor(t, "some time to pass", func() bool { return time.Since(start) > 50*time.Millisecond })
	close(release)
	first, second := all.await(t), all.await(t)
	if first.Ran < 50*time.Millisecond || second.Ran > second.Total/2 || second.Total < 50*time.Millisecond {
		t.Errorf("the first call ran %v of %v, the second one %v of %v", first.Ran, first.Total, second.Ran, second.Total)
	}
}
