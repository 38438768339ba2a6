package juggler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/jugglertest"
)

// What a callee does wrong, and what the caller sees of it.
func TestOutcomesOfCallees(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet))
	functions := map[string]calleekit.HandlerFunc{
		"typed":       calleekit.Typed(func(_ context.Context, in struct{ N int }) (int, error) { return in.N, nil }),
		"panics":      func(context.Context, *calleeCall) (any, error) { panic("secret") },
		"unmarshal":   func(context.Context, *calleeCall) (any, error) { return func() {}, nil },
		"plain error": func(context.Context, *calleeCall) (any, error) { return nil, errors.New("it broke") },
		"coded error": func(context.Context, *calleeCall) (any, error) {
			return nil, &calleekit.Error{Code: 422, Message: "not a number", Data: json.RawMessage(`{"at":3}`)}
		},
		"nil":          func(context.Context, *calleeCall) (any, error) { return nil, nil },
		"large result": func(context.Context, *calleeCall) (any, error) { return strings.Repeat("x", 1<<19), nil },
	}
	quietly := calleekit.WithLogger(quiet)
	c, err := calleekit.New(s.broker, quietly)
	if err != nil {
		t.Fatal(err)
	}
	for uri, f := range functions {
		c.Handle(uri, f)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	tests := []struct{ uri, args, res string }{
		{"typed", `{"N":7}`, `{"args":7}`},
		{"typed", `{"N":"seven"}`, `{"error":{"code":400}}`},
		{"typed", `[]`, `{"error":{"code":400}}`},
		{"panics", `1`, `{"error":{"code":500}}`},
		{"unmarshal", `1`, `{"error":{"code":500}}`},
		{"plain error", `1`, `{"error":{"code":500,"message":"internal error"}}`},
		{"coded error", `1`, `{"error":{"code":422,"message":"not a number","data":{"at":3}}}`},
		{"nil", `1`, `{"args":null}`},
	}
	client := s.dial("juggler.1")
	for _, tt := range tests {
		t.Run(tt.uri, func(t *testing.T) {
			client.send(`{"type":"CALL","id":"1","uri":"` + tt.uri + `","args":` + tt.args + `}`)
			client.expect(`{"type":"ACK","for":"1"}`)
			if b := string(client.receive()); strings.Contains(b, "secret") {
				t.Errorf("RES leaks internals: %s", b)
			} else {
				client.compare([]byte(b), tt.res)
			}
		})
	}
	client.conn.SetReadLimit(1 << 20)
	client.send(`{"type":"CALL","id":"1","uri":"large result"}`)
	client.expect(`{"type":"ACK","for":"1"}`)
	if b := client.receive(); len(b) < 1<<19 {
		t.Errorf("got %d bytes", len(b))
	}
}

// What is larger than what may wait for a client cannot be sent to it: closing
// the session would only have it ask again.
func TestResultsAndEventsThatAreTooLarge(t *testing.T) {
	s := newServer(t, juggler.WithMaxQueueBytes(70<<10), juggler.WithLogger(quiet))
	s.handle("large", func(context.Context, *calleeCall) (any, error) { return strings.Repeat("x", 80<<10), nil })
	c := s.dial("juggler.1")
	c.send(`{"type":"CALL","id":"1","uri":"large"}`)
	c.expect(`{"type":"ACK","for":"1"}`)
	c.expect(`{"type":"RES","for":"1","error":{"code":413,"message":"the result has 81922 bytes, and at most 70656 may wait for a client"}}`)
	c.send(`{"type":"SUB","id":"2","channel":"c"}`)
	c.expect(`{"type":"ACK","for":"2"}`)
	large := strings.Repeat("x", 80<<10)
	if err := s.h.Publish(t.Context(), "c", large, nil); !errors.Is(err, frame.Code(juggler.CodeTooLarge)) {
		t.Errorf("a publication of the server itself: got %v", err)
	}
	if err := broker.Publish(t.Context(), s.broker, "c", large, nil); err != nil { // it may fit elsewhere
		t.Fatal(err)
	}
	c.expect(`{"type":"GAP","channel":"c"}`)
	if err := s.h.Publish(t.Context(), "c", "small", nil); err != nil {
		t.Fatal(err)
	}
	c.expect(`{"type":"EVNT","args":"small"}`)
}

// Names, and what juggler.0 escapes, count as well.
func TestResultsAndEventsThatBecomeTooLarge(t *testing.T) {
	s := newServer(t, juggler.WithMaxQueueBytes(70<<10), juggler.WithLogger(quiet))
	args := json.RawMessage(`"` + strings.Repeat("<", 20<<10) + `"`)
	s.handle("html", func(context.Context, *calleeCall) (any, error) { return args, nil })
	c, old := s.dial("juggler.1"), s.dial("juggler.0")

	old.send(`{"meta":{"type":1,"uuid":""},"payload":{"uri":"html"}}`)
	old.expect(`{"meta":{"type":8}}`)
	old.expect(`{"meta":{"type":9},"payload":{"args":{"error":{"message":"the result has 122990 bytes, and at most 71670 may wait for a client"}}}}`)

	old.send(`{"meta":{"type":3,"uuid":""},"payload":{"channel":"html"}}`)
	old.expect(`{"meta":{"type":8}}`)
	c.send(`{"type":"PUB","id":"1","channel":"html","args":` + string(args) + `}`)
	c.expect(`{"type":"ACK","for":"1"}`)
	old.expectClose(juggler.CloseOverloaded)

	channel := strings.Repeat("c", 1000)
	c.send(`{"type":"SUB","id":"2","channel":"` + channel + `"}`)
	c.expect(`{"type":"ACK","for":"2"}`)
	if err := s.h.Publish(t.Context(), channel, strings.Repeat("x", 69<<10-2), nil); err != nil {
		t.Fatal(err)
	}
	c.expect(`{"type":"GAP","channel":"` + channel + `"}`)
	if err := s.h.Publish(t.Context(), channel, "small", nil); err != nil {
		t.Fatal(err)
	}
	c.expect(`{"type":"EVNT","args":"small"}`)
}

func TestExpiryAndCancel(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := jugglertest.New(t, append(path.opts, juggler.WithCallTimeout(3*time.Second))...)
				started := make(chan struct{}, 3)
				cancelled := make(chan error, 1)
				srv.Handle("wait", func(ctx context.Context, _ *calleeCall) (any, error) {
					started <- struct{}{}
					<-ctx.Done()
					cancelled <- context.Cause(ctx)
					return nil, ctx.Err()
				})
				c := dialIn(t, srv, "juggler.1", nil)

				start := time.Now()
				c.send(`{"type":"CALL","id":"1","uri":"wait"}`)
				c.expect(`{"type":"ACK","for":"1"}`)
				c.expect(`{"type":"RES","for":"1","error":{"code":408}}`)
				if d := time.Since(start); d < 3*time.Second || d > 3100*time.Millisecond {
					t.Errorf("expired after %v", d)
				}
				if err := <-cancelled; !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the callee's context ended with %v", err)
				}

				c.send(`{"type":"CALL","id":"1","uri":"wait","timeout":60000}`)
				c.expect(`{"type":"ACK","for":"1"}`)
				<-started // of the first call
				<-started // one that is still queued would never start
				c.send(`{"type":"CANCEL","for":"1"}`)
				c.send(`{"type":"CANCEL","for":"1"}`) // over: ignored
				c.send(`{"type":"CANCEL","for":"unknown"}`)
				c.expect(`{"type":"RES","for":"1","error":{"code":499}}`)
				if err := <-cancelled; !errors.Is(err, calleekit.ErrCancelled) {
					t.Errorf("the callee's context ended with %v", err)
				}

				// A session that goes cancels its calls.
				c.send(`{"type":"CALL","id":"1","uri":"wait","timeout":60000}`)
				c.expect(`{"type":"ACK","for":"1"}`)
				time.Sleep(time.Second)
				c.conn.CloseNow()
				if err := <-cancelled; !errors.Is(err, calleekit.ErrCancelled) {
					t.Errorf("the callee's context ended with %v", err)
				}
			})
		})
	}
}

func TestKeepCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithKeepCalls())
		done := make(chan error, 2)
		srv.Handle("work", func(ctx context.Context, _ *calleeCall) (any, error) {
			time.Sleep(5 * time.Second)
			done <- ctx.Err()
			return nil, nil
		})
		c := dialIn(t, srv, "juggler.1", nil)
		c.send(`{"type":"CALL","id":"1","uri":"work"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		c.send(`{"type":"CANCEL","for":"1"}`)
		c.expect(`{"type":"RES","for":"1","error":{"code":499}}`)
		c.send(`{"type":"CALL","id":"1","uri":"work"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		time.Sleep(time.Second)
		c.conn.CloseNow()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("the callee's context ended: %v", err)
			}
		}
	})
}

func TestCalleeThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t)
		callee := srv.NewCallee()
		callee.Handle("wait", wait)
		srv.Start(callee)
		c := dialIn(t, srv, "juggler.1", nil)
		c.send(`{"type":"CALL","id":"1","uri":"wait"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		time.Sleep(time.Second)
		callee.Close()
		c.expect(`{"type":"RES","for":"1","error":{"code":502}}`)
	})
}

func TestFullQueue(t *testing.T) {
	srv := newServer(t, juggler.WithMaxCalls(10000), juggler.WithMaxCallsPerURI(10000))
	srv.handle("wait", wait) // takes 256 calls, and the queue some more
	c := srv.dial("juggler.1")
	for {
		c.send(`{"type":"CALL","id":"` + time.Now().Format("05.000000000") + `","uri":"wait"}`)
		if b := string(c.receive()); strings.Contains(b, `"NACK"`) {
			c.compare([]byte(b), `{"type":"NACK","error":{"code":503}}`)
			if !strings.Contains(b, `"retry_after":`) {
				t.Errorf("503 without retry_after: %s", b)
			}
			return
		}
	}
}

// paths are the two ways through the server: on the loop, and through a
// session's queue.
var paths = []struct {
	name string
	opts []juggler.Option
}{
	{"inline", nil},
	{"queued", []juggler.Option{juggler.WithAuthorizer(juggler.AuthorizerFunc(func(context.Context, *juggler.Request) error { return nil }))}},
}

// User code that returns an Error pointer without an Error has failed; so has
// one that gives no code.
func TestErrorsWithoutContent(t *testing.T) {
	var none *juggler.Error
	s := newServer(t, juggler.WithLogger(quiet),
		juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
			if r.Header.Get("User") == "nobody" {
				return nil, none
			}
			return &juggler.Identity{}, nil
		}),
		juggler.WithAuthorizer(juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
			if r.Channel() == "none" {
				return none
			}
			return &juggler.Error{Message: "no code"}
		})))
	c := s.dial("juggler.1")
	c.send(`{"type":"PUB","id":"1","channel":"none"}`)
	c.expect(`{"type":"NACK","for":"1","error":{"code":500}}`)
	c.send(`{"type":"PUB","id":"2","channel":"c"}`)
	c.expect(`{"type":"NACK","for":"2","error":{"code":500,"message":"no code"}}`)

	r := upgrade(s.http.URL)
	r.Header.Set("User", "nobody")
	if resp, _ := try(t, r); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a client that nobody knows gets %d", resp.StatusCode)
	}
}

// A call whose fate the broker cannot tell may run: it is acknowledged.
func TestCallWithUnclassifiedOutcome(t *testing.T) {
	for name, failure := range map[string]error{
		"time over":    context.DeadlineExceeded,
		"unclassified": errors.New("engine: secret host reset the connection"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newAlteredBroker(t)
				b.call = func(context.Context, *broker.Call) error { return failure }
				srv := jugglertest.NewOn(t, b)
				c := dialIn(t, srv, "juggler.1", nil)
				c.send(`{"type":"CALL","id":"1","uri":"u","timeout":100}`)
				c.expect(`{"type":"ACK","for":"1"}`)
				c.expect(`{"type":"RES","for":"1","error":{"code":408}}`)
			})
		})
	}
}

// So it is with a publication, except that nothing can be expected of it.
func TestPublicationWithUnclassifiedOutcome(t *testing.T) {
	b := newAlteredBroker(t)
	b.publish = func(context.Context) error { return errors.New("engine: secret host reset the connection") }
	srv := jugglertest.NewOn(t, b)
	c := dialIn(t, srv, "juggler.1", nil)
	c.send(`{"type":"PUB","id":"1","channel":"c"}`)
	got := fmt.Sprint(c.expect(`{"type":"NACK","for":"1","error":{"code":500}}`))
	if strings.Contains(got, "secret") || !strings.Contains(got, "outcome unknown") {
		t.Errorf("got %s", got)
	}
}
