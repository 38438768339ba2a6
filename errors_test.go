package juggler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/jugglertest"
)

// A failing is what user code does in place of its work.
type failing struct {
	name string
	fail func() error
	want client.Error // Refused is that of the place
	logs string       // what the log says at the level ERROR
}

// failings returns them; passedOn is what a client got as the answer to a call.
func failings(passedOn error) []failing {
	soldOut := calleekit.Errorf(409, "sold out").WithData([]int{7}).WithRetryAfter(1500 * time.Millisecond)
	said := client.Error{Code: 409, Message: "sold out", Data: json.RawMessage("[7]"), RetryAfter: 1500 * time.Millisecond}
	secret := errors.New("secret host")
	internal := client.Error{Code: 500, Message: "internal error"}
	returns := func(err error) func() error { return func() error { return err } }
	return []failing{
		{"a refusal of the handler", returns(juggler.ErrForbidden), client.Error{Code: 403, Message: "not allowed"}, ""},
		{"one with all that there is", returns(soldOut), said, ""},
		{"wrapped", returns(fmt.Errorf("secret shelf: %w", soldOut)), said, ""},
		{"joined", returns(errors.Join(secret, soldOut)), said, ""},
		{"what a client got", returns(passedOn), said, ""},
		{"without a code", returns(&juggler.Error{Message: "m"}), client.Error{Code: 500, Message: "m"}, ""},
		{"with data that is no JSON", returns(&calleekit.Error{Code: 409, Message: "m", Data: json.RawMessage("{")}), client.Error{Code: 409, Message: "m"}, "not JSON"},
		{"plain", returns(secret), internal, "secret host"},
		{"a time-out of its own", returns(fmt.Errorf("secret host: %w", context.DeadlineExceeded)), internal, "secret host"},
		{"nil pointer", returns((*juggler.Error)(nil)), internal, "nil *Error"},
		{"panic", func() error { panic("secret host") }, internal, "secret host"},
	}
}

// A place is where user code fails.
type place struct {
	name string
	res  bool // the client gets RES, not NACK
	opts func(fail func() error) []juggler.Option
	call func(c *client.Client) error
}

func authorizer(typ frame.Type, fail func() error) juggler.AuthorizerFunc {
	return func(_ context.Context, r *juggler.Request) error {
		if r.Type() == typ {
			return fail()
		}
		return nil
	}
}

// places are those behind the handshake. The URI "fails" is of a callee that fails.
func places(t *testing.T) []place {
	call := func(c *client.Client) error { return c.Call(t.Context(), "works", 1, nil) }
	publish := func(c *client.Client) error { return c.Publish(t.Context(), "ch", 1) }
	subscribe := func(c *client.Client) error {
		_, err := c.Subscribe(t.Context(), "ch")
		return err
	}
	blocking := func(typ frame.Type) func(func() error) []juggler.Option {
		return func(fail func() error) []juggler.Option {
			return []juggler.Option{juggler.WithAuthorizer(authorizer(typ, fail))}
		}
	}
	return []place{
		{"authorizer of CALL", false, func(fail func() error) []juggler.Option {
			return []juggler.Option{juggler.WithAuthorizer(juggler.NonBlocking(authorizer(frame.Call, fail)))}
		}, call},
		{"authorizer of CALL that may block", false, blocking(frame.Call), call},
		{"authorizer of SUB", false, blocking(frame.Sub), subscribe},
		{"authorizer of PUB", false, blocking(frame.Pub), publish},
		{"middleware", false, func(fail func() error) []juggler.Option {
			return []juggler.Option{juggler.WithMiddleware(func(juggler.RequestHandler) juggler.RequestHandler {
				return func(context.Context, *juggler.Request) error { return fail() }
			})}
		}, call},
		{"non-blocking middleware, before", false, func(fail func() error) []juggler.Option {
			return []juggler.Option{juggler.WithNonBlockingMiddleware(func(context.Context, *juggler.Request) (func(error) error, error) {
				return nil, fail()
			})}
		}, call},
		{"non-blocking middleware, after", false, func(fail func() error) []juggler.Option {
			return []juggler.Option{juggler.WithNonBlockingMiddleware(func(context.Context, *juggler.Request) (func(error) error, error) {
				return func(error) error { return fail() }, nil
			})}
		}, func(c *client.Client) error { return c.Call(t.Context(), "nobody", 1, nil) }},
		{"callee", true, nil, func(c *client.Client) error { return c.Call(t.Context(), "fails", 1, nil) }},
		{"middleware of a callee", true, nil, func(c *client.Client) error { return c.Call(t.Context(), "stopped", 1, nil) }},
	}
}

// What user code returns reaches the client as it is if it was made for it, wherever it
// comes from, and not at all if it was not.
func TestErrorsOfUserCode(t *testing.T) {
	passedOn := answeredError(t)
	for _, p := range places(t) {
		for _, protocol := range []frame.Protocol{frame.Juggler1, frame.Juggler0} {
			t.Run(fmt.Sprint(p.name, ", ", protocol), func(t *testing.T) {
				var now failing
				log, srv := failingServer(t, p, func() error { return now.fail() })
				c := srv.Client(client.WithProtocols(protocol))
				for _, now = range failings(passedOn) {
					start := len(log.String())
					err := p.call(c)
					var got *client.Error
					if !errors.As(err, &got) {
						t.Errorf("%s: the client got %v", now.name, err)
						continue
					}
					checkFailure(t, now, got, p.wants(now, protocol), log.String()[start:])
				}
			})
		}
	}
}

// wants returns what a client of a protocol gets: juggler.0 lacks data and the time after
// which to retry, and in RES the code.
func (p *place) wants(f failing, protocol frame.Protocol) client.Error {
	want := f.want
	want.Refused = !p.res
	if protocol == frame.Juggler0 {
		want.Data, want.RetryAfter = nil, 0
		if p.res {
			want.Code = 500
		}
	}
	return want
}

func checkFailure(t *testing.T, f failing, got *client.Error, want client.Error, log string) {
	t.Helper()
	if got.Code == 500 {
		want.Refused = got.Refused // of a PUB it leaves open what was done
	}
	if got.Code != want.Code || got.Message != want.Message || string(got.Data) != string(want.Data) || got.RetryAfter != want.RetryAfter || got.Refused != want.Refused {
		t.Errorf("%s: the client got %+v, want %+v", f.name, *got, want)
	}
	if logged := strings.Contains(log, "level=ERROR"); logged != (f.logs != "") || !strings.Contains(log, f.logs) {
		t.Errorf("%s: the log has %q, want %q", f.name, log, f.logs)
	}
}

// failingServer returns a server with callees, where user code in p fails.
func failingServer(t *testing.T, p place, fail func() error, opts ...juggler.Option) (*lockedBuffer, *jugglertest.Server) {
	t.Helper()
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	if p.opts != nil {
		opts = append(opts, p.opts(fail)...)
	}
	srv := jugglertest.New(t, append(opts, juggler.WithLogger(logger))...)
	callee := srv.NewCallee(calleekit.WithLogger(logger))
	callee.Handle("works", echo)
	callee.Handle("fails", func(context.Context, *calleekit.Call) (any, error) { return nil, fail() })
	callee.Handle("stopped", echo, calleekit.WithMiddleware(func(calleekit.Handler) calleekit.Handler {
		return calleekit.HandlerFunc(func(context.Context, *calleekit.Call) (any, error) { return nil, fail() })
	}))
	srv.Start(callee)
	return &log, srv
}

// answeredError returns the error of a real call that a callee has refused.
func answeredError(t *testing.T) error {
	srv := jugglertest.New(t)
	srv.Handle("shop", func(context.Context, *calleekit.Call) (any, error) {
		return nil, calleekit.Errorf(409, "sold out").WithData([]int{7}).WithRetryAfter(1500 * time.Millisecond)
	})
	err := srv.Client().Call(t.Context(), "shop", nil, nil)
	if err == nil {
		t.Fatal("the call succeeded")
	}
	return err
}

// The same for those who decide on connections: an authenticator answers by HTTP, a
// sign-in by NACK.
func TestErrorsOfAuthenticators(t *testing.T) {
	passedOn := answeredError(t)
	var now failing
	fail := func() error { return now.fail() }
	authenticator := func(*http.Request) (*juggler.Identity, error) { return nil, fail() }
	signIn := func(context.Context, juggler.Session, string) (*juggler.Identity, error) { return nil, fail() }
	log, handshake := failingServer(t, place{}, fail, juggler.WithAuthenticator(authenticator))
	for _, protocol := range []frame.Protocol{frame.Juggler1, frame.Juggler0} {
		for _, now = range failings(passedOn) {
			if now.name == "a time-out of its own" { // as "plain"; the log has five lines of a kind
				continue
			}
			start := len(log.String())
			_, err := dialFailing(t, handshake, client.WithProtocols(protocol))
			var got *client.HandshakeError
			if !errors.As(err, &got) {
				t.Errorf("authenticator, %s: the client got %v", now.name, err)
				continue
			}
			want := now.want
			if now.name == "plain" || now.name == "nil pointer" {
				want.Code, want.Message = 503, "cannot authenticate now"
			} else if want.RetryAfter > 0 {
				want.RetryAfter = 2 * time.Second // Retry-After has whole seconds
			}
			if want.Code == 503 {
				want.RetryAfter = got.RetryAfter // with jitter
			}
			checkFailure(t, now, &client.Error{Code: client.Code(got.Status), Message: strings.TrimSpace(got.Body), Data: want.Data, RetryAfter: got.RetryAfter}, want, log.String()[start:])
		}
	}
	log, deferred := failingServer(t, place{}, fail, juggler.WithDeferredAuth(signIn, time.Minute))
	for _, now = range failings(passedOn) {
		start := len(log.String())
		_, err := dialFailing(t, deferred, client.WithToken(func(context.Context) (string, error) { return "t", nil }))
		var got *client.Error
		if !errors.As(err, &got) {
			t.Errorf("sign-in, %s: the client got %v", now.name, err)
			continue
		}
		checkFailure(t, now, got, (&place{}).wants(now, frame.Juggler1), log.String()[start:])
	}
}

func dialFailing(t *testing.T, srv *jugglertest.Server, opts ...client.Option) (*client.Client, error) {
	dial := client.WithDialer(func(ctx context.Context, _, _ string) (net.Conn, error) { return srv.Dial(ctx) })
	c, err := client.Dial(t.Context(), jugglertest.URL, append(opts, dial, client.WithLogger(quiet))...)
	if err == nil {
		c.Close()
	}
	return c, err
}

// Hooks have nobody to tell: what they do is for the log.
func TestHooksThatPanic(t *testing.T) {
	panics := func() { panic("secret host") }
	log, srv := failingServer(t, place{}, nil, juggler.WithHooks(juggler.Hooks{
		OnConnect:   func(context.Context, juggler.Session) { panics() },
		OnSubscribe: func(context.Context, juggler.Session, broker.Topic) { panics() },
	}))
	c := srv.Client()
	if _, err := c.Subscribe(t.Context(), "ch"); err != nil {
		t.Error(err)
	}
	srv.Wait("both are logged", func() bool { return strings.Count(log.String(), `panic="secret host"`) == 2 })
}

// While one develops, the client may be shown what the log has.
func TestErrorTexts(t *testing.T) {
	secret := errors.New("secret\xff host")
	srv := jugglertest.New(t, juggler.WithErrorTexts(true), juggler.WithLogger(quiet),
		juggler.WithAuthorizer(juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
			switch r.Channel() {
			case "plain":
				return secret
			case "panic":
				panic(secret)
			}
			return nil
		})))
	callee := srv.NewCallee(calleekit.WithErrorTexts(true), calleekit.WithLogger(quiet))
	callee.Handle("plain", func(context.Context, *calleekit.Call) (any, error) { return nil, secret })
	callee.Handle("panic", func(context.Context, *calleekit.Call) (any, error) { panic(secret) })
	callee.Handle("result", func(context.Context, *calleekit.Call) (any, error) { return func() {}, nil })
	srv.Start(callee)
	c := srv.Client()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{c.Publish(t.Context(), "plain", 1), "secret\uFFFD host"},
		{c.Publish(t.Context(), "panic", 1), "panic: secret\uFFFD host"},
		{c.Call(t.Context(), "plain", 1, nil), "secret\uFFFD host"},
		{c.Call(t.Context(), "panic", 1, nil), "panic: secret\uFFFD host"},
		{c.Call(t.Context(), "result", 1, nil), "the result cannot be encoded: json: unsupported type: func()"},
	} {
		var got *client.Error
		if !errors.As(tt.err, &got) || got.Code != 500 || got.Message != tt.want {
			t.Errorf("got %v, want %s", tt.err, tt.want)
		}
	}
	auth := jugglertest.New(t, juggler.WithErrorTexts(true), juggler.WithLogger(quiet),
		juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) { return nil, secret }))
	var refused *client.HandshakeError
	if _, err := dialFailing(t, auth); !errors.As(err, &refused) || refused.Status != 503 || !strings.Contains(refused.Body, "secret\uFFFD host") {
		t.Errorf("authenticator: got %v", err)
	}
}

// An error that is larger than what may wait for a client would cost the session.
func TestErrorsThatAreTooLarge(t *testing.T) {
	srv := jugglertest.New(t, juggler.WithMaxQueueBytes(70<<10), juggler.WithLogger(quiet),
		juggler.WithAuthorizer(juggler.NonBlocking(func(context.Context, *juggler.Request) error {
			return juggler.Errorf(409, "no").WithData(strings.Repeat("x", 80<<10))
		})))
	c := srv.Client()
	for range 2 {
		var got *client.Error
		if err := c.Publish(t.Context(), "ch", 1); !errors.As(err, &got) || got.Code != 500 || got.Message != "internal error" {
			t.Errorf("got %v", err)
		}
	}
}
