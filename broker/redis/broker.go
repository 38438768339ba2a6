package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/ratelog"
)

// background is the context of what has bounds of its own.
var background = context.Background()

// Broker is the engine on Redis. It fills all three roles, and takes many
// requests at once (it is a [broker.BatchPublisher], its caller connections
// are [broker.BatchCaller]). Its methods may be called concurrently.
type Broker struct {
	config   config
	view     *conn.View
	keys     *keyspace
	history  history
	hub      *hub
	patterns *patterns
	news     news
	survey   *survey
	stats    counters
	made     time.Time

	backoff conn.Backoff
	logs    *ratelog.Limit // of the logger

	mu     sync.Mutex // guards the following
	lanes  []*lane    // by index; nil: not used yet
	open   map[closer]struct{}
	closed bool

	closeOnce sync.Once
}

// closer is what Close of the broker closes first: an open connection.
type closer interface {
	Close() error
	health() error
}

var (
	_ broker.Caller         = (*Broker)(nil)
	_ broker.Callee         = (*Broker)(nil)
	_ broker.StreamCaller   = (*Broker)(nil)
	_ broker.KeyedCaller    = (*Broker)(nil)
	_ broker.StreamCallee   = (*Broker)(nil)
	_ broker.PubSub         = (*Broker)(nil)
	_ broker.BatchPublisher = (*Broker)(nil)
	_ broker.Divided        = (*Broker)(nil)
	_ broker.HealthChecker  = (*Broker)(nil)
	_ broker.History        = (*Broker)(nil)
	_ broker.Presence       = (*Broker)(nil)
)

// New returns a broker with these options. It connects when it is used; that
// a server cannot be reached is the error of those who use it, not of New.
func New(opts ...Option) (*Broker, error) {
	c := defaultConfig()
	option.Apply(&c.problems, opts, func(o Option) { o.apply(&c) })
	if err := c.validate(); err != nil {
		return nil, err
	}
	var logs *ratelog.Limit
	c.logger, logs = ratelog.New(c.logger.With("component", "redis"))
	b := &Broker{
		config: c,
		logs:   logs,
		keys:   newKeyspace(c.prefix, c.lanes, c.sharded).in(c.database),
		lanes:  make([]*lane, c.lanes),
		open:   map[closer]struct{}{},
		made:   time.Now(),

		backoff: conn.Backoff{First: c.backoffMin, Longest: c.backoffMax},
	}
	b.view = conn.NewView(conn.Config{Topology: c.topology, Timeout: c.replyTimeout, Backoff: b.backoff, Logger: c.logger})
	b.news.broker = b
	b.history.init(&c)
	b.hub = newHub(b)
	b.patterns = newPatterns(b)
	b.survey = newSurvey(b)
	return b, nil
}

// Close closes the connections that are still open, those of the network too,
// and returns nil when nothing of the broker is left. It may be called twice, but
// not from a callback.
func (b *Broker) Close() error {
	b.closeOnce.Do(b.close)
	return nil
}

func (b *Broker) close() {
	b.mu.Lock()
	b.closed = true
	open := make([]closer, 0, len(b.open))
	for c := range b.open {
		open = append(open, c)
	}
	b.mu.Unlock()

	var all sync.WaitGroup
	for _, c := range open {
		all.Go(func() { c.Close() }) //nolint:errcheck // never fails
	}
	all.Wait()
	b.news.stop()
	b.survey.stop()
	b.hub.stop()
	for _, l := range b.lanes { // none is added any more
		if l != nil {
			all.Go(l.stop)
		}
	}
	all.Wait()
	b.view.Stop()
	b.logs.Close()
}

// register notes an open connection, unless the broker is closed.
func (b *Broker) register(c closer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return broker.ErrClosed
	}
	b.open[c] = struct{}{}
	b.survey.opened(c)
	return nil
}

func (b *Broker) unregister(c closer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, c)
}

// lane returns a lane, started when it is first used. Once the broker is
// closed only lanes that are there are returned, else nil.
func (b *Broker) lane(index int) *lane {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lanes[index] == nil && !b.closed {
		b.lanes[index] = newLane(b, index)
		b.lanes[index].start()
		b.survey.start()
	}
	return b.lanes[index]
}

// used returns a lane that is in use already, or nil.
func (b *Broker) used(index int) *lane {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lanes[index]
}

// lanesInUse returns the indices of the lanes that are in use.
func (b *Broker) lanesInUse() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	var indices []int
	for i, l := range b.lanes {
		if l != nil {
			indices = append(indices, i)
		}
	}
	return indices
}

// runAt runs a command at the master of a slot: through a lane in use that has the
// same, or on a connection of its own.
func (b *Broker) runAt(ctx context.Context, slot int, c *resp.Command) error {
	for _, i := range b.lanesInUse() {
		if b.view.SameMaster(slot, b.keys.slotOf(i)) {
			_, err := b.used(i).writer.do(ctx, c)
			return err
		}
	}
	l, err := b.view.Dial(ctx, slot, conn.Server{}, b.config.replyTimeout, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, l.Cut)()
	if err = l.Run(c); err != nil {
		return err
	}
	return c.Reply.Err()
}

// laneOn returns a lane of which a server is the master, one that is used already
// if there is one; nil: there is none, or the broker is closed.
func (b *Broker) laneOn(master conn.Server) *lane {
	first := -1
	b.mu.Lock()
	for i, l := range b.lanes {
		if !b.view.Owns(master, b.keys.slotOf(i)) {
			continue
		}
		if l != nil {
			b.mu.Unlock()
			return l
		}
		if first < 0 {
			first = i
		}
	}
	b.mu.Unlock()
	if first < 0 {
		return nil
	}
	return b.lane(first)
}

// closeTimeout bounds how long Close of a connection waits for the server. What the
// server is not told expires.
func (b *Broker) closeTimeout() time.Duration { return b.config.replyTimeout }

// maxSilence is how long a living process may be silent: until its next heartbeat, or
// until it has noticed that its connection is lost and has a new one.
func (b *Broker) maxSilence() time.Duration {
	return max(b.config.lease, b.config.replyTimeout+b.config.backoffMax)
}

// wrap adds the operation and its object to err, unless it is nil. What cannot be printed,
// as the names of the server's own channels begin, is quoted.
func wrap(operation, object string, err error) error {
	if err == nil {
		return nil
	}
	if strings.ContainsFunc(object, unicode.IsControl) {
		object = strconv.Quote(object)
	}
	return fmt.Errorf("redis: %s %s: %w", operation, object, err)
}

// A LinkChange says that a connection to a server was made or has ended.
type LinkChange struct {
	Role string // "writer", "results", "parts", "take" or "pubsub"
	Lane int    // that the connection serves; -1: none in particular
	Up   bool
	Err  error // why it ended
	Idle bool  // the other side ended it while it was idle: nothing was lost
}

// Stats are counts since New, but for Evicting.
type Stats struct {
	Calls          int64 // queued here
	Pushes         int64 // scripts that queued them
	Taken          int64 // calls taken here
	Results        int64 // stored here
	ResultsDropped int64 // not stored: the node is gone, or its list is full
	Received       int64 // results received here
	Parts          int64 // parts of answers stored here
	PartsReceived  int64 // parts of answers received here, some perhaps twice
	Lost           int64 // calls reported with 502 here
	Published      int64 // events published here
	Events         int64 // messages received from subscriptions here
	Gaps           int64 // subscriptions that may have missed something
	Healed         int64 // kept events that did not arrive, and came from their logs
	Corrupt        int64 // values that are not juggler's, dropped
	LinksLost      int64 // connections that failed, without those that were idle

	// Evicting is how many of the masters in use evict keys when their memory is
	// full, as they said last (each is asked once a minute): calls and results are
	// lost then. 0 also if they do not tell this user.
	Evicting int64
}

type counters struct {
	calls, pushes, taken, results, resultsDropped, received, lost atomic.Int64
	parts, partsReceived                                          atomic.Int64
	published, events, gaps, healed, corrupt, linksLost           atomic.Int64
	evicting                                                      atomic.Int64
}

// Stats returns the counts.
func (b *Broker) Stats() Stats {
	c := &b.stats
	return Stats{
		Calls:          c.calls.Load(),
		Pushes:         c.pushes.Load(),
		Taken:          c.taken.Load(),
		Results:        c.results.Load(),
		ResultsDropped: c.resultsDropped.Load(),
		Received:       c.received.Load(),
		Parts:          c.parts.Load(),
		PartsReceived:  c.partsReceived.Load(),
		Lost:           c.lost.Load(),
		Published:      c.published.Load(),
		Events:         c.events.Load(),
		Gaps:           c.gaps.Load(),
		Healed:         c.healed.Load(),
		Corrupt:        c.corrupt.Load(),
		LinksLost:      c.linksLost.Load(),
		Evicting:       c.evicting.Load(),
	}
}

func (b *Broker) linkUp(role string, lane int) {
	b.config.logger.Debug("connected", "role", role, "lane", lane)
	b.config.onLink(LinkChange{Role: role, Lane: lane, Up: true})
}

func (b *Broker) linkDown(role string, lane int, err error) {
	b.stats.linksLost.Add(1)
	b.config.logger.Warn("connection lost", "role", role, "lane", lane, "error", err)
	b.config.onLink(LinkChange{Role: role, Lane: lane, Err: err})
}

// linkIdle reports that the other side has ended a connection while nothing was under
// way on it, as a server or proxy does that ends idle connections: nothing was lost.
func (b *Broker) linkIdle(role string, lane int, err error) {
	b.config.logger.Debug("idle connection closed by the other side", "role", role, "lane", lane, "error", err)
	b.config.onLink(LinkChange{Role: role, Lane: lane, Err: err, Idle: true})
}

// corrupt reports a value that is not ours and is dropped.
func (b *Broker) corrupt(key string, err error) {
	b.stats.corrupt.Add(1)
	b.config.logger.Error("corrupt value dropped", "key", key, "error", err)
}
