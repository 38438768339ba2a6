// Package engine opens the broker that flags name: the embedded one, or Redis.
package engine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

// Flags are the settings of the broker.
type Flags struct {
	RPC, PubSub []string // addresses; PubSub empty: the same as RPC

	user, passwordFile string
	ca, cert, key      string
	prefix             string
	lanes, capacity    int
	maxBatch           int
	anyURI             bool
	grace, lease       time.Duration
	replyTimeout       time.Duration
	sharded            bool
}

// Bind adds the flags that callees have too.
func (f *Flags) Bind(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.RPC, "redis", nil, "`URL` of the Redis server or cluster; several addresses are those of a cluster")
	flags.StringVar(&f.user, "redis-user", "", "`name` of the Redis user, in place of the one in the URL")
	flags.StringVar(&f.passwordFile, "redis-password-file", "", "`file` with the password of Redis, in place of the one in the URL")
	flags.StringVar(&f.ca, "redis-ca", "", "`file` with the certificates (PEM) to trust for rediss://, in place of the system's")
	flags.StringVar(&f.cert, "redis-cert", "", "`file` with the client certificate (PEM) for rediss://")
	flags.StringVar(&f.key, "redis-key", "", "`file` with its key")
	flags.StringVar(&f.prefix, "redis-prefix", "juggler", "what keys and channels begin with; the same in all processes of a system")
	settings.IntVar(flags, &f.lanes, "redis-lanes", 0, 0, 256, "lanes that calls are spread on, the same in all processes; 0: 1, in a cluster 16")
	settings.DurationVar(flags, &f.grace, "redis-callee-grace", 5*time.Second, 0, time.Hour, "how long calls are still queued after the last callee has gone")
	settings.DurationVar(flags, &f.lease, "redis-callee-lease", 5*time.Second, 400*time.Millisecond, time.Minute, "silence after which a callee counts as dead")
	settings.DurationVar(flags, &f.replyTimeout, "redis-reply-timeout", 2*time.Second, 100*time.Millisecond, time.Minute, "how long without a reply before a connection is given up")
	settings.IntVar(flags, &f.maxBatch, "redis-max-batch", 512, 1, 2000, "calls or results that one script gets at most")
}

// BindServer adds the flags that only servers have.
func (f *Flags) BindServer(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.PubSub, "redis-pubsub", nil, "`URL` of another Redis for events; --redis then carries calls only")
	flags.BoolVar(&f.sharded, "redis-sharded-pubsub", false, "use the sharded channels of Redis 7, without patterns; the same in all processes")
	settings.IntVar(flags, &f.capacity, "redis-queue-capacity", 10_000, 1, 10_000_000, "calls to one URI that are queued at most")
	flags.BoolVar(&f.anyURI, "redis-queue-unserved", false, "queue calls to URIs that no callee serves, in place of refusing them with 404")
}

// target is what go-redis takes, for the kind of address.
type target struct {
	server   *goredis.Options
	cluster  *goredis.ClusterOptions
	sentinel *goredis.FailoverOptions
}

// options returns the options for an address.
func (f *Flags) options(a *address) (target, error) {
	if err := f.credentials(a); err != nil {
		return target{}, err
	}
	var encryption *tls.Config
	if a.tls {
		var err error
		if encryption, err = f.tls(); err != nil {
			return target{}, err
		}
	} else if f.ca+f.cert+f.key != "" {
		return target{}, errors.New("--redis-ca, --redis-cert and --redis-key go with rediss:// only")
	}
	const name = "juggler"
	switch a.kind {
	case cluster:
		return target{cluster: &goredis.ClusterOptions{
			Addrs: a.hosts, Username: a.user, Password: a.password, TLSConfig: encryption, ClientName: name, DisableIdentity: true,
		}}, nil
	case sentinel:
		return target{sentinel: &goredis.FailoverOptions{
			MasterName: a.master, SentinelAddrs: a.hosts, DB: a.db,
			Username: a.user, Password: a.password, TLSConfig: encryption, ClientName: name, DisableIdentity: true,
		}}, nil
	}
	network := "tcp"
	if a.kind == socket {
		network = "unix"
	}
	return target{server: &goredis.Options{
		Network: network, Addr: a.hosts[0], DB: a.db,
		Username: a.user, Password: a.password, TLSConfig: encryption, ClientName: name, DisableIdentity: true,
	}}, nil
}

// credentials puts what flags say in the place of what the URL says.
func (f *Flags) credentials(a *address) error {
	if f.user != "" {
		a.user = f.user
	}
	if f.passwordFile == "" {
		return nil
	}
	text, err := os.ReadFile(f.passwordFile)
	if err != nil {
		return fmt.Errorf("--redis-password-file: %w", err)
	}
	a.password = strings.TrimRight(string(text), "\r\n")
	return nil
}

func (f *Flags) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		text, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("--redis-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--redis-ca: %s has no certificate in PEM", f.ca)
		}
	}
	if f.cert != "" || f.key != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("--redis-cert and --redis-key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// brokerOptions returns the options of a broker on an address.
func (f *Flags) brokerOptions(a *address, log *slog.Logger) ([]redis.Option, error) {
	s, err := f.options(a)
	if err != nil {
		return nil, err
	}
	options := []redis.Option{
		redis.WithPrefix(f.prefix),
		redis.WithCalleeGrace(f.grace),
		redis.WithCalleeLease(f.lease),
		redis.WithReplyTimeout(f.replyTimeout),
		redis.WithMaxBatch(f.maxBatch),
		redis.WithCalleeDiscovery(!f.anyURI),
		redis.WithLogger(log),
	}
	switch a.kind {
	case cluster:
		options = append(options, redis.WithCluster(s.cluster))
	case sentinel:
		options = append(options, redis.WithSentinel(s.sentinel))
	default:
		options = append(options, redis.WithServer(s.server))
	}
	if f.lanes != 0 {
		options = append(options, redis.WithLanes(f.lanes))
	}
	if f.capacity != 0 { // callees have no such flag
		options = append(options, redis.WithQueueCapacity(f.capacity))
	}
	if f.sharded {
		options = append(options, redis.WithShardedPubSub())
	}
	return options, nil
}
