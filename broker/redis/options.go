package redis

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// ErrInvalidOption is wrapped by each of the errors that [New] returns.
var ErrInvalidOption = errors.New("invalid option")

// An Option changes a setting of [New].
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	servers  int // how many of the options that name a server were given
	topology topology
	cluster  bool
	database int
	apart    *goredis.Options // of the sentinels; nil: as WithSentinel says
	problems []error          // found while an option was applied

	prefix        string
	lanes         int // 0: the default of the kind of server
	queueCapacity int
	discovery     bool
	grace         time.Duration
	lease         time.Duration
	sharded       bool
	maxBatch      int
	backoffMin    time.Duration
	backoffMax    time.Duration
	replyTimeout  time.Duration
	logger        *slog.Logger
	onLink        func(LinkChange)
}

// Defaults of lanes. A single server gains nothing from more than one.
const (
	standaloneLanes = 1
	clusterLanes    = 16
)

func defaultConfig() config {
	return config{
		prefix:        "juggler",
		queueCapacity: 10_000,
		discovery:     true,
		grace:         5 * time.Second,
		lease:         5 * time.Second,
		maxBatch:      512,
		backoffMin:    50 * time.Millisecond,
		backoffMax:    2 * time.Second,
		replyTimeout:  2 * time.Second,
		logger:        slog.Default(),
		onLink:        func(LinkChange) {},
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
		if o == nil {
			c.refuse("WithServer(nil): want options")
			return
		}
		copied := *o
		c.use(&standalone{given: &copied}, copied.DB)
	})
}

// WithSentinel uses the master that Redis Sentinel names. Dialer and TLSConfig are
// for the sentinels as well, unless [WithSentinelOptions] says otherwise.
func WithSentinel(o *goredis.FailoverOptions) Option {
	return optionFunc(func(c *config) {
		if o == nil || o.MasterName == "" || len(o.SentinelAddrs) == 0 {
			c.refuse("WithSentinel: want MasterName and SentinelAddrs")
			return
		}
		copied := *o
		c.use(&sentinel{given: &copied}, copied.DB)
	})
}

// WithSentinelOptions sets how the sentinels are reached and entered where that
// differs from the masters; it goes with [WithSentinel], whose options then are for
// the masters. The broker uses what says so: dialer, TLS, user and password and what
// provides them, client name, OnConnect, and the timeouts to dial and to read. In the
// zero Options there is neither TLS nor a password.
func WithSentinelOptions(o *goredis.Options) Option {
	return optionFunc(func(c *config) {
		if o == nil {
			c.refuse("WithSentinelOptions(nil): want options")
			return
		}
		copied := *o
		c.apart = &copied
	})
}

// WithCluster uses a Redis Cluster.
func WithCluster(o *goredis.ClusterOptions) Option {
	return optionFunc(func(c *config) {
		if o == nil || len(o.Addrs) == 0 && o.ClusterSlots == nil {
			c.refuse("WithCluster: want Addrs or ClusterSlots")
			return
		}
		copied := *o
		c.use(&cluster{given: &copied}, 0)
	})
}

// WithClient uses the server or cluster of a client that exists already, and
// copies its options: the broker never sends a command through the client
// itself, whose retries would run calls twice. A client of goredis.NewFailoverClient
// must stay open as long as the broker; better give its options to
// [WithSentinel]. Other kinds of clients (Ring) are refused.
func WithClient(client goredis.UniversalClient) Option {
	return optionFunc(func(c *config) {
		if v := reflect.ValueOf(client); v.Kind() == reflect.Pointer && v.IsNil() {
			c.refuse("WithClient(nil): want a client")
			return
		}
		switch client := client.(type) {
		case *goredis.Client:
			copied := *client.Options()
			c.use(&standalone{given: &copied}, copied.DB)
		case *goredis.ClusterClient:
			copied := *client.Options()
			c.use(&cluster{given: &copied}, 0)
		default:
			c.refuse("WithClient(%T): want a *redis.Client or a *redis.ClusterClient", client)
		}
	})
}

// WithPrefix sets what all keys and channels begin with, before a colon: 1 to
// 64 letters, digits and any of . _ / - ; default "juggler". Systems with
// different prefixes share a server without knowing of each other.
func WithPrefix(prefix string) Option {
	return optionFunc(func(c *config) { c.prefix = prefix })
}

// WithLanes sets on how many lanes URIs and nodes are spread: 1 to 256,
// default 1 on a single server and 16 in a cluster. It must be the same in all
// processes of a system. In a cluster more lanes spread the load more evenly
// over the masters, and cost a callee one connection each.
func WithLanes(n int) Option {
	return optionFunc(func(c *config) {
		c.lanes = n
		if n == 0 {
			c.refuse("WithLanes(0): want 1 to 256")
		}
	})
}

// WithQueueCapacity sets how many calls to one URI are queued at most, 1 to
// 10,000,000, default 10,000. More get [broker.ErrQueueFull].
func WithQueueCapacity(n int) Option {
	return optionFunc(func(c *config) { c.queueCapacity = n })
}

// WithCalleeDiscovery sets whether calls to a URI that nobody serves get
// [broker.ErrNoCallee] (the default) or are queued in the hope of a callee.
func WithCalleeDiscovery(on bool) Option {
	return optionFunc(func(c *config) { c.discovery = on })
}

// WithCalleeGrace sets how long calls to a URI are still queued after its last
// callee has gone, so that a deploy fails no calls: 0 to one hour, default 5 s.
// It must be the same in all callees.
func WithCalleeGrace(d time.Duration) Option {
	return optionFunc(func(c *config) { c.grace = d })
}

// WithCalleeLease sets after how much silence a callee is taken for dead and
// its calls are answered with 502: 400 ms to one minute, default 5 s. Callees
// are heard four times as often.
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

// WithMaxBatch sets how many calls or results one script gets at most, 1 to
// 2,000, default 512. A script runs alone on the server: larger batches cost
// less in sum, and delay others longer.
func WithMaxBatch(n int) Option {
	return optionFunc(func(c *config) { c.maxBatch = n })
}

// WithBackoff sets how long to wait between two attempts to connect: first,
// then twice as long each time, up to longest, with jitter. Defaults 50 ms and
// 2 s; 1 ms <= first <= longest <= one minute.
func WithBackoff(first, longest time.Duration) Option {
	return optionFunc(func(c *config) { c.backoffMin, c.backoffMax = first, longest })
}

// WithReplyTimeout sets after how long a connection is given up on which a reply
// is awaited and nothing moves: 100 ms to one minute, default 2 s. Long before,
// after a quarter of it, new requests are refused with [broker.ErrUnavailable].
// However slow the link, there is time as long as parts of a request or reply
// pass.
func WithReplyTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.replyTimeout = d })
}

// WithLogger sets where lost and regained connections, gaps, what the server
// refuses in the background, dropped results, and values that are not juggler's
// are logged. Default: slog.Default(), as it is when [New] is called.
func WithLogger(l *slog.Logger) Option {
	return optionFunc(func(c *config) {
		if l == nil {
			c.refuse("WithLogger(nil): want a logger")
			return
		}
		c.logger = l
	})
}

// WithLinkObserver sets a function that is told when a connection was made or has
// ended. It is called from the goroutine that uses the connection: it must not
// wait, nor call the broker.
func WithLinkObserver(f func(LinkChange)) Option {
	return optionFunc(func(c *config) {
		if f == nil {
			c.refuse("WithLinkObserver(nil): want a function")
			return
		}
		c.onLink = f
	})
}

func (c *config) use(t topology, database int) {
	c.servers++
	c.topology, c.database = t, database
	_, c.cluster = t.(*cluster)
}

func (c *config) refuse(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("redis: %w: "+format, append([]any{ErrInvalidOption}, args...)...))
}

// validate returns all that is wrong.
func (c *config) validate() error {
	if c.servers != 1 && len(c.problems) == 0 {
		c.refuse("want exactly one of WithServer, WithSentinel, WithCluster, WithClient; got %d", c.servers)
	}
	if c.apart != nil {
		if s, ok := c.topology.(*sentinel); ok {
			s.apart = c.apart
		} else if len(c.problems) == 0 {
			c.refuse("WithSentinelOptions: goes with WithSentinel")
		}
	}
	if c.lanes == 0 {
		c.lanes = standaloneLanes
		if c.cluster {
			c.lanes = clusterLanes
		}
	}
	if !validPrefix(c.prefix) {
		c.refuse("WithPrefix(%q): want 1 to 64 letters, digits and . _ / -", c.prefix)
	}
	c.within("WithLanes", c.lanes, 1, 256)
	c.within("WithQueueCapacity", c.queueCapacity, 1, 10_000_000)
	c.within("WithMaxBatch", c.maxBatch, 1, 2000)
	c.lasting("WithCalleeGrace", c.grace, 0, time.Hour)
	c.lasting("WithCalleeLease", c.lease, 400*time.Millisecond, time.Minute)
	c.lasting("WithReplyTimeout", c.replyTimeout, 100*time.Millisecond, time.Minute)
	if c.backoffMin < time.Millisecond || c.backoffMax < c.backoffMin || c.backoffMax > time.Minute {
		c.refuse("WithBackoff(%v, %v): want 1ms <= first <= longest <= 1m", c.backoffMin, c.backoffMax)
	}
	return errors.Join(c.problems...)
}

func (c *config) within(option string, n, low, high int) {
	if n < low || n > high {
		c.refuse("%s(%d): want %d to %d", option, n, low, high)
	}
}

func (c *config) lasting(option string, d, low, high time.Duration) {
	if d < low || d > high {
		c.refuse("%s(%v): want %v to %v", option, d, low, high)
	}
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
