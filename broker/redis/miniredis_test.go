//go:build long && !race

// With the race detector miniredis takes nine times as long, most of it in its Lua.

package redis_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/juggler-go/juggler/broker/brokertest"
	"github.com/juggler-go/juggler/broker/redis"
)

func TestMiniredis(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Engine {
		server := miniredis.RunT(t)
		passTime(t, server)
		// A PING on a subscribed connection can deadlock miniredis with a
		// PUBLISH: with so long a timeout none is sent within a case.
		e := proxied(t, nil, withAddr, server.Addr(), redis.WithReplyTimeout(time.Minute))
		e.WholeOnly = true // as TestStandalone has both
		e.Except = exceptAll("miniredis sends an event once, however many patterns of a connection it matches",
			"patterns", "patterns that go back", "one delivery a topic")
		for name, why := range exceptAll("miniredis panics where a pattern makes no regular expression", "odd patterns", "own channels and patterns") {
			e.Except[name] = why
		}
		for name, why := range exceptAll("miniredis serves blocking pops of connections that are closed",
			"callees after an outage", "outage of keyed calls") {
			e.Except[name] = why
		}
		return e
	})
}

// passTime has the time of a miniredis go by, which it does not by itself: first what scripts
// are told, then what keys live for, so that no key is gone before its time.
func passTime(t *testing.T, server *miniredis.Miniredis) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	last := time.Now()
	server.SetTime(last)
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				now := time.Now()
				server.SetTime(now)
				server.FastForward(now.Sub(last))
				last = now
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
}
