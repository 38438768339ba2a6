package juggler_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/waiting"
	"github.com/juggler-go/juggler/jugglertest"
)

// A dividedCaller has one part for calls to "stuck", which it does not take until it
// is told to, and one for all others.
type dividedCaller struct {
	broker.Caller
	release chan struct{}
}

func (c dividedCaller) OpenCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	conn, err := c.Caller.OpenCaller(ctx, node, deliver)
	return dividedConn{conn, c.release}, err
}

type dividedConn struct {
	broker.CallerConn
	release chan struct{}
}

func (c dividedConn) Part(uri string) int {
	if uri == "stuck" {
		return 1
	}
	return 0
}

func (c dividedConn) Call(ctx context.Context, call *broker.Call) error {
	if call.URI == "stuck" {
		<-c.release
	}
	return c.CallerConn.Call(ctx, call)
}

func (c dividedConn) CallBatch(ctx context.Context, calls []broker.Call, errs []error) {
	if slices.ContainsFunc(calls, func(call broker.Call) bool { return call.URI == "stuck" }) {
		<-c.release
	}
	c.CallerConn.(broker.BatchCaller).CallBatch(ctx, calls, errs)
}

// Calls that one loop reads in one turn go to the broker together, but none waits for
// another part of the broker than its own.
func TestPartsOfTheBrokerAreApart(t *testing.T) {
	release := make(chan struct{})
	s := newServerOn(t, func(b *memory.Broker) jugglertest.Roles {
		plain := plainRoles(b)
		plain.Caller = dividedCaller{b, release}
		return plain.join()
	})
	defer close(release)
	s.handle("quick", echo)
	conns := make([]*rawClient, 100)
	for i := range conns {
		conns[i] = dialRaw(t, s.http.Listener.Addr().String())
	}
	for i, c := range conns {
		uri := "quick"
		if i%10 == 0 {
			uri = "stuck"
		}
		go c.conn.Write(maskedText(fmt.Sprintf(`{"type":"CALL","id":"1","uri":%q,"args":null}`, uri)))
	}
	for i, c := range conns {
		if i%10 == 0 {
			continue
		}
		c.conn.SetReadDeadline(time.Now().Add(waiting.Most))
		for range 2 { // ACK and RES
			if _, _, err := c.frame(); err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
		}
	}
}

// A dividedPubSub has one part for publications on "stuck", which it does not take
// until it is told to, and one for all others.
type dividedPubSub struct {
	broker.PubSub
	release chan struct{}
}

func (p dividedPubSub) Part(channel string) int {
	if channel == "stuck" {
		return 1
	}
	return 0
}

func (p dividedPubSub) PublishBatch(ctx context.Context, events []broker.Event, errs []error) {
	for i := range events {
		errs[i] = p.Publish(ctx, &events[i])
	}
}

func (p dividedPubSub) Publish(ctx context.Context, e *broker.Event) error {
	if e.Channel == "stuck" {
		<-p.release
	}
	return p.PubSub.Publish(ctx, e)
}

// dividedServer has a broker of parts, with and without user code in the way.
func dividedServer(t *testing.T, test func(*testing.T, *testServer, *rawClient, func())) {
	passOn := func(context.Context, *juggler.Request) (func(error) error, error) {
		return func(err error) error { return err }, nil
	}
	for name, opts := range map[string][]juggler.Option{
		"straight":   nil,
		"middleware": {juggler.WithNonBlockingMiddleware(passOn)},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			s := newServerOn(t, func(b *memory.Broker) jugglertest.Roles {
				plain := plainRoles(b)
				plain.Caller = dividedCaller{b, release}
				return divided{plain.join(), dividedPubSub{plain.PubSub, release}}
			}, opts...)
			s.handle("quick", echo)
			s.handle("stuck", echo)
			c := dialRaw(t, s.http.Listener.Addr().String())
			c.conn.SetReadDeadline(time.Now().Add(waiting.Most))
			once := sync.OnceFunc(func() { close(release) })
			defer once()
			test(t, s, c, once)
		})
	}
}

// divided has its PubSub divided, too.
type divided struct {
	jugglertest.Roles
	dividedPubSub
}

func (d divided) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	return d.Roles.OpenSubscriber(ctx, deliver)
}

func (d divided) Publish(ctx context.Context, e *broker.Event) error {
	return d.dividedPubSub.Publish(ctx, e)
}

// comes wants these messages next, in any order.
func (c *rawClient) comes(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for range want {
		f := c.answer(t)
		switch f.Type {
		case frame.Evnt:
			got = append(got, "EVNT "+string(f.Args))
		default:
			got = append(got, strings.TrimSuffix(fmt.Sprintf("%v %s %d", f.Type, f.For, f.Err.Code), " 0"))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// Calls of one client, too, wait for no part of the broker but their own, nor do
// cancellations. What has to keep its order does.
func TestCallsOfOneSessionAreApart(t *testing.T) {
	dividedServer(t, func(t *testing.T, s *testServer, c *rawClient, release func()) {
		write := func(messages ...string) { c.conn.Write(maskedText(messages...)) }
		s.handle("held", wait)
		write(`{"type":"CALL","id":"1","uri":"stuck"}`, `{"type":"CALL","id":"2","uri":"quick"}`)
		c.comes(t, "ACK 2", "RES 2")
		for i := range 3 {
			write(fmt.Sprintf(`{"type":"CALL","id":"s%d","uri":"stuck"}`, i))
			write(fmt.Sprintf(`{"type":"CALL","id":"q%d","uri":"quick"}`, i))
			c.comes(t, fmt.Sprint("ACK q", i), fmt.Sprint("RES q", i))
		}
		write(`{"type":"CALL","id":"h","uri":"held"}`)
		c.comes(t, "ACK h")
		write(`{"type":"CANCEL","for":"h"}`)
		c.comes(t, "RES h 499")
		write(`{"type":"SUB","id":"sub","channel":"c"}`, `{"type":"CALL","id":"last","uri":"quick"}`)
		release()
		acks := 0
		for range 11 {
			f := c.answer(t)
			switch id := string(f.For); {
			case f.Type == frame.Ack:
				acks++
				if want := []string{"1", "s0", "s1", "s2", "sub", "last"}[acks-1]; id != want {
					t.Errorf("ACK %d is for %s, want %s", acks, id, want)
				}
			case f.Err.Code != 0:
				t.Errorf("%s ended in %d", id, f.Err.Code)
			}
		}
	})
}

// So it is with publications, and events of their own come to publishers after the ACK.
func TestPublicationsOfOneSessionAreApart(t *testing.T) {
	dividedServer(t, func(t *testing.T, s *testServer, c *rawClient, release func()) {
		write := func(messages ...string) { c.conn.Write(maskedText(messages...)) }
		write(`{"type":"SUB","id":"a","channel":"stuck"}`, `{"type":"SUB","id":"b","channel":"quick"}`)
		c.comes(t, "ACK a", "ACK b")
		write(`{"type":"PUB","id":"1","channel":"stuck","args":1}`, `{"type":"PUB","id":"2","channel":"quick","args":2}`)
		c.comes(t, "ACK 2")
		write(`{"type":"PUB","id":"3","channel":"stuck","args":3}`)
		write(`{"type":"PUB","id":"4","channel":"quick","args":4}`)
		c.comes(t, "ACK 4")
		release()
		var got []string
		for range 6 {
			f := c.answer(t)
			got = append(got, fmt.Sprint(f.Type, " ", string(f.For), string(f.Args)))
		}
		for _, order := range [][]string{{"ACK 1", "EVNT 1", "EVNT 3"}, {"ACK 1", "ACK 3", "EVNT 3"}, {"EVNT 2", "EVNT 4"}} {
			at := -1
			for _, message := range order {
				i := slices.Index(got, message)
				if i <= at {
					t.Errorf("got %q, want %q in this order", got, order)
				}
				at = i
			}
		}
	})
}

func TestPublicationsInBatchesAreCounted(t *testing.T) {
	s := newServer(t, juggler.WithAuthorizer(juggler.AuthorizerFunc(func(context.Context, *juggler.Request) error { return nil })))
	c := s.dial("juggler.1")
	const n = 200
	for i := range n {
		c.send(fmt.Sprintf(`{"type":"PUB","id":"%d","channel":"c"}`, i))
	}
	for range n {
		c.expect(`{"type":"ACK"}`)
	}
	if got := s.h.Stats().Publications; got != n {
		t.Errorf("%d publications are counted, want %d", got, n)
	}
}

// Time that the authorizer takes for later calls is time that earlier ones do
// not have any more: one whose time is over is not started.
func TestCallsOfABatchExpireMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := memory.New() // as it is: it takes batches
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		srv := jugglertest.New(t, juggler.WithBroker(b), juggler.WithPing(time.Hour), juggler.WithAuthorizer(juggler.AuthorizerFunc(func(_ context.Context, r *juggler.Request) error {
			if r.URI() == "late" || r.Channel() == "first" {
				time.Sleep(5 * time.Second)
			}
			return nil
		})))
		var started atomic.Int32
		callee, err := calleekit.New(b)
		if err != nil {
			t.Fatal(err)
		}
		callee.Handle("soon", func(context.Context, *calleeCall) (any, error) {
			started.Add(1)
			return nil, nil
		})
		callee.Handle("late", echo)
		if err := callee.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { callee.Close() })
		c := dialIn(t, srv, "juggler.1", nil)
		c.send(`{"type":"PUB","id":"0","channel":"first"}`)
		synctest.Wait() // it is being authorized; the calls wait together
		c.send(`{"type":"CALL","id":"1","uri":"soon","timeout":6000}`)
		c.send(`{"type":"CALL","id":"2","uri":"late"}`)
		c.expect(`{"type":"ACK","for":"0"}`)
		c.expect(`{"type":"NACK","for":"1","error":{"code":408}}`)
		c.expect(`{"type":"ACK","for":"2"}`)
		c.expect(`{"type":"RES","for":"2"}`)
		synctest.Wait()
		if n := started.Load(); n != 0 {
			t.Errorf("a call whose time is over was started")
		}
	})
}

// Calls that wait for a broker in batches count among what waits on the node, until they are
// settled and no longer.
func TestBatchedCallsAreCounted(t *testing.T) {
	s := newServerOn(t, waitingInBatches, juggler.WithLogger(quiet))
	s.handle("echo", echo)
	c := s.dial("juggler.1")
	for range 3 {
		for id := range 4 {
			c.send(fmt.Sprintf(`{"type":"CALL","id":"%d","uri":"echo"}`, id))
		}
		for range 4 * 2 {
			c.receive()
		}
	}
	// What was written before the last answers may be waiting yet.
	waitFor(t, "nothing to wait", func() bool { return s.h.Stats().QueuedBytes == 0 })
}
