package juggler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/internal/waiting"
)

// Functions that have been quick run on the event loop of the connection. The
// tests of this file are about those that are not, all of a sudden.

// becomeQuick calls uri until its function counts as quick.
func (c *testClient) becomeQuick(uri string) {
	c.t.Helper()
	for i := range 100 {
		c.send(fmt.Sprintf(`{"type":"CALL","id":"q%d","uri":%q}`, i, uri))
		c.expect(fmt.Sprintf(`{"type":"ACK","for":"q%d"}`, i))
		c.expect(fmt.Sprintf(`{"type":"RES","for":"q%d","args":null}`, i))
	}
}

// expectAll takes as many messages as there are in want, in any order.
func (c *testClient) expectAll(want ...string) {
	c.t.Helper()
	for range len(want) {
		got := c.receive()
		i := slices.IndexFunc(want, func(w string) bool { return contains(decode(c.t, got), decode(c.t, []byte(w))) })
		if i < 0 {
			c.t.Fatalf("got %s, want one of %q", got, want)
		}
		want = slices.Delete(slices.Clone(want), i, i+1)
	}
}

func TestLoopsLendWhereNothingElseBlocks(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("event loops need Linux")
	}
	allow := func(context.Context, *juggler.Request) error { return nil }
	tests := []struct {
		name string
		opts []juggler.Option
		want bool
	}{
		{"no hooks", nil, true},
		{"hooks that do not block", []juggler.Option{juggler.WithAuthorizer(juggler.NonBlocking(allow))}, true},
		{"hooks that may block", []juggler.Option{juggler.WithAuthorizer(juggler.AuthorizerFunc(allow))}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, tt.opts...)
			s.dial("juggler.1")
			if got := juggler.Lends(s.h); got != tt.want {
				t.Errorf("its loops lend their goroutines: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAFunctionThatBlocksHoldsUpNobody(t *testing.T) {
	s := newServer(t, juggler.WithEventLoops(1))
	s.handle("echo", echo)
	release := make(chan struct{})
	var block atomic.Bool
	s.handle("f", func(context.Context, *calleeCall) (any, error) {
		if block.Load() {
			<-release
		}
		return nil, nil
	})
	c, d := s.dial("juggler.1"), s.dial("juggler.1")
	c.becomeQuick("f")
	block.Store(true)
	c.send(`{"type":"CALL","id":"1","uri":"f"}`)
	c.send(`{"type":"CALL","id":"2","uri":"f"}`)
	c.expect(`{"type":"ACK","for":"1"}`)
	c.expect(`{"type":"ACK","for":"2"}`)
	for range 10 {
		d.send(`{"type":"CALL","id":"3","uri":"echo","args":3}`)
		d.expect(`{"type":"ACK","for":"3"}`)
		d.expect(`{"type":"RES","for":"3","args":3}`)
	}
	c.send(`{"type":"PUB","id":"4","channel":"x","args":null}`)
	c.expect(`{"type":"ACK","for":"4"}`)
	close(release)
	c.expectAll(`{"type":"RES","for":"1","args":null}`, `{"type":"RES","for":"2","args":null}`)
}

func TestStatsTellOfLoopsHeldUp(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("event loops need Linux")
	}
	s := newServer(t, juggler.WithEventLoops(1))
	gate := make(chan struct{})
	var block atomic.Bool
	s.handle("f", func(context.Context, *calleeCall) (any, error) {
		if block.Swap(false) {
			<-gate
		}
		return nil, nil
	})
	c := s.dial("juggler.1")
	waitFor(t, "the loop to be held up", func() bool { // by a function that counts as quick, which needs luck on a slow machine
		c.becomeQuick("f")
		block.Store(true)
		c.send(`{"type":"CALL","id":"1","uri":"f"}`)
		c.expect(`{"type":"ACK","for":"1"}`)
		gate <- struct{}{}
		c.expect(`{"type":"RES","for":"1","args":null}`)
		return s.h.Stats().HeldUp > 0
	})
}

func TestAFunctionMayUseItsOwnServer(t *testing.T) {
	s := newServer(t, juggler.WithEventLoops(1))
	s.handle("echo", echo)
	var publish, ask atomic.Bool
	s.handle("f", func(ctx context.Context, _ *calleeCall) (any, error) {
		if publish.Load() {
			return nil, s.h.Publish(ctx, "x", 1, nil)
		}
		if ask.Load() { // waits for the loop that it holds up
			d := s.dial("juggler.1")
			d.send(`{"type":"CALL","id":"1","uri":"echo","args":1}`)
			d.expect(`{"type":"ACK","for":"1"}`)
			d.expect(`{"type":"RES","for":"1","args":1}`)
		}
		return nil, nil
	})
	c := s.dial("juggler.1")
	c.send(`{"type":"SUB","id":"s","channel":"x"}`)
	c.expect(`{"type":"ACK","for":"s"}`)
	c.becomeQuick("f")
	publish.Store(true)
	c.send(`{"type":"CALL","id":"1","uri":"f"}`)
	c.expectAll(`{"type":"ACK","for":"1"}`, `{"type":"RES","for":"1","args":null}`, `{"type":"EVNT","channel":"x","args":1}`)
	publish.Store(false)
	c.becomeQuick("f")
	ask.Store(true)
	c.send(`{"type":"CALL","id":"2","uri":"f"}`)
	c.expect(`{"type":"ACK","for":"2"}`)
	c.expect(`{"type":"RES","for":"2","args":null}`)
}

func TestCallsOnLoopsEndOnce(t *testing.T) {
	s := newServer(t, juggler.WithEventLoops(2), juggler.WithLogger(quiet))
	s.handle("f", func(ctx context.Context, c *calleeCall) (any, error) {
		switch rand.N(400) {
		case 0:
			time.Sleep(rand.N(5 * time.Millisecond)) // blocks the loop, which goes on elsewhere
		case 1:
			runtime.Goexit()
		case 2:
			return nil, errors.New("no")
		case 3:
			runtime.Gosched()
		}
		return c.Args, nil
	})
	const clients, each, inFlight = 6, 3000, 20
	var wait sync.WaitGroup
	for range clients {
		c := s.dial("juggler.1")
		wait.Go(func() { callMany(t, c, each, inFlight) })
	}
	wait.Wait()
}

// callMany makes calls and checks that each is acknowledged, then answered, once.
func callMany(t *testing.T, c *testClient, calls, inFlight int) {
	ctx, cancel := context.WithTimeout(t.Context(), waiting.Most)
	defer cancel()
	state := make(map[string]int)
	next := 0
	ask := func() {
		id := fmt.Sprint(next)
		next++
		state[id] = 0
		if err := c.conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"CALL","id":%q,"uri":"f","args":%s}`, id, id)); err != nil {
			t.Error(err)
		}
	}
	for range inFlight {
		ask()
	}
	for done := 0; done < calls; {
		_, text, err := c.conn.Read(ctx)
		if err != nil {
			t.Errorf("after %d calls: %v", done, err)
			return
		}
		var m struct {
			Type, For string
			Args      json.RawMessage
			Error     *struct{ Code int }
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		switch was, known := state[m.For]; {
		case !known || was == 2:
			t.Errorf("%s for a call that is over, or was not made", text)
			return
		case m.Type == "ACK" && was == 0:
			state[m.For] = 1
		case m.Type == "RES" && was == 1:
			if m.Error == nil && strings.TrimSpace(string(m.Args)) != m.For {
				t.Errorf("call %s got %s", m.For, text)
			}
			state[m.For] = 2
			done++
			if next < calls {
				ask()
			}
		default:
			t.Errorf("%s in state %d", text, was)
			return
		}
	}
}
