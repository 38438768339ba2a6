package juggler_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
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
		c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		for range 2 { // ACK and RES
			if _, _, err := c.frame(); err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
		}
	}
}
