package juggler_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/memnet"
	"github.com/juggler-go/juggler/jugglertest"
)

// streamEngine is a broker whose callee is the test: it says what comes when.
type streamEngine struct {
	brokerCallee
	brokerPubSub

	deliver func([]broker.Result)
	parts   func([]broker.Part)
	confirm chan error // if not nil, what Call waits for

	calls   chan broker.Call
	cancels chan broker.Address
	grants  chan broker.Grant
}

func newStreamEngine(t *testing.T) *streamEngine {
	t.Helper()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return &streamEngine{brokerCallee: b, brokerPubSub: b,
		calls: make(chan broker.Call, 1000), cancels: make(chan broker.Address, 1000), grants: make(chan broker.Grant, 100_000)}
}

func (e *streamEngine) OpenCaller(context.Context, broker.ID, func([]broker.Result)) (broker.CallerConn, error) {
	panic("the node takes parts")
}

func (e *streamEngine) OpenStreamCaller(_ context.Context, _ broker.ID, deliver func([]broker.Result), parts func([]broker.Part)) (broker.StreamCallerConn, error) {
	e.deliver, e.parts = deliver, parts
	return streamEngineConn{e}, nil
}

type streamEngineConn struct{ *streamEngine }

func (c streamEngineConn) Call(ctx context.Context, call *broker.Call) error {
	c.calls <- *call
	if c.confirm == nil {
		return nil
	}
	return <-c.confirm
}

func (c streamEngineConn) Cancel(_ context.Context, _ string, to broker.Address) error {
	c.cancels <- to
	return nil
}

func (c streamEngineConn) Grant(_ context.Context, grants []broker.Grant) error {
	for _, g := range grants {
		c.grants <- g
	}
	return nil
}

func (c streamEngineConn) Close() error { return nil }

// granted returns the last grant, if there was any since it was called.
func (e *streamEngine) granted() (last broker.Grant) {
	for len(e.grants) > 0 {
		last = <-e.grants
	}
	return last
}

// engineCallee is who the engine says that the parts come from.
var engineCallee = broker.ID{7}

// send has the parts of a call come, all known to have the window.
func (e *streamEngine) send(to broker.Address, w broker.Window, numbers ...uint32) {
	for _, n := range numbers {
		e.parts([]broker.Part{{To: to, N: n, Args: fmt.Append(nil, n), Window: w, From: engineCallee}})
	}
}

// end has the result of a call come, behind so many parts.
func (e *streamEngine) end(to broker.Address, parts uint32) {
	e.deliver([]broker.Result{{To: to, Args: []byte(`"end"`), Parts: parts}})
}

// streamServer is a node on a streamEngine, in simulated time.
type streamServer struct {
	t      *testing.T
	h      *juggler.Handler
	engine *streamEngine
	net    *memnet.Listener
	log    *logRecorder
}

func newStreamServer(t *testing.T, opts ...juggler.Option) *streamServer {
	t.Helper()
	opts = append([]juggler.Option{juggler.WithStreamWindow(32)}, opts...)
	engine := newStreamEngine(t)
	s := newStreamServerOn(t, engine, opts...)
	s.engine = engine
	return s
}

// newStreamServerOn is newStreamServer on a broker of the test's.
func newStreamServerOn(t *testing.T, b jugglertest.Roles, opts ...juggler.Option) *streamServer {
	t.Helper()
	s := &streamServer{t: t, log: &logRecorder{}}
	h, err := juggler.New(append([]juggler.Option{juggler.WithBroker(b), juggler.WithAuthorizer(juggler.AllowAll()), juggler.WithLogger(slog.New(s.log)), juggler.WithPing(time.Hour)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	s.h = h
	s.net = serveMemory(t, h)
	t.Cleanup(func() {
		if n := h.Stats().QueuedBytes; n != 0 {
			t.Errorf("%d bytes are counted as kept", n)
		}
		if err := h.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return s
}

// streamClient is a client of a streamServer.
type streamClient struct {
	t *testing.T
	*rawClient
}

func (s *streamServer) dial(headers ...string) *streamClient {
	s.t.Helper()
	conn, err := s.net.Dial(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		conn.Close()
		synctest.Wait()
	})
	r := upgrade("http://server/")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	if err := r.Write(conn); err != nil {
		s.t.Fatal(err)
	}
	c := &streamClient{s.t, &rawClient{conn, bufio.NewReader(conn)}}
	c.skipHandshake(s.t)
	c.read(s.t, 1) // HELLO
	return c
}

func (c *streamClient) say(message string) {
	c.t.Helper()
	if _, err := c.conn.Write(maskedText(message)); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
}

// hear returns the next message.
func (c *streamClient) hear() string {
	c.t.Helper()
	_, payload, err := c.frame()
	if err != nil {
		c.t.Fatal(err)
	}
	return string(payload)
}

// expect takes messages, which have to be these.
func (c *streamClient) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.hear(); got != w {
			c.t.Fatalf("got %s, want %s", got, w)
		}
	}
}

// expectParts takes PARTs of call 1 with these numbers.
func (c *streamClient) expectParts(from, to int) {
	c.t.Helper()
	for n := from; n <= to; n++ {
		c.expect(fmt.Sprintf(`{"type":"PART","for":"1","n":%d,"args":%d}`, n, n))
	}
	synctest.Wait()
}

// stream makes call 1 and takes its ACK, and returns what the engine has of it.
func (s *streamServer) stream(c *streamClient, parts int) broker.Call {
	s.t.Helper()
	c.say(fmt.Sprintf(`{"type":"CALL","id":"1","uri":"f","parts":%d}`, parts))
	c.expect(`{"type":"ACK","for":"1"}`)
	return <-s.engine.calls
}

const (
	ackOfStream = `{"type":"ACK","for":"1"}`
	endOfStream = `{"type":"RES","for":"1","args":"end"}`
)

// resOf is an outcome of call 1 that is an error.
func resOf(code int, message string) string {
	return fmt.Sprintf(`{"type":"RES","for":"1","error":{"code":%d,"message":%q}}`, code, message)
}

// inSimulatedTime runs f with a server that has one client.
func inSimulatedTime(t *testing.T, f func(t *testing.T, s *streamServer, c *streamClient), opts ...juggler.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStreamServer(t, opts...)
		f(t, s, s.dial())
	})
}

// windowOf is the window that the node of newStreamServer grants whose client has got so many
// parts, of a digit each, and wants many.
func windowOf(written uint32) broker.Window {
	return broker.Window{Parts: written + 32, Bytes: uint64(written) + 64<<10}
}

// Parts that overtake the ACK wait for it, and so does a result. Those that come twice, or
// in another order, are put right; nothing follows the RES.
func TestPartsAreInOrder(t *testing.T) {
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		s.engine.confirm = make(chan error)
		c.say(`{"type":"CALL","id":"1","uri":"f","parts":1000}`)
		call := <-s.engine.calls
		if call.Window != windowOf(0) {
			t.Errorf("the call has the window %v", call.Window)
		}
		s.engine.send(call.ReplyTo, call.Window, 1, 2, 1, 4, 4)
		s.engine.end(call.ReplyTo, 5)
		s.engine.send(call.ReplyTo, call.Window, 2, 5, 3)
		synctest.Wait()
		s.engine.confirm <- nil
		c.expect(ackOfStream)
		c.expectParts(1, 5)
		c.expect(endOfStream)
		s.engine.send(call.ReplyTo, call.Window, 5, 6)
		s.engine.end(call.ReplyTo, 5)
		time.Sleep(time.Minute)
		c.say(`{"type":"SUB","id":"2","channel":"c"}`)
		c.expect(`{"type":"ACK","for":"2"}`)
		if n := len(s.engine.cancels); n != 0 {
			t.Errorf("%d cancellations of a call that was answered", n)
		}
		if got := s.h.Stats(); got.Parts != 5 || got.Streams != 0 || got.LateResults != 1 {
			t.Errorf("counted %+v", got)
		}
	})
}

// A result waits for the parts that it has overtaken.
func TestResultFollowsItsParts(t *testing.T) {
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		call := s.stream(c, 10)
		s.engine.send(call.ReplyTo, call.Window, 1)
		s.engine.end(call.ReplyTo, 3)
		s.engine.end(call.ReplyTo, 1) // twice: the first counts
		c.expectParts(1, 1)
		time.Sleep(1900 * time.Millisecond)
		s.engine.send(call.ReplyTo, call.Window, 2)
		time.Sleep(1900 * time.Millisecond)
		s.engine.send(call.ReplyTo, call.Window, 3)
		c.expectParts(2, 3)
		c.expect(endOfStream)
	})
}

// A part that does not come ends the call two seconds later, whether others or the result
// show that it is missing; and so does one that cannot be sent, at once.
func TestPartsThatEndTheCall(t *testing.T) {
	const lost, internal = "a part of the answer was lost", "internal error"
	one := juggler.WithStreamWindowBytes(1 << 10)
	large := make([]byte, 1<<20)
	for i := range large {
		large[i] = '1'
	}
	for name, test := range map[string]struct {
		come  func(e *streamEngine, call broker.Call)
		after time.Duration
		want  string
		opts  []juggler.Option
	}{
		"a hole":   {func(e *streamEngine, call broker.Call) { e.send(call.ReplyTo, call.Window, 3, 5, 4) }, 2 * time.Second, resOf(502, lost), nil},
		"the last": {func(e *streamEngine, call broker.Call) { e.end(call.ReplyTo, 2) }, 2 * time.Second, resOf(502, lost), nil},
		"no JSON": {func(e *streamEngine, call broker.Call) {
			e.parts([]broker.Part{{To: call.ReplyTo, N: 2, Args: []byte("secret"), Window: call.Window, From: engineCallee}})
		}, 0, resOf(500, internal), nil},
		"too large": {func(e *streamEngine, call broker.Call) {
			e.parts([]broker.Part{{To: call.ReplyTo, N: 2, Args: large, Window: call.Window, From: engineCallee}})
		}, 0, resOf(413, "a part has 1048576 bytes, and at most 1047552 may wait for a client"), nil},
		"more than was asked for": {func(e *streamEngine, call broker.Call) { e.send(call.ReplyTo, call.Window, 2, 3, 4, 5, 6) }, 0, resOf(500, internal), nil},
		"more bytes than the window": {func(e *streamEngine, call broker.Call) {
			e.parts([]broker.Part{{To: call.ReplyTo, N: 3, Args: large[:1100], Window: call.Window, From: engineCallee}})
			e.send(call.ReplyTo, call.Window, 4)
		}, 0, resOf(500, internal), []juggler.Option{one}},
	} {
		t.Run(name, func(t *testing.T) {
			inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
				call := s.stream(c, 5)
				s.engine.send(call.ReplyTo, call.Window, 1)
				c.expectParts(1, 1)
				s.log.reset()
				start := time.Now()
				test.come(s.engine, call)
				got := c.hear()
				for strings.Contains(got, "PART") && name == "more than was asked for" {
					got = c.hear()
				}
				if d := time.Since(start); got != test.want || d < test.after || d > test.after+100*time.Millisecond {
					t.Errorf("after %v got %s, want %s", d, got, test.want)
				}
				synctest.Wait()
				if n := len(s.engine.cancels); n != 1 || <-s.engine.cancels != call.ReplyTo {
					t.Errorf("%d cancellations", n)
				}
				if n := s.h.Stats().StreamsBroken; n != 0 != (test.after > 0) {
					t.Errorf("%d answers are counted that lack a part", n)
				}
				if lines := s.log.read(); len(lines) != 1 {
					t.Errorf("logged %q", lines)
				}
			}, test.opts...)
		})
	}
}

// The same before the ACK: the outcome follows it.
func TestPartThatCannotBeSentBeforeTheACK(t *testing.T) {
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		s.engine.confirm = make(chan error)
		c.say(`{"type":"CALL","id":"1","uri":"f","parts":5}`)
		call := <-s.engine.calls
		s.engine.parts([]broker.Part{{To: call.ReplyTo, N: 1, Args: []byte("{"), Window: call.Window}})
		s.engine.send(call.ReplyTo, call.Window, 2)
		s.engine.end(call.ReplyTo, 2)
		time.Sleep(10 * time.Second)
		s.engine.confirm <- nil
		c.expect(ackOfStream, resOf(500, "internal error"))
		if got := <-s.engine.cancels; got != call.ReplyTo {
			t.Errorf("cancelled %v", got)
		}
	})
}

// The callee may send as much as the client asks for, but never more than a window ahead
// of what was written. It is told when half of that is free.
func TestGrants(t *testing.T) {
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		call := s.stream(c, 40)
		if want := windowOf(0); call.Window != want {
			t.Fatalf("the call has the window %v, want %v", call.Window, want)
		}
		for n := range uint32(15) {
			s.engine.send(call.ReplyTo, call.Window, n+1)
		}
		synctest.Wait()
		if n := len(s.engine.grants); n != 0 {
			t.Errorf("%d grants while more than half of the window is free", n)
		}
		s.engine.send(call.ReplyTo, call.Window, 16)
		synctest.Wait()
		if n := len(s.engine.grants); n != 0 { // 8 of 24 more are less than half
			t.Errorf("%d grants while the client asks for little more", n)
		}
		c.say(`{"type":"MORE","for":"1","parts":1000}`)
		want := broker.Grant{To: call.ReplyTo, Callee: engineCallee, Window: windowOf(16)}
		want.Window.Bytes = 64<<10 + uint64(len("12345678910111213141516"))
		if g := s.engine.granted(); g != want {
			t.Errorf("granted %+v, want %+v", g, want)
		}
		c.expectParts(1, 16)
	})
}

// A client with a small window gets its parts without waiting for a large one.
func TestGrantsForOneAtATime(t *testing.T) {
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		call := s.stream(c, 1)
		w := call.Window
		for n := uint32(1); n < 50; n++ {
			s.engine.send(call.ReplyTo, w, n)
			c.expectParts(int(n), int(n))
			c.say(`{"type":"MORE","for":"1","parts":1}`)
			g := s.engine.granted()
			if g.Window.Parts != n+1 {
				t.Fatalf("granted %+v behind part %d", g, n)
			}
			w = g.Window
		}
		if d := len(s.engine.grants); d != 0 {
			t.Errorf("%d grants are left", d)
		}
	})
}

// A grant that was lost is made again, after pauses that grow, only while the callee has
// used what it knows.
func TestLostGrantsAreMadeAgain(t *testing.T) {
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		call := s.stream(c, 100)
		for n := range uint32(31) {
			s.engine.send(call.ReplyTo, call.Window, n+1)
		}
		synctest.Wait()
		if g := s.engine.granted(); g.Window.Parts <= 32 {
			t.Fatalf("granted %+v", g)
		}
		time.Sleep(25 * time.Second)
		if n := len(s.engine.grants); n != 2 {
			t.Errorf("granted %d times again to a callee that may go on, want 2", n)
		}
		s.engine.send(call.ReplyTo, call.Window, 32)
		synctest.Wait()
		s.engine.granted()
		start := time.Now()
		var pauses []time.Duration
		for range 6 {
			g := <-s.engine.grants
			if g.Window.Parts != 64 {
				t.Errorf("granted %+v", g)
			}
			pauses = append(pauses, time.Since(start).Round(50*time.Millisecond))
			start = time.Now()
		}
		ms := time.Millisecond
		if want := []time.Duration{250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 4000 * ms}; !slices.Equal(pauses, want) {
			t.Errorf("granted again after %v, want %v", pauses, want)
		}
		s.engine.send(call.ReplyTo, broker.Window{Parts: 64, Bytes: 1 << 20}, 33)
		synctest.Wait()
		s.engine.granted()
		time.Sleep(20 * time.Second)
		if n := len(s.engine.grants); n != 0 {
			t.Errorf("%d grants to a callee that knows", n)
		}
	})
}

// A client that asks for no more ends its call in 30 s. One that does has its time.
func TestStalledStream(t *testing.T) {
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		call := s.stream(c, 2)
		time.Sleep(40 * time.Second) // the callee takes its time: this is no stall
		s.engine.send(call.ReplyTo, call.Window, 1, 2)
		c.expectParts(1, 2)
		for n := uint32(3); n < 6; n++ {
			time.Sleep(29 * time.Second)
			c.say(`{"type":"MORE","for":"1","parts":1}`)
			s.engine.send(call.ReplyTo, s.engine.granted().Window, n)
			c.expectParts(int(n), int(n))
		}
		start := time.Now()
		c.expect(resOf(429, "the client has asked for no more parts in time"))
		if d := time.Since(start); d < 30*time.Second || d > 31*time.Second {
			t.Errorf("ended after %v", d)
		}
		if got := <-s.engine.cancels; got != call.ReplyTo {
			t.Errorf("cancelled %v", got)
		}
		if n := s.h.Stats().StreamsStalled; n != 1 {
			t.Errorf("%d are counted", n)
		}
	}, juggler.WithCallTimeout(10*time.Minute))
}

// CANCEL, the end of the time and of the session end a stream, and its callee is told:
// once more if parts of it still come a while later.
func TestEndsOfStreams(t *testing.T) {
	for name, test := range map[string]struct {
		end      func(*streamClient)
		want     string
		cancels  int
		keepCall bool
	}{
		"CANCEL":             {func(c *streamClient) { c.say(`{"type":"CANCEL","for":"1"}`) }, resOf(499, "cancelled"), 1, false},
		"CANCEL, calls kept": {func(c *streamClient) { c.say(`{"type":"CANCEL","for":"1"}`) }, resOf(499, "cancelled"), 1, true},
		"time":               {func(c *streamClient) { time.Sleep(time.Minute) }, resOf(408, "the call's time is over"), 0, false},
		"gone":               {func(c *streamClient) { c.conn.Close(); synctest.Wait() }, "", 1, false},
		"gone, calls kept":   {func(c *streamClient) { c.conn.Close(); synctest.Wait() }, "", 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			opts := []juggler.Option{juggler.WithStreamStall(time.Hour)}
			if test.keepCall {
				opts = append(opts, juggler.WithKeepCalls())
			}
			var ends []juggler.CallEnd
			opts = append(opts, juggler.WithCallObserver(func(e juggler.CallEnd) { ends = append(ends, e) }))
			inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
				call := s.stream(c, 3)
				s.engine.send(call.ReplyTo, call.Window, 1, 2)
				c.expectParts(1, 2)
				test.end(c)
				if test.want != "" {
					c.expect(test.want)
				}
				synctest.Wait()
				if n := len(s.engine.cancels); n != test.cancels {
					t.Errorf("%d cancellations, want %d", n, test.cancels)
				}
				s.engine.send(call.ReplyTo, call.Window, 3) // was on its way
				time.Sleep(time.Second)
				if n := len(s.engine.cancels); n != test.cancels {
					t.Errorf("%d cancellations since a part was on its way", n)
				}
				s.engine.send(call.ReplyTo, call.Window, 3, 4, 5)
				synctest.Wait()
				if n := len(s.engine.cancels); n != test.cancels+1 {
					t.Errorf("%d cancellations since parts still come, want %d", n, test.cancels+1)
				}
				if len(ends) != 1 || ends[0].Parts != 2 {
					t.Errorf("observed %+v", ends)
				}
				if n := s.h.Stats().Streams; n != 0 {
					t.Errorf("%d streams are left", n)
				}
			}, opts...)
		})
	}
}

// MOREs of any kind do no harm.
func TestHostileMORE(t *testing.T) {
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		c.say(`{"type":"MORE","for":"1","parts":1}`)
		call := s.stream(c, 1_000_000)
		c.say(`{"type":"CALL","id":"2","uri":"f"}`)
		c.expect(`{"type":"ACK","for":"2"}`)
		plain := <-s.engine.calls
		if plain.Window != (broker.Window{}) {
			t.Errorf("a call without parts has the window %v", plain.Window)
		}
		s.engine.send(call.ReplyTo, call.Window, 1)
		c.expectParts(1, 1)
		for range 5000 { // more than a uint32 holds
			c.say(`{"type":"MORE","for":"1","parts":1000000}`)
			c.conn.Write(maskedText(`{"type":"MORE","for":"none","parts":1000000}`, `{"type":"MORE","for":"2","parts":3}`))
			time.Sleep(time.Millisecond)
		}
		s.engine.send(plain.ReplyTo, call.Window, 1) // it wants none
		for n := uint32(2); n <= 32; n++ {
			s.engine.send(call.ReplyTo, call.Window, n)
		}
		c.expectParts(2, 32)
		if g := s.engine.granted(); g.Window.Parts != 32+32 {
			t.Errorf("granted %v", g)
		}
		s.engine.end(call.ReplyTo, 32)
		c.expect(endOfStream)
		c.say(`{"type":"MORE","for":"1","parts":1}`)
		s.engine.end(plain.ReplyTo, 0)
		c.expect(`{"type":"RES","for":"2","args":"end"}`)
	})
}

// MORE has no answer, not even for who may not send CALL, and counts as a message.
func TestRightsOfMORE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreamServer(t)
		c := s.dial("Juggler-Allowed-Messages: sub")
		c.say(`{"type":"MORE","for":"1","parts":1}`)
		c.say(`{"type":"SUB","id":"2","channel":"c"}`)
		c.expect(`{"type":"ACK","for":"2"}`)
	})
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		call := s.stream(c, 1)
		s.engine.send(call.ReplyTo, call.Window, 1)
		for range 100 {
			c.conn.Write(maskedText(`{"type":"MORE","for":"1","parts":1}`))
		}
		synctest.Wait()
		c.expectParts(1, 1)
		if g := s.engine.granted(); g.Window.Parts > 20 {
			t.Errorf("granted %v to a client that is not read", g)
		}
	}, juggler.WithSessionRates(juggler.Rates{Messages: juggler.Rate{PerSecond: 1, Burst: 10}}))
}

// MORE passes requests that wait for user code.
func TestMOREPassesUserCode(t *testing.T) {
	release := make(chan struct{})
	slow := juggler.WithAuthorizer(juggler.AuthorizerFunc(func(_ context.Context, r *juggler.Request) error {
		if r.Channel() == "slow" {
			<-release
		}
		return nil
	}))
	synctest.Test(t, func(t *testing.T) {
		release = make(chan struct{})
		s := newStreamServer(t, slow)
		c := s.dial()
		call := s.stream(c, 1)
		s.engine.send(call.ReplyTo, call.Window, 1)
		c.expectParts(1, 1)
		c.say(`{"type":"SUB","id":"2","channel":"slow"}`)
		c.say(`{"type":"MORE","for":"1","parts":5}`)
		if g := s.engine.granted(); g.Window.Parts != 6 {
			t.Errorf("granted %v", g)
		}
		s.engine.send(call.ReplyTo, broker.Window{Parts: 6, Bytes: 1 << 16}, 2)
		c.expectParts(2, 2)
		close(release)
		c.expect(`{"type":"ACK","for":"2"}`)
	})
}

// A call of juggler.0 has no parts, and neither has one on a broker that carries none.
func TestWithoutParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreamServer(t)
		conn, err := s.net.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r := upgrade("http://server/")
		r.Header.Set("Sec-WebSocket-Protocol", "juggler.0")
		r.Write(conn)
		c := &streamClient{t, &rawClient{conn, bufio.NewReader(conn)}}
		c.skipHandshake(t)
		c.say(`{"meta":{"type":1,"uuid":"0ab5b56c-1b73-4e3e-8d1e-5f5b4a8f2b11"},"payload":{"uri":"f","parts":5},"parts":5}`)
		if call := <-s.engine.calls; call.Window != (broker.Window{}) {
			t.Errorf("a call of juggler.0 has the window %v", call.Window)
		}
	})
	s := newServerOn(t, mayWait)
	s.handle("echo", echo)
	c := s.dial("juggler.1")
	c.send(`{"type":"CALL","id":"1","uri":"echo","args":5,"parts":3}`)
	c.expect(ackOfStream)
	c.send(`{"type":"MORE","for":"1","parts":3}`)
	c.expect(`{"type":"RES","for":"1","args":5}`)
}

// A client that does not read has no more than a window of each stream wait here; the
// session's queue stays half empty for what else comes. Then all goes on, in order.
func TestSlowReaderOfParts(t *testing.T) {
	const queue, size, streams, total = 32 << 10, 3000, 4, 60
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		c.say(`{"type":"SUB","id":"sub","channel":"c"}`)
		c.expect(`{"type":"ACK","for":"sub"}`)
		args, err := json.Marshal(strings.Repeat("x", size))
		if err != nil {
			t.Fatal(err)
		}
		windows := make(map[broker.Address]broker.Window)
		var calls []broker.Call
		for i := range streams {
			c.say(fmt.Sprintf(`{"type":"CALL","id":"%d","uri":"f","parts":1000}`, i))
			c.expect(fmt.Sprintf(`{"type":"ACK","for":"%d"}`, i))
			call := <-s.engine.calls
			calls = append(calls, call)
			windows[call.ReplyTo] = call.Window
		}
		sent := make([]broker.Window, streams)
		send := func() (any bool) { // as callees do that keep to their windows
			for len(s.engine.grants) > 0 {
				g := <-s.engine.grants
				windows[g.To] = g.Window
			}
			for i, call := range calls {
				for w := windows[call.ReplyTo]; sent[i].Parts < total && w.Takes(sent[i]); any = true {
					sent[i].Parts++
					sent[i].Bytes += uint64(len(args))
					s.engine.parts([]broker.Part{{To: call.ReplyTo, N: sent[i].Parts, Args: args, Window: w, From: engineCallee}})
				}
			}
			synctest.Wait()
			return any
		}
		for send() {
		}
		if n := s.h.Stats().QueuedBytes; n > queue+streams*(64<<10+size) || n < 64<<10 {
			t.Errorf("%d bytes are kept for a client that does not read", n)
		}
		if err := s.h.Publish(s.t.Context(), "c", strings.Repeat("y", queue*5/8), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		last, events := make(map[string]int), 0
		for len(last) < streams || slices.ContainsFunc([]string{"0", "1", "2", "3"}, func(id string) bool { return last[id] < total }) {
			got := decode(t, []byte(c.hear()))
			if got["type"] == "EVNT" {
				events++
				continue
			}
			id, n := got["for"].(string), int(got["n"].(float64))
			if n != last[id]+1 {
				t.Fatalf("part %d of %s behind part %d", n, id, last[id])
			}
			last[id] = n
			for other, m := range last { // none is left behind
				if n-m > total/2 {
					t.Fatalf("part %d of %s while %s is at %d", n, id, other, m)
				}
			}
			synctest.Wait()
			send()
		}
		if events != 1 {
			t.Errorf("%d events, want 1", events)
		}
		for i, call := range calls {
			s.engine.end(call.ReplyTo, total)
			c.expect(fmt.Sprintf(`{"type":"RES","for":"%d","args":"end"}`, i))
		}
		synctest.Wait()
	}, juggler.WithMaxMessageBytes(8<<10), juggler.WithMaxQueueBytes(queue))
}

// What waits of answers counts for what the node may keep.
func TestWaitingPartsCountForTheNode(t *testing.T) {
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		call := s.stream(c, 10)
		args, err := json.Marshal(strings.Repeat("x", 2000))
		if err != nil {
			s.t.Fatal(err)
		}
		for n := uint32(2); n < 6; n++ { // the first one does not come
			s.engine.parts([]broker.Part{{To: call.ReplyTo, N: n, Args: args, Window: call.Window, From: engineCallee}})
		}
		op, payload, err := c.frame()
		if err != nil || op != ws.OpClose {
			s.t.Fatalf("got %v %.100s, %v", op, payload, err)
		}
		if code, reason := ws.ParseCloseFrameData(payload); code != juggler.CloseOverloaded {
			s.t.Errorf("closed with %d %s", code, reason)
		}
	}, juggler.WithMaxMessageBytes(256), juggler.WithMaxQueueBytes(4<<10), juggler.WithMaxNodeQueueBytes(4<<10))
}
