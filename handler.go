package juggler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/keyed"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/presence"
	"github.com/juggler-go/juggler/internal/ratelog"
	"github.com/juggler-go/juggler/internal/worker"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// Handler is an http.Handler that turns WebSocket handshakes into sessions:
// one node. Its methods may be called concurrently.
type Handler struct {
	cfg  *config
	log  *slog.Logger
	logs *ratelog.Limit // of log
	node broker.ID
	pool *wsconn.Pool

	follower atomic.Pointer[follower] // nil: nobody is followed

	chain RequestHandler // middleware, authorizer, broker: where middleware may block
	owned *memory.Broker // the default broker, closed by Shutdown

	// The shards, by number: those of event loops from 0 up, and others.
	shards    [maxShards]atomic.Pointer[shard]
	numShards atomic.Int32

	topics topicTable
	users  userIndex

	userSessions userSessions
	clusterSide  clusterSide
	dated        atomic.Bool // identities with Issued were seen

	gaps worker.Backlog // calls of the OnGap hook

	parties parties
	lobby   lobby
	signIns chan struct{} // a value for each that is under way
	broker  brokerSide
	pages   pageReader
	keyed   *keyed.Hub

	here    *presence.Hub  // nil without rules
	comings worker.Backlog // calls of the hooks OnFirstIn and OnLastOut

	sessions atomic.Int64
	closing  atomic.Bool
	done     chan struct{} // closed at the end of Shutdown
	empty    chan struct{} // gets a value when the last session of a closing handler went

	ctx    context.Context // of everything that outlives a request
	cancel context.CancelFunc

	work  sync.WaitGroup // goroutines that run user code or wait on the broker
	stats counters
	said  said

	watchdog     watchdog
	authorizerPC uintptr // the function of an authorizer that never waits

	callStats *callStats
	epoch     time.Time // of clock
}

// maxShards bounds the shards, since a topic keeps their set in a word.
const maxShards = 64

// New returns a handler with the given options, ready to be mounted. Without
// options it serves juggler.1 and juggler.0 on an embedded broker. It starts
// nothing: goroutines and broker connections come with the first session.
// The error names every option that is wrong and wraps [ErrInvalidOption].
func New(opts ...Option) (*Handler, error) {
	cfg := defaultConfig()
	option.Apply(&cfg.problems, opts, func(o Option) { o.apply(cfg) })
	cfg.follow()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.setBounds()
	cfg.addCallHeaders()
	h := &Handler{
		cfg:   cfg,
		node:  broker.NewID(),
		done:  make(chan struct{}),
		empty: make(chan struct{}, 1),
	}
	h.log, h.logs = ratelog.New(cfg.logger.With("component", "server"))
	h.settleRights()
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.stats.init()
	h.watchdog.init(h)
	h.callStats, h.epoch = newCallStats(cfg.callStats), time.Now()
	h.gaps.Running = &h.work
	h.topics.m = make(map[broker.Topic]*nodeTopic)
	h.users.m = make(map[string]*session)
	h.parties.m = make(map[partyKey]*party)
	h.lobby.most, h.lobby.mostOf = cfg.maxUnauthenticated, (cfg.maxUnauthenticated+3)/4
	h.signIns = make(chan struct{}, cfg.maxSignIns)
	var err error
	if h.chain, err = cfg.chain(h.endOfChain); err != nil {
		return nil, err
	}
	if cfg.caller == nil {
		b, err := memory.New()
		if err != nil {
			return nil, fmt.Errorf("juggler: default broker: %w", err)
		}
		h.owned, cfg.caller, cfg.pubsub = b, b, b
	}
	h.broker.init(cfg, &h.work)
	h.userSessions.init(cfg)
	h.clusterSide.init(h)
	h.pages.init(h)
	h.keyed = keyed.New(keyed.Config{Results: h.deliverResults, Parts: h.deliverParts, Timeout: cfg.brokerTimeout, Running: &h.work, Log: h.log})
	h.newPresence()
	h.pool = wsconn.NewPool(h.poolConfig())
	if limit := descriptorLimit(); limit > 0 && cfg.maxSessions > limit {
		// Beyond it connections are refused, by the system or with 503.
		h.log.Warn("more sessions are allowed than the process may open files: raise RLIMIT_NOFILE or lower WithMaxSessions",
			"max_sessions", cfg.maxSessions, "rlimit_nofile", limit)
	}
	return h, nil
}

// poolConfig says what all connections have in common.
func (h *Handler) poolConfig() wsconn.Config {
	cfg := wsconn.Config{
		MaxMessage:   h.cfg.maxMessage,
		MaxQueue:     h.cfg.maxQueue,
		MaxBacklog:   h.cfg.maxNodeQueue,
		ReadTimeout:  h.cfg.readTimeout,
		WriteTimeout: h.cfg.writeTimeout,
		CloseTimeout: h.cfg.writeTimeout,
		Ping:         h.cfg.ping,
		Logger:       h.log,
		Loops:        h.cfg.eventLoops,
		NewHandler:   h.newShard,
	}
	if c := h.cfg.compression; c != nil {
		cfg.DeflateLevel, cfg.DeflateFrom = c.Level, c.Threshold
	}
	return cfg
}

// Node returns the id of this node, a ULID in text.
func (h *Handler) Node() string { return idText(h.node) }

// Ready returns nil while new clients would be admitted, as far as that is up to the
// node and its broker, else an error that says why they would not: it shuts down, or
// the broker does not do its work. Like the first handshake, the first call opens the
// node's connections to the broker, within ctx and [WithBrokerTimeout]. Afterwards Ready
// does not wait: it asks the broker if that is a [broker.HealthChecker], and takes any
// other for healthy. That [WithMaxSessions] is reached does not count.
func (h *Handler) Ready(ctx context.Context) error {
	if h.closing.Load() {
		return broker.ErrClosed
	}
	if err := h.start(ctx); err != nil {
		return err
	}
	if m := h.clusterSide.member; m != nil && h.dated.Load() && !m.KnowsRevoked() {
		return errors.New("juggler: it cannot be told what was revoked, so users are refused")
	}
	return h.broker.health()
}

// start opens the node's side of the broker, once.
func (h *Handler) start(ctx context.Context) error {
	return h.broker.open(ctx, h)
}

// protect calls f, which calls user code. It turns a panic into a log line with the
// stack and a call of failed. If the code ends its goroutine (runtime.Goexit), it does
// the same, but the goroutine ends all the same: another one must do the rest.
func (h *Handler) protect(where string, failed func(error), f func()) {
	returned := false
	defer func() {
		p := recover() // never nil if the code panicked
		if returned {
			return
		}
		h.stats.panics.Add(1)
		if p == nil {
			h.log.Error("user code ended its goroutine (runtime.Goexit, as FailNow of a test does)", "where", where, "stack", string(debug.Stack()))
			failed(errEnded)
			return
		}
		h.log.Error("panic in user code", "where", where, "panic", p, "stack", string(debug.Stack()))
		failed(&crash{public: h.cfg.hide("panic: ", p)})
	}()
	f()
	returned = true
}
