// Package engine opens the broker that flags name: the embedded one, or Redis.
package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/internal/option"
)

// Flags are the settings of the broker.
type Flags struct {
	set         *pflag.FlagSet
	RPC, PubSub []string // addresses; PubSub empty: the same as RPC

	masters, events, sentinels loginFlags
	ca, cert, key              string
	serverName, clientName     string
	sentinelTLS                settings.Choice
	sentinelCA                 string
	sentinelServerName         string

	options  settings.Options[redis.Option]
	embedded settings.Options[memory.Option]
	history  historyRules
}

// loginFlags name a user, in place of what the URL says.
type loginFlags struct{ user, passwordFile string }

// Bind adds the flags that callees have too.
func (f *Flags) Bind(flags *pflag.FlagSet) {
	f.set = flags
	flags.StringSliceVar(&f.RPC, "redis", nil, "`URL` of the Redis server or cluster; several addresses are those of a cluster")
	flags.StringVar(&f.masters.user, "redis-user", "", "`name` of the Redis user, in place of the one in the URL")
	flags.StringVar(&f.masters.passwordFile, "redis-password-file", "", "`file` with the password of Redis, in place of the one in the URL")
	flags.StringVar(&f.ca, "redis-ca", "", "`file` with the certificates (PEM) to trust for TLS, in place of the system's")
	flags.StringVar(&f.cert, "redis-cert", "", "`file` with the client certificate (PEM) for TLS")
	flags.StringVar(&f.key, "redis-key", "", "`file` with its key")
	flags.StringVar(&f.serverName, "redis-server-name", "", "`name` that the certificate of Redis is for, in place of the host")
	flags.StringVar(&f.clientName, "redis-client-name", "juggler", "`name` of connections in CLIENT LIST, where Redis lets us set it; empty: none")
	settings.MayBeEmpty(flags, "redis-client-name")
	flags.StringVar(&f.sentinels.user, "redis-sentinel-user", "", "`name` of the user at the sentinels")
	flags.StringVar(&f.sentinels.passwordFile, "redis-sentinel-password-file", "", "`file` with the password of the sentinels; that in the URL is for the masters")
	f.sentinelTLS = settings.Choice{Value: "same", Choices: []string{"same", "on", "off"}}
	flags.Var(&f.sentinelTLS, "redis-sentinel-tls", "TLS to the sentinels; same: as the URL says for the masters")
	flags.StringVar(&f.sentinelCA, "redis-sentinel-ca", "", "`file` with the certificates (PEM) to trust for TLS to the sentinels, in place of --redis-ca")
	flags.StringVar(&f.sentinelServerName, "redis-sentinel-server-name", "", "`name` that the certificate of the sentinels is for, in place of the host")
	f.options.Prefix = "redis-"
	prefix := flags.String("redis-prefix", option.RedisPrefix, "what keys and channels begin with; the same in all processes of a system")
	f.options.WhenSet(flags.Lookup("redis-prefix"), func() redis.Option { return redis.WithPrefix(*prefix) })
	f.options.IntOrAuto(flags, option.RedisLanes, redis.WithLanes,
		fmt.Sprintf("lanes that calls are spread on, the same in all processes; 0: %d, in a cluster %d", option.RedisLanes.Default, option.RedisClusterLanes))
	f.options.Duration(flags, option.RedisCalleeGrace, redis.WithCalleeGrace, "how long calls are still queued after the last callee has gone")
	f.options.Duration(flags, option.RedisCalleeLease, redis.WithCalleeLease, "silence after which a callee counts as dead")
	f.options.Duration(flags, option.RedisReplyTimeout, redis.WithReplyTimeout, "how long without a reply before a connection is given up")
	f.options.Int(flags, option.RedisMaxBatch, redis.WithMaxBatch, "calls or results that one script gets at most")
}

// BindServer adds the flags that only servers have.
func (f *Flags) BindServer(flags *pflag.FlagSet) {
	f.BindEvents(flags)
	f.options.Int(flags, option.RedisQueueCapacity, redis.WithQueueCapacity, "calls to one URI that are queued at most")
	unserved := flags.Bool("redis-queue-unserved", false, "queue calls to URIs that no callee serves, in place of refusing them with 404")
	f.options.When(func() bool { return *unserved }, func() redis.Option { return redis.WithCalleeDiscovery(false) })
	f.bindHistory(flags)
	f.embedded.Bytes64(flags, option.MemoryKeyedBytes, memory.WithMaxKeyedBytes, "memory for what is kept of all calls with keys, without --redis")
}

// BindEvents adds the flags of who publishes and subscribes.
func (f *Flags) BindEvents(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.PubSub, "redis-pubsub", nil, "`URL` of another Redis for events; --redis then carries calls only")
	flags.StringVar(&f.events.user, "redis-pubsub-user", "", "`name` of the user at --redis-pubsub, in place of --redis-user")
	flags.StringVar(&f.events.passwordFile, "redis-pubsub-password-file", "", "`file` with the password of --redis-pubsub, in place of --redis-password-file")
	sharded := flags.Bool("redis-sharded-pubsub", false, "use the sharded channels of Redis 7, without patterns; the same in all processes")
	f.options.When(func() bool { return *sharded }, redis.WithShardedPubSub)
}

// entries returns how the servers of an address are entered, and its sentinels if it
// has any. events says that they are those of --redis-pubsub.
func (f *Flags) entries(a *address, events bool) (masters, sentinels *entry, err error) {
	l := &login{user: a.user, fixed: a.password, flag: "--redis-password-file", file: f.masters.passwordFile}
	if f.masters.user != "" {
		l.user = f.masters.user
	}
	if events && f.events.user != "" {
		l.user = f.events.user
	}
	if events && f.events.passwordFile != "" {
		l.flag, l.file = "--redis-pubsub-password-file", f.events.passwordFile
	}
	masters = &entry{login: l, encryption: f.encryption(a.tls, "--redis-ca", f.ca, f.serverName), clientName: f.clientName}
	err = masters.reload()
	if a.kind == sentinel {
		caFlag, ca := "--redis-ca", f.ca
		if f.sentinelCA != "" {
			caFlag, ca = "--redis-sentinel-ca", f.sentinelCA
		}
		sentinels = &entry{
			login:      &login{user: f.sentinels.user, flag: "--redis-sentinel-password-file", file: f.sentinels.passwordFile},
			encryption: f.encryption(f.sentinelsTLS(a), caFlag, ca, f.sentinelServerName),
			clientName: f.clientName,
		}
		err = errors.Join(err, sentinels.reload())
	}
	return masters, sentinels, err
}

// encryption returns TLS with the files that the flags name; nil if on is false.
func (f *Flags) encryption(on bool, caFlag, ca, serverName string) *encryption {
	if !on {
		return nil
	}
	return &encryption{caFlag: caFlag, ca: ca, cert: f.cert, key: f.key, serverName: serverName}
}

// sentinelsTLS reports whether the sentinels of an address take TLS.
func (f *Flags) sentinelsTLS(a *address) bool {
	return a.kind == sentinel && (f.sentinelTLS.Value == "on" || f.sentinelTLS.Value == "same" && a.tls)
}

// checkEmbedded reports flags that say something of a Redis where there is none.
func (f *Flags) checkEmbedded() error {
	var names []string
	f.set.VisitAll(func(flag *pflag.Flag) {
		if strings.HasPrefix(flag.Name, "redis-") {
			names = append(names, flag.Name)
		}
	})
	if err := settings.Needs(f.set, false, "--redis", append(names, "start-timeout")...); err != nil {
		return err
	}
	return settings.Needs(f.set, len(f.history.rules) > 0, "--history", embeddedHistory)
}

// check reports flags that are for none of the addresses.
func (f *Flags) check(addresses ...*address) error {
	if err := settings.Needs(f.set, len(f.PubSub) > 0, "--redis-pubsub", "redis-pubsub-user", "redis-pubsub-password-file"); err != nil {
		return err
	}
	for _, name := range []string{embeddedHistory, settings.FlagName(option.MemoryKeyedBytes.Option)} {
		if f.set.Changed(name) {
			return fmt.Errorf("--%s is for the embedded broker: with --redis what it bounds is in Redis", name)
		}
	}
	var masterTLS, sentinelTLS, sentinels bool
	for _, a := range addresses {
		masterTLS = masterTLS || a.tls
		sentinelTLS = sentinelTLS || f.sentinelsTLS(a)
		sentinels = sentinels || a.kind == sentinel
	}
	switch {
	case f.ca+f.cert+f.key != "" && !masterTLS && !sentinelTLS:
		return errors.New("--redis-ca, --redis-cert and --redis-key go with rediss:// only")
	case f.serverName != "" && !masterTLS:
		return errors.New("--redis-server-name goes with rediss:// only")
	case f.sentinelServerName+f.sentinelCA != "" && !sentinelTLS:
		return errors.New("--redis-sentinel-server-name and --redis-sentinel-ca go with sentinels that take TLS only")
	case !sentinels && (f.sentinels != loginFlags{} || f.sentinelTLS.Value != "same"):
		return errors.New("--redis-sentinel-user, --redis-sentinel-password-file and --redis-sentinel-tls go with redis-sentinel:// only")
	}
	return nil
}

// brokerOptions returns the options of a broker on an address.
func (f *Flags) brokerOptions(a *address, masters, sentinels *entry, log *slog.Logger) []redis.Option {
	return append(append(a.brokerOptions(masters, sentinels), f.options.List()...), redis.WithLogger(log))
}
