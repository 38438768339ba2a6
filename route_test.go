package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/waiting"
	"github.com/juggler-go/juggler/jugglertest"
)

// What is wrong with one message of juggler.1 is answered, or ends the
// connection; what is right after an answered one still works.
func TestBadMessages(t *testing.T) {
	long := strings.Repeat("n", 1025)
	tests := []struct {
		name  string
		send  string
		nack  int // 0: the connection ends
		close int
	}{
		{"empty", ``, 0, 1002},
		{"white space", ` `, 0, 1002},
		{"not JSON", `{`, 0, 1002},
		{"array", `[]`, 0, 1002},
		{"null", `null`, 0, 1002},
		{"two objects", `{"type":"PONG"}{"type":"PONG"}`, 0, 1002},
		{"byte order mark", "\ufeff" + `{"type":"PONG"}`, 0, 1002},
		{"invalid UTF-8", "{\"type\":\"SUB\",\"id\":\"1\",\"channel\":\"\xff\"}", 0, 1007},
		{"no type, no id", `{}`, 0, 1002},
		{"no id", `{"type":"SUB","channel":"c"}`, 0, 1002},
		{"empty id", `{"type":"SUB","id":"","channel":"c"}`, 0, 1002},
		{"id of 65 bytes", `{"type":"SUB","id":"` + long[:65] + `","channel":"c"}`, 0, 1002},
		{"id a number", `{"type":"SUB","id":1,"channel":"c"}`, 0, 1002},
		{"unknown type", `{"type":"HELO","id":"1"}`, 400, 0},
		{"type of the server", `{"type":"EVNT","id":"1","channel":"c"}`, 400, 0},
		{"type of the server without id", `{"type":"ACK","for":"1"}`, 0, 1002},
		{"type in lower case", `{"type":"sub","id":"1","channel":"c"}`, 400, 0},
		{"CANCEL without for", `{"type":"CANCEL"}`, 0, 1002},
		{"CALL without uri", `{"type":"CALL","id":"1"}`, 400, 0},
		{"CALL with empty uri", `{"type":"CALL","id":"1","uri":""}`, 400, 0},
		{"uri a number", `{"type":"CALL","id":"1","uri":1}`, 400, 0},
		{"long uri", `{"type":"CALL","id":"1","uri":"` + long + `"}`, 400, 0},
		{"negative timeout", `{"type":"CALL","id":"1","uri":"echo","timeout":-1}`, 400, 0},
		{"huge timeout", `{"type":"CALL","id":"1","uri":"echo","timeout":600001}`, 400, 0},
		{"timeout beyond int64", `{"type":"CALL","id":"1","uri":"echo","timeout":99999999999999999999}`, 400, 0},
		{"timeout a string", `{"type":"CALL","id":"1","uri":"echo","timeout":"1s"}`, 400, 0},
		{"SUB without channel", `{"type":"SUB","id":"1"}`, 400, 0},
		{"SUB with empty channel", `{"type":"SUB","id":"1","channel":""}`, 400, 0},
		{"long channel", `{"type":"SUB","id":"1","channel":"` + long + `"}`, 400, 0},
		{"pattern a string", `{"type":"SUB","id":"1","channel":"c","pattern":"yes"}`, 400, 0},
		{"PUB without channel", `{"type":"PUB","id":"1","args":1}`, 400, 0},
		{"headers an array", `{"type":"PUB","id":"1","channel":"c","headers":[]}`, 400, 0},
		{"headers not of strings", `{"type":"PUB","id":"1","channel":"c","headers":{"a":1}}`, 400, 0},
		{"large headers", `{"type":"PUB","id":"1","channel":"c","headers":{"a":"` + strings.Repeat("h", 4096) + `"}}`, 413, 0},
		{"large args", `{"type":"PUB","id":"1","channel":"c","args":"` + strings.Repeat("a", 8192) + `"}`, 413, 0},
		{"AUTH where there is none", `{"type":"AUTH","id":"1","token":"t"}`, 400, 0},
		{"oversized", `{"type":"PUB","id":"1","channel":"c","args":"` + strings.Repeat("a", 1<<16) + `"}`, 0, 1009},
	}
	s := newServer(t, juggler.WithMaxArgsBytes(8192), juggler.WithLogger(quiet))
	s.handle("echo", echo)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := s.dial("juggler.1")
			c.send(tt.send)
			if tt.nack == 0 {
				c.expectClose(tt.close)
				return
			}
			c.expect(fmt.Sprintf(`{"type":"NACK","for":"1","error":{"code":%d}}`, tt.nack))
			c.send(`{"type":"CALL","id":"1","uri":"echo","args":7}`)
			c.expect(`{"type":"ACK","for":"1"}`)
			c.expect(`{"type":"RES","for":"1","args":7}`)
		})
	}
}

func TestBinaryMessage(t *testing.T) {
	c := newServer(t, juggler.WithLogger(quiet)).dial("juggler.1")
	if err := c.conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"type":"PONG"}`)); err != nil {
		t.Fatal(err)
	}
	c.expectClose(1003)
}

func TestIDInUse(t *testing.T) {
	for _, second := range []string{
		`{"type":"CALL","id":"1","uri":"wait"}`,
		`{"type":"SUB","id":"1","channel":"c"}`,
		`{"type":"SUB","id":"1"}`, // would be NACK 400, which would be taken for the call's
	} {
		s := newServer(t, juggler.WithLogger(quiet))
		s.handle("wait", wait)
		c := s.dial("juggler.1")
		c.send(`{"type":"CALL","id":"1","uri":"wait"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		c.send(second)
		c.expectClose(1002)
	}
}

// Calls are found by their ids however many there are.
func TestManyCallsAtOnce(t *testing.T) {
	const n = 500
	s := newServer(t, juggler.WithMaxCalls(n), juggler.WithMaxCallsPerURI(n), juggler.WithLogger(quiet))
	s.handle("wait", wait)
	clients := []*testClient{s.dial("juggler.1"), s.dial("juggler.1")} // of the same ids
	for i := range n {
		for _, c := range clients {
			c.send(fmt.Sprintf(`{"type":"CALL","id":"%d","uri":"wait"}`, i))
			c.expect(fmt.Sprintf(`{"type":"ACK","for":"%d"}`, i))
		}
	}
	for _, i := range rand.Perm(n) {
		if i%2 == 0 { // its id is free again
			clients[0].send(fmt.Sprintf(`{"type":"CANCEL","for":"%d"}`, i))
			clients[0].expect(fmt.Sprintf(`{"type":"RES","for":"%d","error":{"code":499}}`, i))
			clients[0].send(fmt.Sprintf(`{"type":"SUB","id":"%d","channel":"c"}`, i))
			clients[0].expect(fmt.Sprintf(`{"type":"ACK","for":"%d"}`, i))
		} else {
			clients[1].send(fmt.Sprintf(`{"type":"CANCEL","for":"%d"}`, i))
			clients[1].expect(fmt.Sprintf(`{"type":"RES","for":"%d","error":{"code":499}}`, i))
		}
	}
	clients[0].send(`{"type":"SUB","id":"1","channel":"c"}`) // a call still has it
	clients[0].expectClose(1002)
}

// Requests that arrive together are answered in their order, whether they are
// gathered, and for what, or not.
func TestRequestsThatArriveTogether(t *testing.T) {
	rules := func(_ context.Context, r *juggler.Request) error {
		switch r.URI() {
		case "refused":
			return juggler.ErrForbidden
		case "panics":
			panic("on purpose")
		case "exits":
			runtime.Goexit()
		}
		return nil
	}
	passOn := func(next juggler.RequestHandler) juggler.RequestHandler {
		return func(ctx context.Context, r *juggler.Request) error {
			err := next(ctx, r)
			if r.URI() == "echo.exits" {
				runtime.Goexit()
			}
			return err
		}
	}
	kinds := []struct{ message, code string }{ // with no code: an ACK
		{`"CALL","uri":"echo","args":1`, ""},
		{`"CALL","uri":"echo","args":"` + strings.Repeat("x", 2000) + `"`, ""},
		{`"CALL","uri":"nobody"`, "404"},
		{`"CALL","uri":"refused"`, "403"},
		{`"CALL","uri":"panics"`, "500"},
		{`"PUB","channel":"c"`, ""},
		{`"SUB","channel":"c"`, ""},
		{`"UNSB","channel":"c"`, ""},
		{`"CALL","uri":"exits"`, "500"}, // the last two end the goroutine
		{`"CALL","uri":"echo.exits"`, ""},
	}
	see := func(_ context.Context, r *juggler.Request) (func(error) error, error) {
		exits := r.URI() == "echo.exits"
		return func(err error) error {
			if exits {
				runtime.Goexit()
			}
			return err
		}, nil
	}
	nonBlocking := []juggler.Option{juggler.WithAuthorizer(juggler.NonBlocking(rules)), juggler.WithNonBlockingMiddleware(see)}
	for _, way := range []struct {
		name  string
		roles func(*memory.Broker) jugglertest.Roles
		kinds int // the first of kinds
		opts  []juggler.Option
	}{
		{"authorizer", itself, 8, []juggler.Option{juggler.WithAuthorizer(juggler.NonBlocking(rules))}},
		{"authorizer that blocks", itself, 10, []juggler.Option{juggler.WithAuthorizer(juggler.AuthorizerFunc(rules))}},
		{"middleware", itself, 8, nonBlocking},
		{"middleware that blocks", itself, 10, []juggler.Option{juggler.WithAuthorizer(juggler.NonBlocking(rules)), juggler.WithMiddleware(passOn)}},
		{"authorizer, broker that waits", waitingInBatches, 10, []juggler.Option{juggler.WithAuthorizer(juggler.NonBlocking(rules))}},
		{"authorizer that blocks, broker that waits", waitingInBatches, 10, []juggler.Option{juggler.WithAuthorizer(juggler.AuthorizerFunc(rules))}},
		{"middleware, broker that waits", waitingInBatches, 10, nonBlocking},
		{"middleware, broker that waits and takes no batches", mayWait, 10, nonBlocking},
	} {
		t.Run(way.name, func(t *testing.T) {
			const n = 400
			s := newServerOn(t, way.roles, append(way.opts, juggler.WithLogger(quiet), juggler.WithMaxCalls(n))...)
			s.handle("echo", echo)
			s.handle("echo.exits", echo)
			c := dialRaw(t, s.http.Listener.Addr().String())
			var messages, want, got []string
			results := make(map[string]int) // that are to come
			for i := range n {
				k := kinds[rand.IntN(way.kinds)]
				messages = append(messages, fmt.Sprintf(`{"id":"%d","type":%s}`, i, k.message))
				want = append(want, strings.TrimSpace(fmt.Sprintf("%d %s", i, k.code)))
				if strings.Contains(k.message, "echo") {
					results[fmt.Sprint(i)] = 1
				}
			}
			go c.conn.Write(maskedText(messages...))
			for left := len(results); left > 0 || len(got) < n; {
				f := c.answer(t)
				id := string(f.For)
				switch f.Type {
				case frame.Ack:
					got = append(got, id)
				case frame.Nack:
					got = append(got, fmt.Sprintf("%s %d", id, f.Err.Code))
					left -= results[id] // which is an error
				case frame.Res:
					if results[id]--; results[id] != 0 || !slices.Contains(got, id) {
						t.Errorf("RES for %s a second time, or before its ACK", id)
					}
					left--
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("answered:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// Where user code runs on the event loop, as it was declared never to block, it
// must not end its goroutine either: the process says so and ends, since it
// could not serve anybody any more.
func TestNonBlockingCodeThatEndsItsGoroutine(t *testing.T) {
	const env = "JUGGLER_TEST_GOEXIT"
	if os.Getenv(env) != "" {
		s := newServer(t, juggler.WithAuthorizer(juggler.NonBlocking(func(context.Context, *juggler.Request) error {
			runtime.Goexit()
			return nil
		})))
		c := s.dial("juggler.1")
		c.send(`{"type":"PUB","id":"1","channel":"c"}`)
		c.receive()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), env+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: juggler: code that was declared never to block") {
		t.Errorf("%v, with the output:\n%s", err, out)
	}
}

func TestAllowedMessages(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet))
	s.handle("echo", echo)
	header := http.Header{"Juggler-Allowed-Messages": {"call, PUB"}}
	c := s.dialHeader("juggler.1", header)
	c.send(`{"type":"SUB","id":"1","channel":"c"}`)
	c.expect(`{"type":"NACK","for":"1","error":{"code":403}}`)
	c.send(`{"type":"UNSB","id":"2","channel":"c"}`)
	c.expect(`{"type":"NACK","for":"2","error":{"code":403}}`)
	c.send(`{"type":"PUB","id":"3","channel":"c"}`)
	c.expect(`{"type":"ACK","for":"3"}`)
	c.send(`{"type":"CALL","id":"4","uri":"echo"}`)
	c.expect(`{"type":"ACK","for":"4"}`)
	c.expect(`{"type":"RES","for":"4"}`)
	c.send(`{"type":"PONG"}`)
	c.send(`{"type":"CANCEL","for":"4"}`)
	c.send(`{"type":"PUB","id":"5","channel":"c"}`)
	c.expect(`{"type":"ACK","for":"5"}`)

	old := s.dialHeader("juggler.0", header)
	old.send(`{"meta":{"type":3,"uuid":"9c9cc467-28ff-4871-97ed-7b3b2c2d4460"},"payload":{"channel":"c"}}`)
	old.expectClose(1008)
}

func TestLimitsOfASession(t *testing.T) {
	s := newServer(t, juggler.WithMaxCalls(1), juggler.WithMaxSubscriptions(1), juggler.WithLogger(quiet))
	s.handle("wait", wait)
	c := s.dial("juggler.1")
	c.send(`{"type":"CALL","id":"1","uri":"wait"}`)
	c.expect(`{"type":"ACK","for":"1"}`)
	c.send(`{"type":"CALL","id":"2","uri":"wait"}`)
	nack := c.expect(`{"type":"NACK","for":"2","error":{"code":429}}`)
	if after, _ := nack["error"].(map[string]any)["retry_after"].(float64); after <= 0 {
		t.Errorf("429 without retry_after: %v", nack)
	}
	c.send(`{"type":"CANCEL","for":"1"}`)
	c.expect(`{"type":"RES","for":"1","error":{"code":499}}`)
	c.send(`{"type":"CALL","id":"2","uri":"wait"}`)
	c.expect(`{"type":"ACK","for":"2"}`)

	c.send(`{"type":"SUB","id":"3","channel":"a"}`)
	c.expect(`{"type":"ACK","for":"3"}`)
	c.send(`{"type":"SUB","id":"4","channel":"b"}`)
	c.expect(`{"type":"NACK","for":"4","error":{"code":429}}`)
	c.send(`{"type":"SUB","id":"5","channel":"a"}`) // it has this one
	c.expect(`{"type":"ACK","for":"5"}`)
	c.send(`{"type":"UNSB","id":"6","channel":"never subscribed"}`)
	c.expect(`{"type":"ACK","for":"6"}`)
	c.send(`{"type":"UNSB","id":"7","channel":"a"}`)
	c.expect(`{"type":"ACK","for":"7"}`)
	c.send(`{"type":"SUB","id":"8","channel":"b"}`)
	c.expect(`{"type":"ACK","for":"8"}`)
}

// An authorizer of either kind, and middleware around it.
func TestAuthorizerAndMiddleware(t *testing.T) {
	rules := func(_ context.Context, r *juggler.Request) error {
		switch {
		case strings.HasPrefix(r.URI(), "admin."), r.Channel() == "secret":
			return juggler.ErrForbidden
		case r.URI() == "broken":
			return fmt.Errorf("db: secret host unreachable")
		case r.URI() == "panics":
			panic("secret")
		}
		return nil
	}
	stamp := func(_ context.Context, r *juggler.Request) (func(error) error, error) {
		r.SetHeader("user", "u:"+r.Session().User())
		return nil, nil
	}
	wrap := func(next juggler.RequestHandler) juggler.RequestHandler {
		return func(ctx context.Context, r *juggler.Request) error {
			stamp(ctx, r) //nolint:errcheck // never fails
			return next(ctx, r)
		}
	}
	for name, opts := range map[string][]juggler.Option{
		"blocking":     {juggler.WithAuthorizer(juggler.AuthorizerFunc(rules)), juggler.WithMiddleware(wrap)},
		"non-blocking": {juggler.WithAuthorizer(juggler.NonBlocking(rules)), juggler.WithNonBlockingMiddleware(stamp)},
		"both":         {juggler.WithAuthorizer(juggler.NonBlocking(rules)), juggler.WithNonBlockingMiddleware(stamp), juggler.WithMiddleware(wrap)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, append(opts, juggler.WithLogger(quiet), juggler.WithAuthenticator(asUser("ann")))...)
			s.handle("whoami", func(_ context.Context, c *calleeCall) (any, error) { return c.Header("user"), nil })
			s.handle("admin.reboot", echo)
			s.handle("broken", echo)
			s.handle("panics", echo)
			c := s.dial("juggler.1")
			c.send(`{"type":"CALL","id":"1","uri":"admin.reboot"}`)
			c.expect(`{"type":"NACK","for":"1","error":{"code":403}}`)
			c.send(`{"type":"SUB","id":"2","channel":"secret"}`)
			c.expect(`{"type":"NACK","for":"2","error":{"code":403}}`)
			for _, uri := range []string{"broken", "panics"} {
				c.send(`{"type":"CALL","id":"3","uri":"` + uri + `"}`)
				got := c.expect(`{"type":"NACK","for":"3","error":{"code":500}}`)
				if strings.Contains(fmt.Sprint(got), "secret") {
					t.Errorf("NACK leaks internals: %v", got)
				}
			}
			c.send(`{"type":"CALL","id":"4","uri":"whoami","headers":{"user":"u:root","\u0075ser":"u:root"}}`)
			c.expect(`{"type":"ACK","for":"4"}`)
			c.expect(`{"type":"RES","for":"4","args":"u:ann"}`)
		})
	}
}

// Middleware is told what became of its request, however many go to the broker
// together; what it does about it is its own affair.
func TestMiddlewareLearnsTheOutcome(t *testing.T) {
	uris := []struct {
		uri          string
		learns, code int // 0: done
	}{
		{uri: "echo"},
		{uri: "nobody", learns: 404, code: 404},
		{uri: "panics"},
		{uri: "refused", learns: -1, code: 403},
		{uri: "ignored", learns: -1, code: 404},
		{uri: "forgets", learns: 404, code: 500},
		{uri: "denies", learns: 404, code: 409},
	}
	for name, way := range map[string]func(*memory.Broker) jugglertest.Roles{"inline": itself, "broker that waits": waitingInBatches} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			learned := make(map[string][]int) // by URI
			note := func(uri string, code int) {
				mu.Lock()
				defer mu.Unlock()
				learned[uri] = append(learned[uri], code)
			}
			s := newServerOn(t, way, juggler.WithLogger(quiet), juggler.WithNonBlockingMiddleware(func(_ context.Context, r *juggler.Request) (func(error) error, error) {
				switch r.URI() {
				case "refused":
					note(r.URI(), -1)
					return nil, juggler.ErrForbidden
				case "ignored":
					note(r.URI(), -1)
					return nil, nil
				}
				return func(err error) error {
					switch {
					case err == nil:
						note(r.URI(), 0)
					case errors.Is(err, broker.ErrNoCallee):
						note(r.URI(), 404)
					default:
						t.Errorf("%s: %v", r.URI(), err)
					}
					switch r.URI() {
					case "panics":
						panic("on purpose")
					case "denies":
						return &juggler.Error{Code: 409, Message: "a code of the application's"}
					case "forgets":
						return nil
					}
					return err
				}, nil
			}))
			s.handle("echo", echo)
			s.handle("panics", echo)
			c := dialRaw(t, s.http.Listener.Addr().String())
			const rounds = 15
			var messages []string
			for i := range rounds {
				for j, u := range uris {
					messages = append(messages, fmt.Sprintf(`{"type":"CALL","id":"%d","uri":"%s"}`, i*len(uris)+j, u.uri))
				}
			}
			if _, err := c.conn.Write(maskedText(messages...)); err != nil {
				t.Fatal(err)
			}
			for at := 0; at < len(messages); {
				f := c.answer(t)
				if f.Type == frame.Res {
					continue
				}
				if want := uris[at%len(uris)]; string(f.For) != fmt.Sprint(at) || f.Err.Code != want.code {
					t.Errorf("%s: %v for %s with code %d, want code %d for %d", want.uri, f.Type, f.For, f.Err.Code, want.code, at)
				}
				at++
			}
			mu.Lock()
			defer mu.Unlock()
			for _, u := range uris {
				if got, want := learned[u.uri], slices.Repeat([]int{u.learns}, rounds); !slices.Equal(got, want) {
					t.Errorf("%s: middleware learned %v, want %v", u.uri, got, want)
				}
			}
		})
	}
}

func TestMiddlewareThatForgetsNext(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet), juggler.WithMiddleware(func(juggler.RequestHandler) juggler.RequestHandler {
		return func(context.Context, *juggler.Request) error { return nil }
	}))
	s.handle("echo", echo)
	c := s.dial("juggler.1")
	c.send(`{"type":"CALL","id":"1","uri":"echo"}`)
	c.expect(`{"type":"NACK","for":"1","error":{"code":500}}`)
}

// What middleware does wrong ends neither in a second call nor in a panic.
func TestMiddlewareThatCallsNextTwice(t *testing.T) {
	second := make(chan error, 2)
	s := newServer(t, juggler.WithLogger(quiet),
		juggler.WithMiddleware(func(next juggler.RequestHandler) juggler.RequestHandler {
			return func(ctx context.Context, r *juggler.Request) error {
				err := next(ctx, r)
				second <- next(ctx, r)
				return err
			}
		}))
	var runs atomic.Int64
	s.handle("f", func(context.Context, *calleeCall) (any, error) { return runs.Add(1), nil })
	c := s.dial("juggler.1")
	c.send(`{"type":"CALL","id":"1","uri":"f"}`)
	c.expect(`{"type":"ACK","for":"1"}`)
	c.expect(`{"type":"RES","for":"1","args":1}`)
	c.send(`{"type":"CALL","id":"2","uri":"nobody"}`)
	c.expect(`{"type":"NACK","for":"2","error":{"code":404}}`)
	for range 2 {
		if err := <-second; err == nil {
			t.Error("the second next returned nil")
		}
	}
	if n := runs.Load(); n != 1 {
		t.Errorf("the function ran %d times", n)
	}
}

// Requests of one session are handled in order, whatever user code takes its
// time, and another session is not held up.
func TestBlockedUserCodeHoldsUpItsSessionOnly(t *testing.T) {
	release := make(chan struct{})
	s := newServer(t, juggler.WithMaxRequests(4), juggler.WithAuthorizer(juggler.AuthorizerFunc(func(_ context.Context, r *juggler.Request) error {
		if r.Channel() == "slow" {
			<-release
		}
		return nil
	})))
	a, b := s.dial("juggler.1"), s.dial("juggler.1")
	a.send(`{"type":"PUB","id":"slow","channel":"slow"}`)
	for i := range 50 { // far beyond WithMaxRequests: the server stops reading
		a.send(fmt.Sprintf(`{"type":"PUB","id":"%d","channel":"c"}`, i))
	}
	b.send(`{"type":"PUB","id":"1","channel":"c"}`)
	b.expect(`{"type":"ACK","for":"1"}`)
	close(release)
	a.expect(`{"type":"ACK","for":"slow"}`)
	for i := range 50 {
		a.expect(fmt.Sprintf(`{"type":"ACK","for":"%d"}`, i))
	}
}

// What a client publishes after its own SUB reaches it, also if it did not wait
// for the ACK: requests of a session are handled in order.
func TestPublishingRightAfterSubscribing(t *testing.T) {
	for name, opts := range map[string][]juggler.Option{
		"on the event loop": nil,
		"off it":            {juggler.WithMiddleware(func(next juggler.RequestHandler) juggler.RequestHandler { return next })},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, opts...)
			c := dialRaw(t, s.http.Listener.Addr().String())
			if err := c.conn.SetDeadline(time.Now().Add(waiting.Most)); err != nil {
				t.Fatal(err)
			}
			for i := range 100 {
				sub := fmt.Sprintf(`{"type":"SUB","id":"s","channel":"c%d"}`, i)
				c.write(t, maskedText(sub, pub("p", fmt.Sprint("c", i))))
				c.wants(t, acks("s", "p")...)
				if _, event, err := c.frame(); err != nil || !strings.Contains(string(event), `"type":"EVNT"`) {
					t.Fatalf("%d: got %s, %v", i, event, err)
				}
			}
		})
	}
}

// The authorizer sees of a header that occurs twice what the callee will see.
func TestHeaderThatOccursTwice(t *testing.T) {
	s := newServer(t, juggler.WithAuthorizer(juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
		return &juggler.Error{Code: 403, Message: r.Header("tenant")}
	})))
	c := s.dial("juggler.1")
	c.send(`{"type":"PUB","id":"1","channel":"c","headers":{"tenant":"mine","\u0074enant":"yours"}}`)
	c.expect(`{"type":"NACK","for":"1","error":{"code":403,"message":"yours"}}`)
}

// A NACK for a limit of the session says when to try again.
func TestLimitsSayWhenToRetry(t *testing.T) {
	s := newServer(t, juggler.WithMaxSubscriptions(0), juggler.WithMaxCalls(0))
	c := s.dial("juggler.1")
	for _, request := range []string{`{"type":"SUB","id":"1","channel":"c"}`, `{"type":"CALL","id":"1","uri":"u"}`} {
		c.send(request)
		nack := c.expect(`{"type":"NACK","for":"1","error":{"code":429}}`)
		if after, _ := nack["error"].(map[string]any)["retry_after"].(float64); after <= 0 {
			t.Errorf("%s: %v", request, nack)
		}
	}
}
