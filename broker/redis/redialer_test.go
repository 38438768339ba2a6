package redis

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/waiting"
	goredis "github.com/redis/go-redis/v9"
)

// A goroutine that makes a connection to a server that hangs is stopped at once. Close
// waited for the timeout of each connection.
func TestStopWhileConnecting(t *testing.T) {
	for name, dial := range map[string]func(context.Context) (net.Conn, error){
		"dial": func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"login": func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			t.Cleanup(func() { theirs.Close() })
			return ours, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dialed := make(chan struct{}, 1)
			b, err := New(WithReplyTimeout(time.Minute), WithServer(&goredis.Options{
				Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
					dialed <- struct{}{}
					return dial(ctx)
				},
			}))
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				f := newFeed(b.hub, classicFeed)
				f.start()
				<-dialed
				f.stop()
				waits := newLane(b, 0).newRedialer("take")
				go func() {
					<-dialed
					waits.Cut()
				}()
				if waits.Link() != nil {
					t.Error("a connection was made")
				}
				waits.Close()
			}()
			select {
			case <-stopped:
			case <-time.After(waiting.Most):
				t.Fatal("waited in vain")
			}
		})
	}
}
