package redis_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
)

// A Reply that waits for a server that is out of reach ends with the broker: it
// went on trying until the calls' time was over.
func TestReplyWhileClosing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	b := newBroker(t, quick(withAddr(proxy.Addr))...)
	callee, err := b.OpenCallee(t.Context(), []string{"u"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	node := broker.ID{'n'}
	caller, err := b.OpenCaller(t.Context(), node, func([]broker.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	c := broker.Call{URI: "u", ReplyTo: broker.Address{Node: node}, Timeout: time.Hour}
	if err := caller.Call(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	if _, err := callee.Take(t.Context(), make([]broker.Call, 1)); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	waits := &waitContext{Context: context.Background(), waits: make(chan struct{})}
	replied := make(chan error, 1)
	go func() { replied <- callee.Reply(waits, []broker.Result{{To: c.ReplyTo}}) }()
	<-waits.waits
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-replied:
		if !errors.Is(err, broker.ErrClosed) {
			t.Errorf("Reply: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Reply does not return")
	}
}

// A waitContext says when it is waited for.
type waitContext struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (c *waitContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waits) })
	return c.Context.Done()
}
