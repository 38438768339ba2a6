package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// A topology knows which server is the master of a lane.
type topology interface {
	// master returns options that lead to the master of slot. It may ask other
	// servers. The caller may change what it gets.
	master(ctx context.Context, slot int) (*goredis.Options, error)

	// stale says that a connection to a master was lost or redirected: what is
	// known may be wrong.
	stale()
}

// standalone is one server, whose address may be a name that others take over.
type standalone struct {
	options *goredis.Options
}

func (s *standalone) master(context.Context, int) (*goredis.Options, error) {
	copied := *s.options
	return &copied, nil
}

func (s *standalone) stale() {}

// sentinel asks the sentinels for each connection: go-redis' own client would
// keep two connections to them open for what is needed once in months.
type sentinel struct {
	options *goredis.FailoverOptions
}

func (s *sentinel) master(ctx context.Context, _ int) (*goredis.Options, error) {
	addrs := s.options.SentinelAddrs
	var failures []error
	for _, i := range rand.Perm(len(addrs)) {
		addr, err := s.ask(ctx, addrs[i], len(addrs)-len(failures))
		if err == nil {
			return failoverOptions(s.options, addr), nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

// ask asks the next of so many sentinels that are left. It has its share of the
// time: if it hangs, those behind it can still be asked.
func (s *sentinel) ask(ctx context.Context, addr string, left int) (string, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
	}
	client := goredis.NewSentinelClient(&goredis.Options{
		Addr:             addr,
		Username:         s.options.SentinelUsername,
		Password:         s.options.SentinelPassword,
		Dialer:           s.options.Dialer,
		TLSConfig:        s.options.TLSConfig,
		DialTimeout:      s.options.DialTimeout,
		ReadTimeout:      s.options.ReadTimeout,
		DialerRetries:    1,
		MaxRetries:       -1,
		PoolSize:         1,
		PipelinePoolSize: -1,
		DisableIdentity:  true,

		ContextTimeoutEnabled: true,
	})
	defer client.Close()
	master, err := client.GetMasterAddrByName(ctx, s.options.MasterName).Result()
	switch {
	case errors.Is(err, goredis.Nil):
		return "", fmt.Errorf("sentinel %s does not know the master %s", addr, s.options.MasterName)
	case err != nil:
		return "", fmt.Errorf("sentinel %s: %w", addr, err)
	case len(master) != 2:
		return "", fmt.Errorf("sentinel %s: unexpected reply %q", addr, master)
	}
	return net.JoinHostPort(master[0], master[1]), nil
}

func (s *sentinel) stale() {}

// cluster holds the map of slots. It is read when it is first needed and when
// stale was called since, at most once in reloadPause.
type cluster struct {
	options *goredis.ClusterOptions

	mu     sync.Mutex // held while the map is read, so that one reads for all
	ranges []slotRange
	read   time.Time // when ranges was read
	old    bool
}

type slotRange struct {
	first, last int
	addr        string
}

const reloadPause = 100 * time.Millisecond

func (c *cluster) master(ctx context.Context, slot int) (*goredis.Options, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ranges == nil || c.old && time.Since(c.read) > reloadPause {
		if err := c.reload(ctx); err != nil {
			return nil, err
		}
	}
	for _, r := range c.ranges {
		if r.first <= slot && slot <= r.last {
			return clusterNodeOptions(c.options, r.addr), nil
		}
	}
	c.old = true
	return nil, fmt.Errorf("no master of slot %d in the cluster", slot)
}

func (c *cluster) stale() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.old = true
}

// reload asks the known masters and the seeds, in random order, until one
// answers.
func (c *cluster) reload(ctx context.Context) error {
	if c.options.ClusterSlots != nil {
		slots, err := c.options.ClusterSlots(ctx)
		if err != nil {
			return fmt.Errorf("ClusterSlots: %w", err)
		}
		c.use(slots, "")
		return nil
	}
	candidates := map[string]bool{}
	for _, r := range c.ranges {
		candidates[r.addr] = true
	}
	for _, addr := range c.options.Addrs {
		candidates[addr] = true
	}
	var failures []error
	for addr := range candidates { // a map's order is random
		slots, err := c.ask(ctx, addr)
		if err == nil && len(slots) > 0 {
			c.use(slots, addr)
			return nil
		}
		if err == nil {
			err = errors.New("knows no slots")
		}
		failures = append(failures, fmt.Errorf("cluster node %s: %w", addr, err))
	}
	return errors.Join(failures...)
}

func (c *cluster) ask(ctx context.Context, addr string) ([]goredis.ClusterSlot, error) {
	l, err := newLink(background, clusterNodeOptions(c.options, addr), askTimeout)
	if err != nil {
		return nil, err
	}
	defer l.close()
	//lint:ignore SA1019 CLUSTER SHARDS is of Redis 7, and our floor is 6.2
	return l.client.ClusterSlots(ctx).Result()
}

const askTimeout = time.Second

// use replaces the map by slots, which the node at asked has sent. A node that
// does not know its own host name leaves it empty: it is the one just asked.
func (c *cluster) use(slots []goredis.ClusterSlot, asked string) {
	c.ranges = c.ranges[:0:0]
	for _, s := range slots {
		if len(s.Nodes) == 0 {
			continue
		}
		addr := s.Nodes[0].Addr // the master comes first
		if host, port, err := net.SplitHostPort(addr); err == nil && host == "" {
			if host, _, err = net.SplitHostPort(asked); err == nil {
				addr = net.JoinHostPort(host, port)
			}
		}
		c.ranges = append(c.ranges, slotRange{s.Start, s.End, addr})
	}
	c.read, c.old = time.Now(), false
}

// failoverOptions are the options that lead to a server found by the sentinels.
func failoverOptions(o *goredis.FailoverOptions, addr string) *goredis.Options {
	return &goredis.Options{
		Addr:                         addr,
		ClientName:                   o.ClientName,
		Dialer:                       o.Dialer,
		OnConnect:                    o.OnConnect,
		Protocol:                     o.Protocol,
		Username:                     o.Username,
		Password:                     o.Password,
		CredentialsProvider:          o.CredentialsProvider,
		CredentialsProviderContext:   o.CredentialsProviderContext,
		StreamingCredentialsProvider: o.StreamingCredentialsProvider,
		DB:                           o.DB,
		DialTimeout:                  o.DialTimeout,
		ReadBufferSize:               o.ReadBufferSize,
		WriteBufferSize:              o.WriteBufferSize,
		TLSConfig:                    o.TLSConfig,
	}
}

// clusterNodeOptions are the options that lead to one node of a cluster.
func clusterNodeOptions(o *goredis.ClusterOptions, addr string) *goredis.Options {
	return &goredis.Options{
		Addr:                         addr,
		ClientName:                   o.ClientName,
		Dialer:                       o.Dialer,
		OnConnect:                    o.OnConnect,
		Protocol:                     o.Protocol,
		Username:                     o.Username,
		Password:                     o.Password,
		CredentialsProvider:          o.CredentialsProvider,
		CredentialsProviderContext:   o.CredentialsProviderContext,
		StreamingCredentialsProvider: o.StreamingCredentialsProvider,
		DialTimeout:                  o.DialTimeout,
		ReadBufferSize:               o.ReadBufferSize,
		WriteBufferSize:              o.WriteBufferSize,
		TLSConfig:                    o.TLSConfig,
	}
}
