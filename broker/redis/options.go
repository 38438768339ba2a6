package redis

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/internal/kept"
	"github.com/juggler-go/juggler/internal/option"
	goredis "github.com/redis/go-redis/v9"
)

// ErrInvalidOption is wrapped by each of the errors that [New] returns. It is
// juggler.ErrInvalidOption.
var ErrInvalidOption = option.ErrInvalid

// An Option changes a setting of [New].
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	servers  int // how many of the options that name a server were given
	topology conn.Topology
	cluster  bool
	database int
	apart    *goredis.Options // of the sentinels; nil: as WithSentinel says
	problems option.Problems  // found while an option was applied

	prefix        string
	lanes         int
	lanesGiven    bool // if not, a cluster has more
	queueCapacity int
	discovery     bool
	grace         time.Duration
	lease         time.Duration
	sharded       bool
	maxBatch      int
	partsBytes    int64 // partsBytes, but for tests
	backoffMin    time.Duration
	backoffMax    time.Duration
	replyTimeout  time.Duration
	logger        *slog.Logger
	onLink        func(LinkChange)
	history       []broker.HistoryRule // nil: not given

	rules kept.Rules // of history
}

// clusterLanes is how many lanes a cluster has by default. A single server gains
// nothing from more than one.
const clusterLanes = option.RedisClusterLanes

func defaultConfig() config {
	c := config{
		problems:   option.Problems{Package: "redis"},
		prefix:     option.RedisPrefix,
		discovery:  true,
		backoffMin: option.RedisBackoff.Default,
		backoffMax: option.RedisLongestBackoff,
		partsBytes: partsBytes,
		logger:     slog.Default(),
		onLink:     func(LinkChange) {},
	}
	option.Reset(c.settings())
	return c
}

// settings says where the values of the options are kept that have a range.
func (c *config) settings() []option.Setting {
	return []option.Setting{
		option.RedisLanes.In(&c.lanes),
		option.RedisQueueCapacity.In(&c.queueCapacity),
		option.RedisMaxBatch.In(&c.maxBatch),
		option.RedisCalleeGrace.In(&c.grace),
		option.RedisCalleeLease.In(&c.lease),
		option.RedisReplyTimeout.In(&c.replyTimeout),
	}
}

// WithServer uses one server. Exactly one of WithServer, [WithSentinel],
// [WithCluster] and [WithClient] is needed.
//
// Of the options, the broker uses what says how to reach and to enter the
// server: addresses, dialer, TLS, user and password, database, client name,
// buffer sizes, OnConnect. Timeouts, retries and pools are its own.
func WithServer(o *goredis.Options) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithServer", o, "options") {
			copied := *o
			c.use(&conn.Standalone{Options: &copied}, copied.DB)
		}
	})
}

// WithSentinel uses the master that Redis Sentinel names. Dialer and TLSConfig are
// for the sentinels as well, unless [WithSentinelOptions] says otherwise.
func WithSentinel(o *goredis.FailoverOptions) Option {
	return optionFunc(func(c *config) {
		if o == nil || o.MasterName == "" || len(o.SentinelAddrs) == 0 {
			c.problems.Add("WithSentinel: want MasterName and SentinelAddrs")
			return
		}
		copied := *o
		c.use(&conn.Sentinel{Options: &copied}, copied.DB)
	})
}

// WithSentinelOptions sets how the sentinels are reached and entered where that
// differs from the masters; it goes with [WithSentinel], whose options then are for
// the masters. The broker uses what says so: dialer, TLS, user and password and what
// provides them, client name, OnConnect, and the timeouts to dial and to read. In the
// zero Options there is neither TLS nor a password.
func WithSentinelOptions(o *goredis.Options) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithSentinelOptions", o, "options") {
			copied := *o
			c.apart = &copied
		}
	})
}

// WithCluster uses a Redis Cluster.
func WithCluster(o *goredis.ClusterOptions) Option {
	return optionFunc(func(c *config) {
		if o == nil || len(o.Addrs) == 0 && o.ClusterSlots == nil {
			c.problems.Add("WithCluster: want Addrs or ClusterSlots")
			return
		}
		copied := *o
		c.use(&conn.Cluster{Options: &copied}, 0)
	})
}

// WithClient uses the server or cluster of a client that exists already, and
// copies its options: the broker never sends a command through the client
// itself, whose retries would run calls twice. A client of goredis.NewFailoverClient
// must stay open as long as the broker; better give its options to
// [WithSentinel]. Other kinds of clients (Ring) are refused.
func WithClient(client goredis.UniversalClient) Option {
	return optionFunc(func(c *config) {
		const want = "a *redis.Client or a *redis.ClusterClient"
		if !c.problems.NotNil("WithClient", client, want) {
			return
		}
		switch client := client.(type) {
		case *goredis.Client:
			copied := *client.Options()
			c.use(&conn.Standalone{Options: &copied}, copied.DB)
		case *goredis.ClusterClient:
			copied := *client.Options()
			c.use(&conn.Cluster{Options: &copied}, 0)
		default:
			c.problems.Refuse("WithClient", fmt.Sprintf("%T", client), want)
		}
	})
}

// WithPrefix sets what all keys and channels begin with, before a colon: up to
// 64 letters, digits and any of . _ / - . Systems with different prefixes share a
// server without knowing of each other. Default: "juggler".
func WithPrefix(prefix string) Option {
	return optionFunc(func(c *config) { c.prefix = prefix })
}

// WithLanes sets on how many lanes URIs and nodes are spread. It must be the same
// in all processes of a system. In a cluster more lanes spread the load more evenly
// over the masters, and cost a callee one connection each. Default: 1, in a cluster
// 16; 1 to 256.
func WithLanes(n int) Option {
	return optionFunc(func(c *config) { c.lanes, c.lanesGiven = n, true })
}

// WithQueueCapacity sets how many calls to one URI are queued at most. More get
// [broker.ErrQueueFull]. Default: 10,000; 1 to 10,000,000.
func WithQueueCapacity(n int) Option {
	return optionFunc(func(c *config) { c.queueCapacity = n })
}

// WithCalleeDiscovery sets whether calls to a URI that nobody serves get
// [broker.ErrNoCallee] (the default) or are queued in the hope of a callee.
func WithCalleeDiscovery(on bool) Option {
	return optionFunc(func(c *config) { c.discovery = on })
}

// WithCalleeGrace sets how long calls to a URI are still queued after its last
// callee has gone, so that a deploy fails no calls. It must be the same in all
// callees. Default: 5 s; 0 to 1 h.
func WithCalleeGrace(d time.Duration) Option {
	return optionFunc(func(c *config) { c.grace = d })
}

// WithCalleeLease sets after how much silence a callee is taken for dead and
// its calls are answered with 502. Callees are heard four times as often. Default:
// 5 s; 400 ms to 1 min.
func WithCalleeLease(d time.Duration) Option {
	return optionFunc(func(c *config) { c.lease = d })
}

// WithShardedPubSub uses the sharded channels of Redis 7 (SPUBLISH), so that
// an event reaches one shard of a cluster instead of every node. All processes
// must agree. Patterns exist for classic channels only: subscribing to one
// then fails with [errors.ErrUnsupported].
func WithShardedPubSub() Option {
	return optionFunc(func(c *config) { c.sharded = true })
}

// WithHistory keeps events of the channels that the rules match, the first rule that does:
// see [broker.HistoryRule] for what a rule may say. There may be 256 rules; one that
// could never match since an earlier one has all of its channels is refused.
//
// The rules lie in Redis. All processes of a system follow those of the one that was
// started last of all that have this option, also those without it, and for an hour when
// none of those is left; no rules take them away at once. What a rule has kept counts no
// more once it was taken away or its channels belong to another rule. Default: the rules of others, and if there are none nothing is kept.
func WithHistory(rules ...broker.HistoryRule) Option {
	return optionFunc(func(c *config) { c.history = append([]broker.HistoryRule{}, rules...) })
}

// WithMaxBatch sets how many calls or results one script gets at most. A script
// runs alone on the server: larger batches cost less in sum, and delay others
// longer. Default: 512; 1 to 2,000.
func WithMaxBatch(n int) Option {
	return optionFunc(func(c *config) { c.maxBatch = n })
}

// WithBackoff sets how long to wait between two attempts to connect: first,
// then twice as long each time, up to longest, with jitter. Default: 50 ms and
// 2 s; 1 ms to 1 min.
func WithBackoff(first, longest time.Duration) Option {
	return optionFunc(func(c *config) { c.backoffMin, c.backoffMax = first, longest })
}

// WithReplyTimeout sets after how long a connection is given up on which a reply
// is awaited and nothing moves. Long before, after a quarter of it, new requests are
// refused with [broker.ErrUnavailable]. However slow the link, there is time as long
// as parts of a request or reply pass. Default: 2 s; 100 ms to 1 min.
func WithReplyTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.replyTimeout = d })
}

// WithLogger sets where lost and regained connections, gaps, what the server
// refuses in the background, dropped results, and values that are not juggler's
// are logged. Default: slog.Default(), as it is when [New] is called.
func WithLogger(l *slog.Logger) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithLogger", l, "a logger") {
			c.logger = l
		}
	})
}

// WithLinkObserver sets a function that is told when a connection was made or has
// ended. It is called from the goroutine that uses the connection: it must not
// wait, nor call the broker.
func WithLinkObserver(f func(LinkChange)) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithLinkObserver", f, "a function") {
			c.onLink = f
		}
	})
}

func (c *config) use(t conn.Topology, database int) {
	c.servers++
	c.topology, c.database = t, database
	_, c.cluster = t.(*conn.Cluster)
}

// validate returns all that is wrong.
func (c *config) validate() error {
	p := &c.problems
	if c.servers != 1 && p.None() {
		p.Add(fmt.Sprintf("want exactly one of WithServer, WithSentinel, WithCluster, WithClient; got %d", c.servers))
	}
	if c.apart != nil {
		if s, ok := c.topology.(*conn.Sentinel); ok {
			s.SentinelOptions = c.apart
		} else if p.None() {
			p.Add("WithSentinelOptions: goes with WithSentinel")
		}
	}
	if c.cluster && !c.lanesGiven {
		c.lanes = clusterLanes
	}
	if !validPrefix(c.prefix) {
		p.Refuse("WithPrefix", fmt.Sprintf("%q", c.prefix), "1 to 64 letters, digits and . _ / -")
	}
	c.rules = kept.Compile(p, c.history)
	option.Check(p, c.settings())
	option.CheckBackoff(p, option.RedisBackoff, c.backoffMin, c.backoffMax)
	return p.Err()
}

// validPrefix keeps out what means something in a hash tag or in a pattern.
func validPrefix(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._/-", r))
	}) < 0
}
