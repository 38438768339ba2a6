package load

import (
	"time"

	"github.com/juggler-go/juggler/bench/internal/control"
)

// runIdle opens s.Conns connections, subscribes each (to one channel, or to
// s.Channels), and asks what the server holds for them.
func runIdle(s Spec, p protocol) (Result, error) {
	server, err := control.Dial(s.Controls[0])
	if err != nil {
		return Result{}, err
	}
	defer server.Close()

	// A few connections come first: what the server makes once is not what a
	// connection costs.
	open := func(c *conn) error {
		if err := p.open(c); err != nil {
			return err
		}
		return p.subscribe(c, channelName(c.index%max(1, s.Channels)))
	}
	dial := dialAll
	if s.TLS {
		dial = dialTLS
	}
	first, err := dial(s.Addr, 16, open)
	if err != nil {
		return Result{}, err
	}
	defer closeAll(first)
	before, err := server.Collect()
	if err != nil {
		return Result{}, err
	}
	began := time.Now()
	conns, err := dial(s.Addr, s.Conns, open)
	if err != nil {
		return Result{}, err
	}
	defer closeAll(conns)
	elapsed := time.Since(began)
	after, err := server.Collect()
	if err != nil {
		return Result{}, err
	}
	if s.Profile != "" {
		if err := server.HeapProfile(s.Profile); err != nil {
			return Result{}, err
		}
	}
	redisConnections := 0
	if s.Redis != "" {
		info := newRedisInfo(s.Redis)
		defer info.close()
		if redisConnections, err = info.connections(); err != nil {
			return Result{}, err
		}
	}
	each := func(before, after uint64) float64 {
		return (float64(after) - float64(before)) / float64(s.Conns)
	}
	return Result{
		RedisConnections: redisConnections,

		Messages:   s.Conns,
		Elapsed:    elapsed,
		ServerCPU:  after.CPU - before.CPU,
		Mallocs:    after.Mallocs - before.Mallocs,
		BytesEach:  each(before.Heap+before.Stacks, after.Heap+after.Stacks),
		RSSEach:    each(uint64(before.RSS), uint64(after.RSS)),
		Goroutines: each(uint64(before.Goroutines), uint64(after.Goroutines)),
	}, nil
}
