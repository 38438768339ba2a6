package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/jugglertest"
)

// byName authenticates each client as the user that its header names.
func byName(r *http.Request) (*juggler.Identity, error) {
	return &juggler.Identity{User: r.Header.Get("User")}, nil
}

// as is the header of a user.
func as(user string) http.Header { return http.Header{"User": {user}} }

// keyedCallee is a callee whose calls end as the test says: it counts them, and answers with what
// the test sends. Each call first sends the parts that the test sends.
type keyedCallee struct {
	runs  atomic.Int32
	end   chan string
	parts chan string
}

func newKeyedCallee() *keyedCallee {
	return &keyedCallee{end: make(chan string), parts: make(chan string)}
}

func (g *keyedCallee) call(ctx context.Context, c *calleeCall) (any, error) {
	g.runs.Add(1)
	for {
		select {
		case p := <-g.parts:
			if err := c.Send(ctx, p); err != nil {
				return nil, err
			}
		case end := <-g.end:
			return end, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// onKeyedRoads runs f with a server on each road that a CALL may take.
func onKeyedRoads(t *testing.T, f func(t *testing.T, s *testServer), opts ...juggler.Option) {
	t.Helper()
	blocking := juggler.WithMiddleware(func(next juggler.RequestHandler) juggler.RequestHandler { return next })
	for _, road := range []struct {
		name  string
		roles func(*memory.Broker) jugglertest.Roles
		opts  []juggler.Option
	}{
		{"on the turn", itself, nil},
		{"broker may wait", keyedMayWait, nil},
		{"user code may wait", itself, []juggler.Option{blocking}},
	} {
		t.Run(road.name, func(t *testing.T) {
			f(t, newServerOn(t, road.roles, append(append(road.opts, juggler.WithAuthenticator(byName)), opts...)...))
		})
	}
}

// A call with a key is made once. Who joins it on another connection, also after the first
// one has gone, gets the same outcome, and so does who asks when it is there.
func TestKeyedCallOutlivesItsSession(t *testing.T) {
	onKeyedRoads(t, func(t *testing.T, s *testServer) {
		g := newKeyedCallee()
		s.handle("pay", g.call)
		a := s.dialHeader("juggler.1", as("ann"))
		a.send(`{"type":"CALL","id":"1","uri":"pay","args":{"n":1},"key":"k"}`)
		a.expect(`{"type":"ACK","for":"1","state":"new"}`)
		b, c := s.dialHeader("juggler.1", as("ann")), s.dialHeader("juggler.1", as("ann"))
		b.send(`{"type":"CALL","id":"x","uri":"pay","args":{"n":1},"key":"k"}`)
		b.expect(`{"type":"ACK","for":"x","state":"running"}`)
		c.send(`{"type":"CALL","id":"y","uri":"pay","key":"k","since":0}`)
		c.expect(`{"type":"ACK","for":"y","state":"running"}`)
		a.conn.CloseNow()
		s.waitSessions(2)
		g.end <- "done"
		b.expect(`{"type":"RES","for":"x","args":"done"}`)
		c.expect(`{"type":"RES","for":"y","args":"done"}`)
		b.send(`{"type":"CALL","id":"z","uri":"pay","args":{"n":1},"key":"k"}`)
		b.expect(`{"type":"ACK","for":"z","state":"done"}`)
		b.expect(`{"type":"RES","for":"z","args":"done"}`)
		if n := g.runs.Load(); n != 1 {
			t.Errorf("the function ran %d times", n)
		}
	})
}

// A call whose callee died runs again with its key where a rule says that it may. A client that
// only joins gets the outcome that there is.
func TestRepeatableCall(t *testing.T) {
	onKeyedRoads(t, func(t *testing.T, s *testServer) {
		a := s.dialHeader("juggler.1", as("ann"))
		call := func(id, uri, more string) {
			t.Helper()
			a.send(`{"type":"CALL","id":"` + id + `","uri":"` + uri + `","key":"k"` + more + `}`)
		}
		dying, err := s.broker.OpenCallee(t.Context(), []string{"order.pay", "mail.send"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer dying.Close()
		for _, uri := range []string{"order.pay", "mail.send"} {
			call(uri, uri, "")
			a.expect(`{"type":"ACK","for":"` + uri + `","state":"new"}`)
			if n, err := dying.Take(t.Context(), make([]broker.Call, 1)); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		dying.Close()
		a.expect(`{"type":"RES","error":{"code":502}}`)
		a.expect(`{"type":"RES","error":{"code":502}}`)

		attempts := make(chan int, 1)
		s.handle("order.pay", func(_ context.Context, c *calleeCall) (any, error) {
			attempts <- c.Attempt()
			return "paid", nil
		})
		s.handle("mail.send", echo)
		for _, tt := range []struct{ id, uri, more, state, res string }{
			{"1", "mail.send", "", "done", `"error":{"code":502}`},
			{"2", "order.pay", `,"since":0`, "done", `"error":{"code":502}`},
			{"3", "order.pay", "", "new", `"args":"paid"`},
			{"4", "order.pay", "", "done", `"args":"paid"`},
		} {
			call(tt.id, tt.uri, tt.more)
			a.expect(`{"type":"ACK","for":"` + tt.id + `","state":"` + tt.state + `"}`)
			a.expect(`{"type":"RES","for":"` + tt.id + `",` + tt.res + `}`)
		}
		call("5", "order.pay", `,"args":1`)
		a.expect(`{"type":"NACK","for":"5","error":{"code":409}}`)
		if n := <-attempts; n != 2 {
			t.Errorf("the call ran again as attempt %d", n)
		}
	}, juggler.WithOutcomes(juggler.OutcomeRule{URIs: "order.*", Repeatable: true}))
}

// What does not fit to a key is refused, with the code for it.
func TestRefusedKeys(t *testing.T) {
	onKeyedRoads(t, func(t *testing.T, s *testServer) {
		s.handle("pay", wait)
		a, guest, b := s.dialHeader("juggler.1", as("ann")), s.connect("juggler.1", as("")), s.dialHeader("juggler.1", as("bob"))
		if hello := guest.expect(`{"type":"HELLO"}`); hello["keyed"] != nil {
			t.Errorf("HELLO of a guest is %v", hello)
		}
		s.connect("juggler.1", as("ann")).expect(`{"type":"HELLO","keyed":true}`)
		ask := func(c *testClient, call, want string) {
			t.Helper()
			c.send(`{"type":"CALL","id":"1","uri":"pay",` + call + `}`)
			c.expect(`{"for":"1",` + want + `}`)
			if strings.Contains(want, `"ACK"`) {
				c.send(`{"type":"CANCEL","for":"1"}`)
				c.expect(`{"type":"RES","for":"1","error":{"code":499}}`)
			}
		}
		ask(guest, `"key":"k"`, `"type":"NACK","error":{"code":403}`)
		ask(a, `"key":"k","since":0`, `"type":"NACK","error":{"code":410}`)
		ask(a, `"key":"k"`, `"type":"ACK","state":"new"`)
		ask(a, `"key":"k","args":1`, `"type":"NACK","error":{"code":409}`)
		ask(a, `"key":"k"`, `"type":"ACK","state":"running"`)
		ask(b, `"key":"k","since":0`, `"type":"NACK","error":{"code":410}`)
		ask(b, `"key":"k","args":1`, `"type":"ACK","state":"new"`)
		ask(a, `"key":"k2"`, `"type":"ACK","state":"new"`)
		ask(a, `"key":"k3"`, `"type":"NACK","error":{"code":429}`)
		ask(a, `"key":"k3","args":1`, `"type":"NACK","error":{"code":429}`)
	}, juggler.WithMaxKeys(2))
}

// CANCEL takes its sender out, and with stop it ends the call for all.
func TestCancelledKeyedCall(t *testing.T) {
	onKeyedRoads(t, func(t *testing.T, s *testServer) {
		g := newKeyedCallee()
		s.handle("pay", g.call)
		a, b := s.dialHeader("juggler.1", as("ann")), s.dialHeader("juggler.1", as("ann"))
		for i, c := range []*testClient{a, b} {
			c.send(`{"type":"CALL","id":"1","uri":"pay","key":"k"}`)
			c.expect(fmt.Sprintf(`{"type":"ACK","for":"1","state":"%s"}`, []string{"new", "running"}[i]))
		}
		waitFor(t, "the call", func() bool { return g.runs.Load() == 1 })
		a.send(`{"type":"CANCEL","for":"1"}`)
		a.expect(`{"type":"RES","for":"1","error":{"code":499}}`)
		a.send(`{"type":"CALL","id":"2","uri":"pay","key":"k","since":0}`)
		a.expect(`{"type":"ACK","for":"2","state":"running"}`)
		a.send(`{"type":"CANCEL","for":"2","stop":true}`)
		a.expect(`{"type":"RES","for":"2","error":{"code":499}}`)
		b.expect(`{"type":"RES","for":"1","error":{"code":499}}`)
		a.send(`{"type":"CALL","id":"3","uri":"pay","key":"k"}`)
		a.expect(`{"type":"ACK","for":"3","state":"done"}`)
		a.expect(`{"type":"RES","for":"3","error":{"code":499}}`)
		waitFor(t, "nobody to wait", func() bool { return s.h.Stats().KeyedWaiting == 0 })
	})
}

// Each who takes parts gets all of them at its own pace, and goes on where it was.
func TestPartsOfKeyedCall(t *testing.T) {
	onKeyedRoads(t, func(t *testing.T, s *testServer) {
		g := newKeyedCallee()
		s.handle("write", g.call)
		a, b := s.dialHeader("juggler.1", as("ann")), s.dialHeader("juggler.1", as("ann"))
		a.send(`{"type":"CALL","id":"1","uri":"write","key":"k","parts":2}`)
		a.expect(`{"type":"ACK","for":"1","state":"new"}`)
		for n := 1; n <= 5; n++ { // the callee does not wait for anybody
			g.parts <- fmt.Sprint("part ", n)
		}
		expect := func(c *testClient, from, to int) {
			t.Helper()
			for n := from; n <= to; n++ {
				c.expect(fmt.Sprintf(`{"type":"PART","for":"1","n":%d,"args":"part %d"}`, n, n))
			}
		}
		expect(a, 1, 2)
		b.send(`{"type":"CALL","id":"1","uri":"write","key":"k","parts":10,"since":3}`)
		b.expect(`{"type":"ACK","for":"1","state":"running"}`)
		expect(b, 4, 5)
		a.send(`{"type":"MORE","for":"1","parts":1}`)
		expect(a, 3, 3)
		g.end <- "end"
		b.expect(`{"type":"RES","for":"1","args":"end"}`)
		a.send(`{"type":"MORE","for":"1","parts":1}`)
		expect(a, 4, 4)
		a.send(`{"type":"MORE","for":"1","parts":1}`)
		expect(a, 5, 5)
		a.expect(`{"type":"RES","for":"1","args":"end"}`)
		b.send(`{"type":"CALL","id":"2","uri":"write","key":"k","since":3}`)
		b.expect(`{"type":"ACK","for":"2","state":"done"}`)
		b.expect(`{"type":"RES","for":"2","args":"end"}`)
	})
}

// keyedMayWait hides that the embedded broker never waits.
func keyedMayWait(b *memory.Broker) jugglertest.Roles {
	return struct {
		brokerKeyedCaller
		brokerCallee
		brokerPubSub
	}{slowKeyed{b}, b, b}
}

type brokerKeyedCaller interface {
	broker.Caller
	broker.KeyedCaller
}

// slowKeyed is the embedded broker without the promise of its connections never to wait.
type slowKeyed struct{ brokerKeyedCaller }

func (s slowKeyed) OpenKeyedCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part), news func([]broker.CallKey)) (broker.KeyedCallerConn, error) {
	conn, err := s.brokerKeyedCaller.OpenKeyedCaller(ctx, node, deliver, parts, news)
	if err != nil {
		return nil, err
	}
	return struct{ broker.KeyedCallerConn }{conn}, nil
}

// Code of the server looks calls up, waits for them, and stops them.
func TestOutcomeForTheServer(t *testing.T) {
	onKeyedRoads(t, func(t *testing.T, s *testServer) {
		g, ctx := newKeyedCallee(), t.Context()
		s.handle("pay", g.call)
		if _, err := s.h.Outcome(ctx, "pay", "ann", "k"); !errors.Is(err, broker.ErrCallGone) {
			t.Errorf("error %v of a call that nobody made", err)
		}
		if _, err := s.h.AwaitOutcome(ctx, "pay", "ann", "k"); !errors.Is(err, broker.ErrCallGone) {
			t.Errorf("error %v of waiting for it", err)
		}
		c := s.dialHeader("juggler.1", as("ann"))
		for _, key := range []string{"k", "l"} {
			c.send(`{"type":"CALL","id":"` + key + `","uri":"pay","key":"` + key + `"}`)
			c.expect(`{"type":"ACK","state":"new"}`)
		}
		waitFor(t, "the calls", func() bool { return g.runs.Load() == 2 })
		if o, err := s.h.Outcome(ctx, "pay", "ann", "k"); err != nil || o.State != broker.CallRunning || o.Left <= 0 {
			t.Errorf("%+v, %v of a call that runs", o, err)
		}
		short, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := s.h.AwaitOutcome(short, "pay", "ann", "k"); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v when the context has ended", err)
		}
		if err := s.h.StopCall(ctx, "pay", "ann", "l"); err != nil {
			t.Errorf("StopCall: %v", err)
		}
		c.expect(`{"type":"RES","for":"l","error":{"code":499}}`)
		ended := make(chan juggler.Outcome, 1)
		go func() {
			o, err := s.h.AwaitOutcome(ctx, "pay", "ann", "k")
			if err != nil {
				t.Error(err)
			}
			ended <- o
		}()
		waitFor(t, "who waits", func() bool { return s.h.Stats().KeyedWaiting == 2 })
		g.end <- "done"
		c.expect(`{"type":"RES","for":"k","args":"done"}`)
		if o := <-ended; string(o.Args) != `"done"` || o.Err != nil || o.State != broker.CallDone {
			t.Errorf("%+v, want the outcome", o)
		}
		if o, err := s.h.Outcome(ctx, "pay", "ann", "k"); err != nil || string(o.Args) != `"done"` || o.State != broker.CallDone {
			t.Errorf("%+v, %v, want the outcome", o, err)
		}
	})
}

// Options that need outcomes are refused where the broker keeps none, and so are keys.
func TestBrokerWithoutOutcomes(t *testing.T) {
	for name, o := range map[string]juggler.Option{
		"WithKeyScope": juggler.WithKeyScope(func(juggler.Session) string { return "" }),
		"WithMaxKeys":  juggler.WithMaxKeys(1),
		"WithOutcomes": juggler.WithOutcomes(),
	} {
		_, err := juggler.New(juggler.WithBroker(newStreamEngine(t)), o)
		if err == nil || !errors.Is(err, juggler.ErrInvalidOption) || !strings.Contains(err.Error(), name+": it has no effect") || !strings.Contains(err.Error(), "broker.KeyedCaller") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	inSimulatedTime(t, func(t *testing.T, s *streamServer, c *streamClient) {
		c.say(`{"type":"CALL","id":"1","uri":"f","key":"k"}`)
		c.expect(`{"type":"NACK","for":"1","error":{"code":400,"message":"this server keeps no outcomes of calls, so a key means nothing"}}`)
		if _, err := s.h.Outcome(t.Context(), "f", "ann", "k"); !errors.Is(err, juggler.ErrNoOutcomes) {
			t.Errorf("error %v of a look-up", err)
		}
	})
}

// Rules of outcomes are refused with what is wrong with them.
func TestWrongOutcomeRules(t *testing.T) {
	many := make([]juggler.OutcomeRule, 257)
	for _, tt := range []struct {
		rules []juggler.OutcomeRule
		want  string
	}{
		{[]juggler.OutcomeRule{{URIs: ""}}, `WithOutcomes(""): want a name`},
		{[]juggler.OutcomeRule{{URIs: "a*b"}}, `WithOutcomes("a*b"): want a name`},
		{[]juggler.OutcomeRule{{URIs: "a*"}, {URIs: "ab*"}}, `WithOutcomes("ab*"): the rule of "a*" before it`},
		{[]juggler.OutcomeRule{{URIs: "a", Keep: time.Millisecond}}, `WithOutcomes("a"): Keep is 1ms, want 1s to 720h0m0s`},
		{[]juggler.OutcomeRule{{URIs: "a", Keep: time.Hour * 721}}, `Keep is 721h0m0s`},
		{[]juggler.OutcomeRule{{URIs: "a", PartBytes: 1}}, `PartBytes is 1, want 1024 to 67108864`},
		{many, "257 rules, want up to 256"},
	} {
		if _, err := juggler.New(juggler.WithOutcomes(tt.rules...)); err == nil || !errors.Is(err, juggler.ErrInvalidOption) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: error %v, want %q", tt.rules, err, tt.want)
		}
	}
	for _, rules := range [][]juggler.OutcomeRule{nil, {{URIs: "*"}}, {{URIs: "ab*", Keep: time.Second}, {URIs: "a*", Keep: 720 * time.Hour, PartBytes: 64 << 20}, {URIs: "b", PartBytes: 1 << 10}}} {
		if _, err := juggler.New(juggler.WithOutcomes(rules...)); err != nil {
			t.Errorf("%v: %v", rules, err)
		}
	}
}
