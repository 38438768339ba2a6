package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// notes is a hook that writes down what it is told, and sets the header k.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) hook(_ context.Context, r client.RequestInfo) (map[string]string, func(client.RequestEnd)) {
	n.add("%v %s %v", r.Type, r.Name, r.Stream)
	return map[string]string{"k": "hooked"}, func(e client.RequestEnd) {
		n.add("%s: %v, %d parts", r.Name, e.Err, e.Parts)
	}
}

// want checks what was noted since it was called last.
func (n *notes) want(t *testing.T, lines ...string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.lines, lines) {
		t.Errorf("the hook was told\n%q, want\n%q", n.lines, lines)
	}
	n.lines = nil
}

func TestRequestHook(t *testing.T) {
	cl := newCluster(t)
	cl.start()
	cl.streaming()
	var n notes
	c := cl.client(client.WithRequestHook(n.hook), client.WithRequestHook(func(context.Context, client.RequestInfo) (map[string]string, func(client.RequestEnd)) {
		return nil, func(client.RequestEnd) { n.add("the other first") }
	}))
	ctx := t.Context()

	var got string
	own := client.WithHeaders(map[string]string{"K": "other case", "k": "own"})
	if err := c.Call(ctx, "test.header", nil, &got, own); err != nil || got != "hooked" {
		t.Errorf("the callee got the header %q (%v)", got, err)
	}
	n.want(t, "CALL test.header false", "the other first", "test.header: <nil>, 0 parts")

	p, err := c.Start(ctx, "test.fail", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Result(ctx, nil); !errors.Is(err, client.Code(422)) {
		t.Errorf("failed with %v", err)
	}
	n.want(t, "CALL test.fail false", "the other first", "test.fail: not a number (422), 0 parts")

	s, err := c.Stream(ctx, "test.count", 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Result(ctx, nil); err != nil {
		t.Error(err)
	}
	n.want(t, "CALL test.count true", "the other first", "test.count: <nil>, 3 parts")

	sub, err := c.Subscribe(ctx, "news")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(ctx, "news", 1); err != nil {
		t.Error(err)
	}
	n.want(t, "PUB news false", "the other first", "news: <nil>, 0 parts")
	if e, err := sub.Next(ctx); err != nil || e.Headers["k"] != "hooked" {
		t.Errorf("the subscriber got %v, %v", e.Headers, err)
	}

	// What never gets to a connection ends, too.
	bad := json.RawMessage("{")
	_ = c.Call(ctx, "a", bad, nil)
	_, _ = c.Start(ctx, "b", bad)
	_, _ = c.Stream(ctx, "c", bad)
	_ = c.Publish(ctx, "d", bad)
	wrong := ": args of 1 bytes are not valid JSON in UTF-8, 0 parts"
	n.want(t, "CALL a false", "the other first", "a"+wrong, "CALL b false", "the other first", "b"+wrong,
		"CALL c true", "the other first", "c"+wrong, "PUB d false", "the other first", "d"+wrong)
}

// A session of juggler.0 has no headers: what a hook adds is left out, what the application
// gives is refused as without a hook.
func TestRequestHookJuggler0(t *testing.T) {
	cl := newCluster(t)
	cl.start()
	var n notes
	c := cl.client(client.WithRequestHook(n.hook), client.WithProtocols(frame.Juggler0))
	var got string
	if err := c.Call(t.Context(), "test.header", nil, &got); err != nil || got != "" {
		t.Errorf("the callee got the header %q (%v)", got, err)
	}
	err := c.Call(t.Context(), "test.header", nil, &got, client.WithHeaders(map[string]string{"a": "b"}))
	if !errors.Is(err, client.ErrUnsupported) {
		t.Errorf("headers of the application: %v", err)
	}
}
