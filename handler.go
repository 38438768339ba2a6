package juggler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/ratelog"
	"github.com/juggler-go/juggler/internal/worker"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// Handler is an http.Handler that turns WebSocket handshakes into sessions:
// one node. Its methods may be called concurrently.
type Handler struct {
	cfg  *config
	log  *slog.Logger
	node broker.ID
	pool *wsconn.Pool

	handle RequestHandler // middleware, authorizer, router
	owned  *memory.Broker // the default broker, closed by Shutdown

	// The shards, by number: those of event loops from 0 up, and others.
	shards    [maxShards]atomic.Pointer[shard]
	numShards atomic.Int32

	topics topicTable
	users  userIndex
	later  worker.Backlog // what waits on the broker for no session in particular
	gaps   worker.Backlog // calls of the OnGap hook

	// What the first session opens on the broker, and Shutdown closes.
	starting   chan struct{} // holds a value while someone opens or closes it
	started    atomic.Bool
	caller     broker.CallerConn
	batch      broker.BatchCaller // caller, if it is one
	subscriber broker.SubscriberConn
	publishes  broker.BatchPublisher // the PubSub, if it is one

	callParts, publishParts broker.Divided // caller and the PubSub, if they are

	// Which methods of the broker never wait, and whether requests are
	// handled on the event loop altogether.
	callsInline, topicsInline, publishesInline, inline bool

	sessions atomic.Int64
	closing  atomic.Bool
	done     chan struct{} // closed at the end of Shutdown
	empty    chan struct{} // gets a value when the last session of a closing handler went

	ctx    context.Context // of everything that outlives a request
	cancel context.CancelFunc

	opening     context.Context // bounds what is being opened on the broker
	stopOpening context.CancelFunc

	asking     context.Context // of later: outlives the sessions
	stopAsking context.CancelFunc

	work  sync.WaitGroup // goroutines that run user code or wait on the broker
	stats counters

	// What may fail for every client at once, and is logged now and then.
	failures, refusals, payloads, asked ratelog.Limiter
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
	h := &Handler{
		cfg:   cfg,
		log:   cfg.logger.With("component", "server"),
		node:  newID(),
		done:  make(chan struct{}),
		empty: make(chan struct{}, 1),

		starting: make(chan struct{}, 1),
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.opening, h.stopOpening = context.WithCancel(h.ctx)
	h.asking, h.stopAsking = context.WithCancel(context.Background())
	h.later.Running, h.gaps.Running = &h.work, &h.work
	h.topics.m = make(map[broker.Topic]*nodeTopic)
	h.users.m = make(map[string]*session)
	var err error
	if h.handle, err = cfg.chain(h.route); err != nil {
		return nil, err
	}
	if cfg.caller == nil {
		b, err := memory.New()
		if err != nil {
			return nil, fmt.Errorf("juggler: default broker: %w", err)
		}
		h.owned, cfg.caller, cfg.pubsub = b, b, b
	}
	h.publishesInline = immediate(cfg.pubsub)
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
	return wsconn.Config{
		MaxMessage:   h.cfg.maxMessage,
		MaxQueue:     h.cfg.maxQueue,
		ReadTimeout:  h.cfg.readTimeout,
		WriteTimeout: h.cfg.writeTimeout,
		CloseTimeout: h.cfg.writeTimeout,
		Ping:         h.cfg.ping,
		Logger:       h.log,
		Loops:        h.cfg.eventLoops,
		NewHandler:   h.newShard,
	}
}

// Node returns the id of this node, a ULID in text.
func (h *Handler) Node() string { return idText(h.node) }

// ServeHTTP answers a WebSocket handshake. It returns when the handshake is
// over; the session lives on without the request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hs, bad := h.readHandshake(r, w.Header())
	if bad != nil {
		h.refuse(w, r, nil, bad)
		return
	}
	if bad = h.authenticate(r, hs); bad != nil {
		h.refuse(w, r, hs, bad)
		return
	}
	if bad = h.admit(r.Context()); bad != nil {
		h.refuse(w, r, hs, bad)
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h.release()
		h.log.ErrorContext(r.Context(), "cannot take over the connection: is middleware that wraps the ResponseWriter missing Unwrap?", "error", err)
		h.refuse(w, r, nil, errInternal)
		return
	}
	_ = nc.SetDeadline(time.Time{}) // those of the http.Server; a broken connection shows on its first use
	upgrade := hs.response(w.Header())
	open := func(g *wsconn.Group) { h.openSession(g, hs, upgrade) }
	if err := h.pool.Adopt(nc, buffered(rw), open); err != nil {
		h.release()
		h.stats.refused.Add(1)
		h.refusals.Log(h.log, slog.LevelError, "cannot adopt the connection", "error", err)
		answer503(nc)
	}
}

// authenticate finds the identity of a handshake.
func (h *Handler) authenticate(r *http.Request, hs *handshake) *Error {
	if h.cfg.authenticate == nil {
		return h.mustSignIn(hs)
	}
	var id *Identity
	var err error
	h.protect("authenticator", func(error) { err = errInternal }, func() { id, err = h.cfg.authenticate(r) })
	if err != nil {
		if e, ok := ownError(err); ok {
			return e
		}
		h.refusals.Log(h.log, slog.LevelError, "authenticator failed", "error", err)
		return &Error{Code: CodeUnavailable, Message: "cannot authenticate now", RetryAfter: retryAfter(err)}
	}
	hs.identity = id.clone()
	return h.mustSignIn(hs)
}

// mustSignIn refuses a client that cannot send AUTH where it has to.
func (h *Handler) mustSignIn(hs *handshake) *Error {
	if h.cfg.signIn != nil && hs.identity == nil && hs.protocol == 0 {
		return &Error{Code: CodeUnauthenticated, Message: "juggler.0 cannot sign in by AUTH: use juggler.1"}
	}
	return nil
}

// admit reserves the place of a session, which release gives back.
func (h *Handler) admit(ctx context.Context) *Error {
	if h.closing.Load() {
		return goingAway()
	}
	if h.sessions.Add(1) > int64(h.cfg.maxSessions) {
		h.release()
		return &Error{Code: CodeUnavailable, Message: "too many sessions", RetryAfter: retryAfter(nil)}
	}
	if err := h.start(ctx); err != nil {
		h.release()
		h.refusals.Log(h.log, slog.LevelError, "cannot reach the broker", "error", err)
		return &Error{Code: CodeUnavailable, Message: "the broker is unavailable", RetryAfter: retryAfter(err)}
	}
	return nil
}

// release gives the place of a session back.
func (h *Handler) release() {
	if h.sessions.Add(-1) == 0 && h.closing.Load() {
		select {
		case h.empty <- struct{}{}:
		default:
		}
	}
}

// Ready returns nil while new clients would be admitted, as far as that is up to the
// node and its broker, else an error that says why they would not: it shuts down, or
// the broker does not do its work. Like the first handshake, the first call opens the
// node's side of the broker. Afterwards a broker that is a [broker.HealthChecker] is
// asked, which does not wait; others count as well. How many sessions there may be is
// not heeded. ctx bounds the opening, as does [WithBrokerTimeout].
func (h *Handler) Ready(ctx context.Context) error {
	if h.closing.Load() {
		return broker.ErrClosed
	}
	if err := h.start(ctx); err != nil {
		return err
	}
	if err := health(h.cfg.caller); err != nil {
		return err
	}
	return health(h.cfg.pubsub)
}

func health(role any) error {
	if c, ok := role.(broker.HealthChecker); ok {
		return c.Health()
	}
	return nil
}

// start opens the node's side of the broker, once.
func (h *Handler) start(ctx context.Context) error {
	if h.started.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.brokerTimeout)
	defer cancel()
	defer context.AfterFunc(h.opening, cancel)() // Shutdown does not wait for the broker
	select {
	case h.starting <- struct{}{}:
		defer func() { <-h.starting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if h.started.Load() {
		return nil
	}
	if h.closing.Load() {
		return broker.ErrClosed
	}
	caller, err := h.cfg.caller.OpenCaller(ctx, h.node, h.deliverResults)
	if err != nil {
		return err
	}
	subscriber, err := h.cfg.pubsub.OpenSubscriber(ctx, h.deliverEvents)
	if err != nil {
		return errors.Join(err, caller.Close())
	}
	h.caller, h.subscriber = caller, subscriber
	h.batch, _ = caller.(broker.BatchCaller)
	h.callParts, _ = caller.(broker.Divided)
	h.publishes, _ = h.cfg.pubsub.(broker.BatchPublisher)
	h.publishParts, _ = h.cfg.pubsub.(broker.Divided)
	h.callsInline, h.topicsInline = immediate(caller), immediate(subscriber)
	h.inline = h.callsInline && h.topicsInline && h.publishesInline && !h.cfg.mayBlock()
	h.started.Store(true)
	return nil
}

// immediate reports whether v declares that it never waits.
func immediate(v any) bool {
	_, ok := v.(broker.Immediate)
	return ok
}

// protect calls f, which calls user code, and turns its panic into a log line with
// the stack and a call of failed. So it does if the code ends its goroutine, but
// that cannot be stopped: what the goroutine had to do, another one has to go on
// with.
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
		failed(errInternal)
	}()
	f()
	returned = true
}
