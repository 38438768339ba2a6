package redis_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/redistest"
)

func TestStreams(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := newBroker(t, calm(withAddr(server.Addr))...), newBroker(t, calm(withAddr(server.Addr))...)
	s := startStreams(t, a, b, 100)
	s.start(20)
	s.finish()
	wantExpiry(t, server.Client(), "juggler")
	if stats := a.Stats(); stats.PartsReceived != 20*100 || b.Stats().Parts != 20*100 || stats.Corrupt+b.Stats().Corrupt > 0 {
		t.Errorf("the counts are %+v and %+v", stats, b.Stats())
	}
	s.caller.Close()
	for _, key := range keysOf(t, server.Client(), "juggler") {
		if strings.Contains(key, ":parts:") || strings.Contains(key, ":parts-token:") {
			t.Errorf("the node has left %s", key)
		}
	}
}

// Calls without a Window cost what they cost before, also on connections that could stream.
func TestNoStreamCostsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var links atomic.Int64
	watch := redis.WithLinkObserver(func(c redis.LinkChange) {
		if c.Role == "parts" {
			links.Add(1)
		}
	})
	a, b := newBroker(t, calm(withAddr(server.Addr), watch)...), newBroker(t, calm(withAddr(server.Addr), watch)...)
	s := startStreams(t, a, b, 0)
	to := broker.Address{Node: s.node, Ref: [16]byte{1}}
	s.mu.Lock()
	s.calls[to] = &streamed{}
	s.mu.Unlock()
	if err := s.caller.Call(t.Context(), &broker.Call{URI: streamURI, ReplyTo: to, Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	s.finish()
	err := s.callee.SendPart(t.Context(), &broker.Part{To: to, N: 1})
	if !errors.Is(err, broker.ErrCallOver) {
		t.Errorf("a part of the answer to a call that takes none: %v", err)
	}
	for _, key := range keysOf(t, server.Client(), "juggler") {
		if strings.Contains(key, "parts") {
			t.Errorf("there is %s", key)
		}
	}
	channels := server.Client().PubSubChannels(t.Context(), "*grants*").Val()
	if links.Load() > 0 || len(channels) > 0 {
		t.Errorf("%d connections, and the channels %q", links.Load(), channels)
	}
}

// Parts that were read and not delivered, replies that are lost, connections that are cut
// on either side: no part is missing.
func TestStreamsCut(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	near, far := redistest.StartProxy(t, server.Addr), redistest.StartProxy(t, server.Addr)
	a, b := newBroker(t, quick(withAddr(near.Addr))...), newBroker(t, quick(withAddr(far.Addr))...)
	s := startStreams(t, a, b, 600)
	s.start(10)
	for range 2 {
		s.flows()
		near.CutOnce()
		s.flows()
		far.CutOnce()
		s.flows()
		// A reply with parts does not come, though the server has sent it.
		var lost atomic.Bool
		near.Swallow(func(reply []byte) bool {
			return strings.Contains(string(reply), " of ") && !lost.Swap(true)
		})
		await(t, "a reply is lost", func() bool { return lost.Load() || s.left() == 0 })
	}
	s.finish()
	if s.twice.Load() == 0 {
		t.Error("no part came twice: nothing was lost")
	}
	if lost := a.Stats().Lost + b.Stats().Lost; lost > 0 {
		t.Errorf("%d calls were lost", lost)
	}
}

// A node that does not read its parts gets results all the same, and its callee hears that
// there is no room.
func TestPartsListFull(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	bound := redis.WithPartsBytes(100_000)
	a, b := newBroker(t, calm(withAddr(server.Addr), bound)...), newBroker(t, calm(withAddr(server.Addr), bound)...)
	s := startStreams(t, a, b, 30)
	s.size = 5000
	hold := make(chan struct{})
	s.mu.Lock()
	s.hold = hold
	s.mu.Unlock()
	s.start(10)
	await(t, "parts are refused", func() bool { return s.full.Load() > 10 })
	if bytes := server.Client().MemoryUsage(t.Context(), keyOfNode("parts", s.node)).Val(); bytes > 200_000 {
		t.Errorf("the list has %d bytes", bytes)
	}
	p := newParent(t, a)
	echoed, err := b.OpenCallee(t.Context(), []string{"child"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer echoed.Close()
	to := p.call("x")
	var dst [1]broker.Call
	if _, err := echoed.Take(t.Context(), dst[:]); err != nil {
		t.Fatal(err)
	}
	echoed.Reply(t.Context(), []broker.Result{{To: to}}) //nolint:errcheck // seen below
	p.result(to)
	s.mu.Lock()
	s.hold = nil
	s.mu.Unlock()
	close(hold)
	s.finish()
}

// Out of memory no part is stored, those that are there are read, and all go on later.
func TestStreamsOutOfMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := newBroker(t, quick(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	s := startStreams(t, a, b, 400)
	s.start(10)
	for range 2 {
		s.flows()
		config(t, server.Client(), "maxmemory", "1")
		before := s.unavailable.Load()
		await(t, "parts are refused", func() bool { return s.unavailable.Load() > before || s.left() == 0 })
		// Also to a reader that begins.
		server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		await(t, "the parts are read", func() bool {
			return server.Client().LLen(t.Context(), keyOfNode("parts", s.node)).Val() == 0
		})
		config(t, server.Client(), "maxmemory", "0")
	}
	s.finish()
}

// A node that lives, and that its callee takes for gone, is not told that its call was
// cancelled: nobody did that.
func TestNodeTakenForGone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := newBroker(t, calm(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	s := startStreams(t, a, b, 1_000_000)
	for name, over := range map[string]func(to broker.Address) bool{
		"the callee hears that the call is over": func(to broker.Address) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.over[to] == 1
		},
		"a part is refused": func(to broker.Address) bool {
			return errors.Is(s.callee.SendPart(t.Context(), &broker.Part{To: to, N: 1 << 20}), broker.ErrCallOver)
		},
	} {
		call := s.start(1)[0]
		s.flows()
		await(t, name, func() bool {
			server.Do("DEL", keyOfNode("node", s.node)) // again, whenever the node has renewed its lease
			return over(call)
		})
		cancelled := &broker.Error{Code: frame.CodeCancelled, Message: "the call was cancelled"}
		if err := s.callee.Reply(t.Context(), []broker.Result{{To: call, Err: cancelled}}); err != nil {
			t.Fatal(err)
		}
		await(t, "the node has the result", func() bool { return s.left() == 0 })
		s.mu.Lock()
		if got := s.calls[call].result.Err; got == nil || got.Code != broker.CodeCalleeLost {
			t.Errorf("%s: the call ended in %+v", name, got)
		}
		s.mu.Unlock()
	}
}

// The node is gone: its callee hears so, and can send no more.
func TestNodeOfStreamsGone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := newBroker(t, calm(withAddr(server.Addr))...), newBroker(t, quick(withAddr(server.Addr))...)
	s := startStreams(t, a, b, 1_000_000)
	child := startChild(t, "streams "+server.Addr)
	child.says("parts")
	child.kill()
	server.Do("DEL", keyOfNode("node", streamsChild)) // it would expire
	await(t, "the callee hears that the calls of a dead node are over", func() bool { return s.told() == 3 })

	calls := s.start(3)
	s.flows()
	s.caller.Close()
	await(t, "the callee hears that the calls of a node that has closed are over", func() bool { return s.told() == 6 })
	err := s.callee.SendPart(t.Context(), &broker.Part{To: calls[0], N: 1})
	if !errors.Is(err, broker.ErrCallOver) {
		t.Errorf("a part for a node that has closed: %v", err)
	}
}
