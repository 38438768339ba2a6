package redis_test

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// Whoever calls Close, nothing is left when it returns.
func TestCloseTwice(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b, err := redis.New(quick(withAddr(server.Addr))...)
	if err != nil {
		t.Fatal(err)
	}
	held, release := make(chan struct{}), make(chan struct{})
	s, err := b.OpenSubscriber(t.Context(), func([]broker.Delivery) {
		held <- struct{}{}
		<-release
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Subscribe(t.Context(), broker.Topic{Name: "news"}); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), &broker.Event{Channel: "news"}); err != nil {
		t.Fatal(err)
	}
	<-held
	var released atomic.Bool
	var closing sync.WaitGroup
	for range 2 {
		closing.Go(func() {
			b.Close()
			if !released.Load() {
				t.Error("Close returned before a callback had")
			}
		})
	}
	await(t, "the broker closes", func() bool {
		return errors.Is(s.Unsubscribe(t.Context(), broker.Topic{Name: "other"}), broker.ErrClosed)
	})
	for range 100 { // for the other Close to return
		runtime.Gosched()
	}
	released.Store(true)
	close(release)
	closing.Wait()
}
