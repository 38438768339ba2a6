//go:build !race

package juggler_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/rules"
)

// answerRaw answers calls to uri with their args, without allocating.
func (s *testServer) answerRaw(uri string) {
	conn, err := s.broker.OpenCallee(s.t.Context(), []string{uri}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends with cancel
		defer close(done)
		calls, results := make([]broker.Call, 64), make([]broker.Result, 64)
		for {
			n, err := conn.Take(ctx, calls)
			if err != nil {
				return
			}
			for i := range n {
				results[i] = broker.Result{To: calls[i].ReplyTo, Args: calls[i].Args}
			}
			if err := conn.Reply(ctx, results[:n]); err != nil {
				return
			}
		}
	}()
	s.t.Cleanup(func() {
		cancel()
		<-done
		conn.Close()
	})
}

// roundTrips returns a function that writes request and reads answer bytes.
func roundTrips(t *testing.T, conn net.Conn, request []byte, answer int) func() {
	buf := make([]byte, answer)
	return func() {
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, buf); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCallsDoNotAllocate(t *testing.T) {
	static := juggler.WithAuthorizer(juggler.NonBlocking(func(context.Context, *juggler.Request) error { return nil }))
	watched := []juggler.Option{juggler.WithCallStats(1), juggler.WithTop(1), juggler.WithCallObserver(func(juggler.CallEnd) {})}
	may, err := rules.Compile(rules.Rule{Who: []string{rules.Everyone}, Call: []string{"add", "echo"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string][]juggler.Option{
		"bare": nil, "non-blocking authorizer": {static}, "rules": {juggler.WithAuthorizer(may)}, "watched": watched, "somebody else is followed": nil,
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, opts...)
			s.answerRaw("echo")
			if name == "somebody else is followed" {
				s.follow(t.Context(), juggler.FollowOptions{User: "somebody else"})
			}
			c := dialRaw(t, s.http.Listener.Addr().String())
			const ack, res = `{"type":"ACK","for":"1"}`, `{"type":"RES","for":"1","args":{"text":"0123456789"}}`
			call := maskedText(`{"type":"CALL","id":"1","uri":"echo","args":{"text":"0123456789"},"timeout":5000}`)
			trip := roundTrips(t, c.conn, call, len(ack)+len(res)+4)
			for range 1000 {
				trip() // what is kept for reuse is made
			}
			if n := testing.AllocsPerRun(1000, trip); n != 0 {
				t.Errorf("a call allocates %v times in the server", n)
			}
		})
	}
}

func TestEventsDoNotAllocate(t *testing.T) {
	const subscribers = 1000
	s := newServer(t, juggler.WithMaxSessions(subscribers+1), juggler.WithTop(1))
	conns := make([]net.Conn, subscribers)
	for i := range conns {
		c := dialRaw(t, s.http.Listener.Addr().String())
		c.conn.Write(maskedText(`{"type":"SUB","id":"1","channel":"c"}`))
		c.read(t, 1)
		conns[i] = c.conn
	}
	publisher := dialRaw(t, s.http.Listener.Addr().String())
	pub := maskedText(`{"type":"PUB","id":"1","channel":"c","args":{"text":"0123456789"}}`)
	event := fmt.Sprintf(`{"type":"EVNT","id":"%026d","channel":"c","args":{"text":"0123456789"}}`, 0)
	publish := roundTrips(t, publisher.conn, pub, len(`{"type":"ACK","for":"1"}`)+2)
	buf := make([]byte, len(event)+2)
	round := func() {
		publish()
		for _, c := range conns {
			if _, err := io.ReadFull(c, buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 20 {
		round()
	}
	if n := testing.AllocsPerRun(50, round) / subscribers; n > 0.01 {
		t.Errorf("a delivery allocates %v times", n)
	}
}

// A part costs no more than an event: it is copied once, and not at all if it goes at once.
func TestPartsDoNotAllocate(t *testing.T) {
	const window = 32
	s := newServer(t)
	var granted atomic.Uint32
	conn, err := s.broker.OpenStreamCallee(t.Context(), []string{"parts"}, func([]broker.Address) {}, func(g []broker.Grant) { granted.Store(g[0].Window.Parts) })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := dialRaw(t, s.http.Listener.Addr().String())
	c.conn.Write(maskedText(`{"type":"CALL","id":"1","uri":"parts","parts":32}`))
	c.read(t, 1)
	calls := make([]broker.Call, 1)
	if _, err := conn.Take(t.Context(), calls); err != nil {
		t.Fatal(err)
	}
	granted.Store(calls[0].Window.Parts)
	more := maskedText(`{"type":"MORE","for":"1","parts":16}`)
	part := broker.Part{To: calls[0].ReplyTo, Args: []byte(`{"text":"0123456789"}`), Window: calls[0].Window}
	buf := make([]byte, 100)
	round := func() {
		for range window / 2 {
			for granted.Load() == part.N {
				runtime.Gosched()
			}
			part.N++
			part.Window.Parts = granted.Load()
			if err := conn.SendPart(t.Context(), &part); err != nil {
				t.Fatal(err)
			}
			size := 2 + len(`{"type":"PART","for":"1","n":,"args":{"text":"0123456789"}}`)
			for n := part.N; n > 0; n /= 10 {
				size++
			}
			if _, err := io.ReadFull(c.conn, buf[:size]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.conn.Write(more); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		round()
	}
	if n := testing.AllocsPerRun(100, round) / (window / 2); n > 0.01 {
		t.Errorf("a part allocates %v times", n)
	}
}
