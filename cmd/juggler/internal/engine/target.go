package engine

import (
	"context"
	"net"
	"slices"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/broker/redis"
)

// brokerOptions returns the options of a broker that say where its Redis is.
func (a *address) brokerOptions(masters, sentinels *entry) []redis.Option {
	switch a.kind {
	case cluster:
		return []redis.Option{redis.WithCluster(a.clusterOptions(masters))}
	case sentinel:
		return []redis.Option{
			redis.WithSentinel(a.failoverOptions(masters)),
			redis.WithSentinelOptions(&goredis.Options{
				Dialer: sentinels.dialer(), OnConnect: sentinels.name, CredentialsProviderContext: sentinels.login.current,
			}),
		}
	}
	return []redis.Option{redis.WithServer(a.serverOptions(masters))}
}

func (a *address) serverOptions(e *entry) *goredis.Options {
	network := "tcp"
	if a.kind == socket {
		network = "unix"
	}
	return &goredis.Options{
		Network: network, Addr: a.hosts[0], DB: a.db,
		Dialer: e.dialer(), OnConnect: e.name, CredentialsProviderContext: e.login.current, DisableIdentity: true,
	}
}

func (a *address) clusterOptions(e *entry) *goredis.ClusterOptions {
	return &goredis.ClusterOptions{
		Addrs:  a.hosts,
		Dialer: e.dialer(), OnConnect: e.name, CredentialsProviderContext: e.login.current, DisableIdentity: true,
	}
}

func (a *address) failoverOptions(e *entry) *goredis.FailoverOptions {
	return &goredis.FailoverOptions{
		MasterName: a.master, SentinelAddrs: a.hosts, DB: a.db,
		Dialer: e.dialer(), OnConnect: e.name, CredentialsProviderContext: e.login.current, DisableIdentity: true,
	}
}

// client returns a client of go-redis that tries everything once.
func (a *address) client(masters, sentinels *entry, connections int) goredis.UniversalClient {
	switch a.kind {
	case cluster:
		o := a.clusterOptions(masters)
		o.MaxRedirects, o.DialerRetries, o.PoolSize = 1, 1, connections
		return goredis.NewClusterClient(o)
	case sentinel:
		o := a.failoverOptions(masters)
		o.MaxRetries, o.DialerRetries, o.PoolSize = -1, 1, connections
		o.SentinelUsername, o.SentinelPassword, _ = sentinels.login.current(context.Background()) //nolint:errcheck // never fails
		o.Dialer = a.eitherDialer(masters, sentinels)
		return goredis.NewFailoverClient(o)
	}
	o := a.serverOptions(masters)
	o.MaxRetries, o.DialerRetries, o.PoolSize = -1, 1, connections
	return goredis.NewClient(o)
}

// eitherDialer returns a dialer for sentinels and masters: go-redis has one for
// both.
func (a *address) eitherDialer(masters, sentinels *entry) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		dial := masters.dialer()
		if slices.Contains(a.hosts, addr) {
			dial = sentinels.dialer()
		}
		if dial == nil {
			dial = (&net.Dialer{KeepAlive: keepAlive}).DialContext
		}
		return dial(ctx, network, addr)
	}
}
