package redis

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	goredis "github.com/redis/go-redis/v9"
)

// silent is a dialer to a server that takes connections and never answers.
func silent(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { theirs.Close() })
		go func() {
			for buf := make([]byte, 1<<10); ; {
				if _, err := theirs.Read(buf); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}
}

// A writer that tries to reach a server that hangs has nothing to send: Close does not wait
// for it.
func TestCloseWhileReconnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, logins := pipeServer(t)
		var dials atomic.Int64
		dialer := func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1) == 1 {
				return first(ctx, network, addr)
			}
			return silent(t)(ctx, network, addr)
		}
		b, err := New(WithServer(&goredis.Options{Dialer: dialer}))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		lane := newLane(b, 0)
		lane.writer.Start()
		o := &op{command: resp.NewCommand("GET", "a"), waiter: newWaiter(1)}
		lane.writer.Submit(o)
		server := <-logins
		server.Close()
		<-o.waiter.done
		synctest.Wait()
		for before := dials.Load(); dials.Load() == before; {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait() // it logs in
		began := time.Now()
		lane.writer.Stop()
		if waited := time.Since(began); waited > 0 {
			t.Errorf("Stop waited for %v", waited)
		}
	})
}

// Nor for a heartbeat that looks for a way of its own to a server that hangs.
func TestCloseDuringHeartbeatAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(WithServer(&goredis.Options{Dialer: silent(t)}))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		lane := newLane(b, 0)
		beat := newHeartbeat(func(bool) ([]*resp.Command, func()) { return nil, func() {} })
		lane.addHeartbeat(beat)
		over := make(chan struct{})
		go func() {
			defer close(over)
			lane.announceAside(beat)
		}()
		synctest.Wait() // it logs in
		began := time.Now()
		lane.removeHeartbeat(beat)
		<-over
		if waited := time.Since(began); waited > 0 {
			t.Errorf("removal waited for %v", waited)
		}
	})
}
