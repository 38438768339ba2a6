package redis_test

import (
	"sync/atomic"
	"testing"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
)

// A rotation hands out credentials, as an identity provider does.
type rotation struct{ asked, left atomic.Int64 }

func (r *rotation) Subscribe(auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	r.asked.Add(1)
	return auth.NewBasicCredentials("default", "secret"), func() error {
		r.left.Add(1)
		return nil
	}, nil
}

// Each connection logs in with the credentials of the moment, and nothing
// stays with the provider.
func TestStreamingCredentials(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "secret")
	var r rotation
	option := redis.WithServer(&goredis.Options{Addr: server.Addr, StreamingCredentialsProvider: &r})
	a, b := newBroker(t, quick(option)...), newBroker(t, quick(option)...)
	l := startLoad(t, a, b, 2)
	l.flows()
	l.finish(false)
	l.caller.Close()
	l.callee.Close()
	a.Close()
	b.Close()
	// The callee's: to take, to write, to hear of cancellations. The node's:
	// to receive and to write.
	if asked := r.asked.Load(); asked < 5 {
		t.Errorf("five connections asked for credentials %d times", asked)
	}
	if asked, left := r.asked.Load(), r.left.Load(); left != asked {
		t.Errorf("of %d subscriptions to the provider %d were ended", asked, left)
	}
}
