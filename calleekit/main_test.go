package calleekit_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/loan"
	"github.com/juggler-go/juggler/internal/waiting"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A system is an embedded broker with a node that makes calls.
type system struct {
	t      *testing.T
	engine *memory.Broker
	conn   broker.StreamCallerConn
	loan   loan.Loan // calls are made over it, if it is not nil
	lent   uint64    // how often a goroutine was

	mu      sync.Mutex // guards the following
	serial  uint64
	pending map[broker.Address]chan broker.Result
	parts   map[broker.Address][]broker.Part
}

func newSystem(t *testing.T) *system {
	t.Helper()
	engine, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t: t, engine: engine, pending: map[broker.Address]chan broker.Result{}, parts: map[broker.Address][]broker.Part{}}
	if s.conn, err = engine.OpenStreamCaller(t.Context(), broker.ID{1}, s.deliver, s.deliverParts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	return s
}

func (s *system) deliver(results []broker.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range results {
		r.Args = bytes.Clone(r.Args)
		if r.Err != nil {
			e := *r.Err
			e.Data = bytes.Clone(e.Data)
			r.Err = &e
		}
		select {
		case s.pending[r.To] <- r:
		default:
			s.t.Errorf("a second result for one call: %q, %v", r.Args, r.Err)
		}
	}
}

func (s *system) deliverParts(parts []broker.Part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		p.Args = bytes.Clone(p.Args)
		s.parts[p.To] = append(s.parts[p.To], p)
	}
}

// A request is a call that the system's node has made.
type request struct {
	s      *system
	uri    string
	args   string // for tests to note
	to     broker.Address
	result chan broker.Result
}

// call makes a call that has a minute.
func (s *system) call(uri, args string) *request {
	s.t.Helper()
	return s.make(broker.Call{URI: uri, Args: []byte(args), Timeout: time.Minute})
}

func (s *system) make(c broker.Call) *request {
	s.t.Helper()
	r := &request{s: s, uri: c.URI, result: make(chan broker.Result, 1)}
	s.mu.Lock()
	s.serial++
	r.to.Node = broker.ID{1}
	binary.BigEndian.PutUint64(r.to.Ref[:], s.serial)
	s.pending[r.to] = r.result
	s.mu.Unlock()
	c.ReplyTo = r.to
	call := s.conn.Call
	if s.loan != nil {
		call = s.loan.Call
	}
	if err := call(context.Background(), &c); err != nil {
		s.t.Fatalf("call %s: %v", c.URI, err)
	}
	return r
}

// stream makes a call whose answer may come in parts, as many as w takes.
func (s *system) stream(uri, args string, w broker.Window) *request {
	s.t.Helper()
	return s.make(broker.Call{URI: uri, Args: []byte(args), Timeout: time.Minute, Window: w})
}

// grant has the caller take as many parts as w does, in all.
func (r *request) grant(w broker.Window) {
	r.s.t.Helper()
	if err := r.s.conn.Grant(context.Background(), []broker.Grant{{To: r.to, Window: w}}); err != nil {
		r.s.t.Fatal(err)
	}
}

// wantParts compares the parts that have arrived.
func (r *request) wantParts(want ...string) {
	r.s.t.Helper()
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var got []string
	for i, p := range r.s.parts[r.to] {
		got = append(got, string(p.Args))
		if p.N != uint32(i+1) {
			r.s.t.Errorf("part %d has the number %d", i+1, p.N)
		}
	}
	if !slices.Equal(got, want) {
		r.s.t.Errorf("parts are %q, want %q", got, want)
	}
}

// wait returns the result of the call.
func (r *request) wait() broker.Result {
	r.s.t.Helper()
	select {
	case res := <-r.result:
		return res
	case <-time.After(waiting.Most):
		r.s.t.Fatal("a call got no result")
		panic("not reached")
	}
}

// want waits for a success with these arguments.
func (r *request) want(args string) {
	r.s.t.Helper()
	if res := r.wait(); res.Err != nil || string(res.Args) != args {
		r.s.t.Errorf("got %q, error %+v; want %q", res.Args, res.Err, args)
	}
}

// wantError waits for an error with this code and message.
func (r *request) wantError(code frame.Code, message string) {
	r.s.t.Helper()
	res := r.wait()
	if res.Err == nil || res.Err.Code != code || res.Err.Message != message {
		r.s.t.Errorf("got %q, error %+v; want error %d %q", res.Args, res.Err, code, message)
	}
}

func (r *request) cancel() {
	r.s.t.Helper()
	if err := r.s.conn.Cancel(context.Background(), r.uri, r.to); err != nil {
		r.s.t.Fatal(err)
	}
}

// callee makes a callee on the system's broker, or on b if that is not nil.
func (s *system) callee(b broker.Callee, opts ...calleekit.Option) *calleekit.Callee {
	s.t.Helper()
	if b == nil {
		b = s.engine
	}
	quiet := calleekit.WithLogger(slog.New(slog.DiscardHandler))
	c, err := calleekit.New(b, append([]calleekit.Option{quiet}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// start starts c and drains it at the end of the test.
func (s *system) start(c *calleekit.Callee) {
	s.t.Helper()
	if err := c.Start(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waiting.Most)
		defer cancel()
		if err := c.Shutdown(ctx); err != nil {
			s.t.Errorf("Shutdown: %v", err)
		}
	})
}

// A logBook is a logger whose output can be read.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
