package calleekit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
)

type badMarshaler struct{}

func (badMarshaler) MarshalJSON() ([]byte, error) { panic("in MarshalJSON") }

func TestResults(t *testing.T) {
	const args = `{ "a" : 1 }`
	var nilRaw *json.RawMessage
	for _, tt := range []struct {
		name   string
		result func(c *calleekit.Call) any
		want   string // "": it cannot be encoded
		logged string
	}{
		{"the arguments", func(c *calleekit.Call) any { return c.Args }, args, ""},
		{"pointer to the arguments", func(c *calleekit.Call) any { return &c.Args }, args, ""},
		{"raw message", func(*calleekit.Call) any { return json.RawMessage(`[ 1,  2 ]`) }, `[ 1,  2 ]`, ""},
		{"nil", func(*calleekit.Call) any { return nil }, "null", ""},
		{"empty raw message", func(*calleekit.Call) any { return json.RawMessage{} }, "null", ""},
		{"nil pointer to a raw message", func(*calleekit.Call) any { return nilRaw }, "null", ""},
		{"struct", func(*calleekit.Call) any {
			return struct {
				N int `json:"n"`
			}{7}
		}, `{"n":7}`, ""},
		{"bytes are base64", func(*calleekit.Call) any { return []byte("hi") }, `"aGk="`, ""},
		{"part of the arguments", func(c *calleekit.Call) any { return c.Args[:3] }, "", "not valid JSON"},
		{"raw message that is no JSON", func(*calleekit.Call) any { return json.RawMessage(`{`) }, "", "not valid JSON"},
		{"raw message that is not UTF-8", func(*calleekit.Call) any { return json.RawMessage("\"\xff\"") }, "", "not UTF-8"},
		{"raw message inside that is not UTF-8", func(*calleekit.Call) any { return []json.RawMessage{json.RawMessage("\"\xff\"")} }, "", "not UTF-8"},
		{"channel", func(*calleekit.Call) any { return make(chan int) }, "", "unsupported type: chan int"},
		{"infinity", func(*calleekit.Call) any { return math.Inf(1) }, "", "unsupported value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSystem(t)
			var log logBook
			c := s.callee(nil, calleekit.WithLogger(log.logger()))
			c.Handle("f", func(_ context.Context, c *calleekit.Call) (any, error) { return tt.result(c), nil })
			s.start(c)
			if tt.want != "" {
				s.call("f", args).want(tt.want)
			} else {
				s.call("f", args).wantError(500, "internal error")
			}
			if !strings.Contains(log.String(), tt.logged) || tt.logged == "" && log.String() != "" {
				t.Errorf("log is %q, want %q in it", log.String(), tt.logged)
			}
		})
	}
}

func TestAbsentArgs(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil)
	c.Handle("echo", func(_ context.Context, c *calleekit.Call) (any, error) { return c.Args, nil })
	s.start(c)
	s.call("echo", "").want("null")
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want broker.Error
	}{
		{"plain", errors.New("out of paper"), broker.Error{Code: 500, Message: "internal error"}},
		{"not UTF-8", calleekit.Errorf(409, "a\xffb"), broker.Error{Code: 409, Message: "a\uFFFDb"}},
		{"typed", calleekit.Errorf(409, "exists").WithData(map[string]int{"id": 3}),
			broker.Error{Code: 409, Message: "exists", Data: []byte(`{"id":3}`)}},
		{"typed, raw data", &calleekit.Error{Code: 409, Data: json.RawMessage(`[ ]`)},
			broker.Error{Code: 409, Data: []byte(`[ ]`)}},
		{"wrapped", fmt.Errorf("db at 10.0.0.1: %w", calleekit.Errorf(422, "no %s", "name")),
			broker.Error{Code: 422, Message: "no name"}},
		{"no code", &calleekit.Error{Message: "m"}, broker.Error{Code: 500, Message: "m"}},
		{"negative code", calleekit.Errorf(-1, "m"), broker.Error{Code: 500, Message: "m"}},
		{"bad data is left out", &calleekit.Error{Code: 409, Message: "m", Data: json.RawMessage("{")},
			broker.Error{Code: 409, Message: "m"}},
		{"data that is not UTF-8 is left out", &calleekit.Error{Code: 409, Message: "m", Data: json.RawMessage("\"\xff\"")},
			broker.Error{Code: 409, Message: "m"}},
		{"one whose text panics", (*badError)(nil), broker.Error{Code: 500, Message: "internal error"}},
		{"the end of another context", context.DeadlineExceeded,
			broker.Error{Code: 500, Message: "internal error"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSystem(t)
			c := s.callee(nil)
			c.Handle("f", func(context.Context, *calleekit.Call) (any, error) { return "ignored", tt.err })
			s.start(c)
			res := s.call("f", "1").wait()
			if e := res.Err; e == nil || e.Code != tt.want.Code || e.Message != tt.want.Message || string(e.Data) != string(tt.want.Data) {
				t.Errorf("got %q, error %+v; want %+v", res.Args, res.Err, tt.want)
			}
		})
	}
}

func TestErrorfWraps(t *testing.T) {
	inner := errors.New("inner")
	err := calleekit.Errorf(418, "outer: %w", inner)
	var own *calleekit.Error
	if !errors.Is(err, inner) || !errors.As(err, &own) || own.Code != 418 || err.Error() != "outer: inner (418)" {
		t.Errorf("got %#v", err)
	}
}

// A function that fails to return is answered, logged, counted, and no other
// call suffers.
func TestFunctionsThatDoNotReturn(t *testing.T) {
	for _, tt := range []struct {
		name   string
		f      calleekit.HandlerFunc
		logged []string
	}{
		{"panic", func(context.Context, *calleekit.Call) (any, error) { panic("secret 42") },
			[]string{"panicked", "secret 42", "serve_test.go"}},
		{"panic with nil", func(context.Context, *calleekit.Call) (any, error) { panic(nil) },
			[]string{"panicked", "serve_test.go"}},
		{"nil dereference", func(context.Context, *calleekit.Call) (any, error) { return *(*int)(nil), nil },
			[]string{"panicked", "nil pointer"}},
		{"Goexit", func(context.Context, *calleekit.Call) (any, error) { runtime.Goexit(); return nil, nil },
			[]string{"ended its goroutine"}},
		{"panic in MarshalJSON", func(context.Context, *calleekit.Call) (any, error) { return badMarshaler{}, nil },
			[]string{"panicked", "in MarshalJSON"}},
	} {
		for _, limit := range []int{1, 2} {
			t.Run(fmt.Sprint(tt.name, ", limit ", limit), func(t *testing.T) {
				s := newSystem(t)
				var log logBook
				c := s.callee(nil, calleekit.WithConcurrency(limit), calleekit.WithLogger(log.logger()))
				c.Handle("bad", tt.f)
				c.Handle("good", func(_ context.Context, c *calleekit.Call) (any, error) { return c.Args, nil })
				s.start(c)
				s.call("bad", "1").wantError(500, "internal error")
				var bad, good []*request
				for range 20 {
					bad = append(bad, s.call("bad", "1"))
					good = append(good, s.call("good", "2"))
				}
				for i := range bad {
					bad[i].wantError(500, "internal error")
					good[i].want("2")
				}
				if n := c.Stats().Panics; n != 21 {
					t.Errorf("Stats().Panics = %d, want 21", n)
				}
				for _, want := range tt.logged {
					if !strings.Contains(log.String(), want) {
						t.Errorf("no %q in the log", want)
					}
				}
			})
		}
	}
}

type badError struct{ text string }

func (e *badError) Error() string { return e.text }

func TestHeaders(t *testing.T) {
	for _, tt := range []struct {
		raw  string
		want map[string]string
	}{
		{"", map[string]string{}},
		{`{}`, map[string]string{}},
		{`{"tenant":"a","traceparent":"00-\u00e9"}`, map[string]string{"tenant": "a", "traceparent": "00-é"}},
		{`{"tenant":"a","n":1}`, map[string]string{}},
		{`[`, map[string]string{}},
	} {
		s := newSystem(t)
		c := s.callee(nil)
		c.Handle("f", func(_ context.Context, c *calleekit.Call) (any, error) {
			if string(c.RawHeaders) != tt.raw {
				t.Errorf("RawHeaders = %q, want %q", c.RawHeaders, tt.raw)
			}
			if got := maps.Collect(c.Headers()); !maps.Equal(got, tt.want) {
				t.Errorf("headers of %s are %v, want %v", tt.raw, got, tt.want)
			}
			return c.Header("tenant"), nil
		})
		s.start(c)
		s.make(broker.Call{URI: "f", Headers: []byte(tt.raw), Timeout: time.Minute}).want(`"` + tt.want["tenant"] + `"`)
	}
}

func TestMiddlewareOrder(t *testing.T) {
	s := newSystem(t)
	mark := func(name string) func(calleekit.Handler) calleekit.Handler {
		return func(next calleekit.Handler) calleekit.Handler {
			return calleekit.HandlerFunc(func(ctx context.Context, c *calleekit.Call) (any, error) {
				v, err := next.ServeCall(ctx, c)
				return name + fmt.Sprint(v), err
			})
		}
	}
	f := func(_ context.Context, c *calleekit.Call) (any, error) { return c.URI, nil }
	c := s.callee(nil, calleekit.WithMiddleware(mark("0")))
	c.Handle("plain", f)
	c.Use(mark("1"), mark("2"))
	c.Handle("own", f, calleekit.WithMiddleware(mark("5"), mark("6")))
	g := c.Group("g.", mark("3"), mark("4"))
	g.Handle("x", f, calleekit.WithMiddleware(mark("5")))
	g.Handle("y", f)
	s.start(c)
	s.call("plain", "").want(`"012plain"`)
	s.call("own", "").want(`"01256own"`)
	s.call("g.x", "").want(`"012345g.x"`)
	s.call("g.y", "").want(`"01234g.y"`)
}

// tape notes what an observer is told.
type tape struct {
	lines  chan string
	panics bool
}

func (o *tape) OnCallStart(uri string) { o.lines <- "start " + uri }

func (o *tape) OnCallEnd(uri string, code int, took time.Duration) {
	o.lines <- fmt.Sprint("end ", uri, " ", code, " ", took >= 0)
	if o.panics {
		panic("in an observer")
	}
}

func TestObserver(t *testing.T) {
	s := newSystem(t)
	o := &tape{lines: make(chan string, 10), panics: true}
	c := s.callee(nil, calleekit.WithObserver(o))
	c.Handle("ok", func(context.Context, *calleekit.Call) (any, error) { return 1, nil })
	c.Handle("fail", func(context.Context, *calleekit.Call) (any, error) { return nil, calleekit.Errorf(409, "no") })
	c.Handle("exit", func(context.Context, *calleekit.Call) (any, error) { runtime.Goexit(); return nil, nil })
	s.start(c)
	s.call("ok", "").want("1")
	s.call("fail", "").wantError(409, "no")
	s.call("exit", "").wantError(500, "internal error")
	for _, want := range []string{
		"start ok", "end ok 0 true",
		"start fail", "end fail 409 true",
		"start exit", "end exit 500 true",
	} {
		if got := <-o.lines; got != want {
			t.Errorf("observer was told %q, want %q", got, want)
		}
	}
}

type badStart struct{}

func (badStart) OnCallStart(string) { panic("in an observer") }

func TestObserverThatPanicsAtStart(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil, calleekit.WithObserver(badStart{}))
	c.Handle("f", func(context.Context, *calleekit.Call) (any, error) { return 1, nil })
	s.start(c)
	s.call("f", "").wantError(500, "internal error")
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil, calleekit.WithConcurrency(1))
		c.Handle("f", func(_ context.Context, c *calleekit.Call) (any, error) {
			switch string(c.Args) {
			case `"fail"`:
				return nil, calleekit.Errorf(409, "no")
			case `"panic"`:
				panic("f")
			case `"encode"`:
				return func() {}, nil
			}
			return 1, nil
		})
		s.start(c)
		for _, args := range []string{`1`, `"fail"`, `"panic"`, `"encode"`} {
			s.call("f", args).wait()
		}
		synctest.Wait()
		if st := c.Stats(); st != (calleekit.Stats{Calls: 4, Failed: 3, Panics: 1}) {
			t.Errorf("%+v, want 4 calls, 3 failed, 1 of them by a panic", st)
		}
	})
}
