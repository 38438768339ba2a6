package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/worker"
)

// Config is what a [Member] is made of.
type Config struct {
	Node     string
	PubSub   broker.PubSub
	Registry broker.Registry
	Lease    time.Duration // for how long the node counts as there
	Timeout  time.Duration // of the broker

	// Describe says how the node is; what is about the broker is left out.
	Describe func() Info

	// Do does what was asked for, and returns with how many sessions it had to do.
	Do func(ctx context.Context, c *Command) (sessions int, err error)

	// Waits reports whether Do may run user code, which may wait: such commands hold up no
	// others.
	Waits func(Op) bool

	// Revoked ends the sessions of users whose credentials were issued up to a time, in µs
	// since 1970, and returns how many they were.
	Revoked func(user string, before int64) int

	Running *sync.WaitGroup // counts goroutines
	Log     *slog.Logger
}

// A Member is a node: it is in the table of nodes while it lives, does what it is asked for,
// and knows what is revoked.
type Member struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	conn   broker.SubscriberConn // nil: not open
	wake   chan struct{}
	ended  chan struct{} // closed when beat runs no more

	revoked revocations
	reading sync.Mutex // held while the table of revocations is read and taken over

	quick, answers worker.Backlog

	mu   sync.Mutex // guards what follows
	slow map[Op]*worker.Backlog
	done map[string]*reply // to the askings that came lately; nil: under way
	ring []string          // of them, the newest last
}

// maxWaiting is how many commands may wait to be done, and how many askings are remembered.
// More are dropped: who asks sends them again.
const maxWaiting = 1024

// NewMember returns a member that is not open.
func NewMember(cfg Config) *Member {
	m := &Member{cfg: cfg, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		slow: make(map[Op]*worker.Backlog), done: make(map[string]*reply)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.quick.Running, m.answers.Running = cfg.Running, cfg.Running
	return m
}

// Open begins to take commands, registers the node and reads what is revoked. That the last
// two fail is no error: they are tried again.
func (m *Member) Open(ctx context.Context) error {
	conn, err := m.cfg.PubSub.OpenSubscriber(ctx, m.deliver)
	if err != nil {
		return err
	}
	if err := conn.Subscribe(ctx, broker.Topic{Name: control}); err != nil {
		return errors.Join(err, conn.Close())
	}
	m.conn = conn
	m.beat(ctx)
	m.cfg.Running.Go(m.beatOn) // ends with Close
	return nil
}

// Close has the node leave: it does nothing any more, and says so.
func (m *Member) Close(ctx context.Context) error {
	m.cancel()
	if m.conn == nil {
		return nil
	}
	<-m.ended
	err := m.conn.Close()
	if e := m.cfg.Registry.Unregister(ctx, nodesTable, m.cfg.Node); e != nil {
		m.cfg.Log.Warn("cannot leave the table of nodes: it says for a while that this one is there", "error", e)
	}
	// Without it, who asks right now would wait for an answer until the lease is over.
	_ = m.cfg.PubSub.Publish(ctx, event(control, Command{Op: bye, Node: m.cfg.Node, V: version}))
	return err
}

// Renew has the node registered anew soon, and what is revoked read.
func (m *Member) Renew() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// beatOn registers the node, and reads what is revoked, four times in a lease.
func (m *Member) beatOn() {
	defer close(m.ended)
	tick := time.NewTicker(m.cfg.Lease / 4)
	defer tick.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
		case <-m.wake:
		}
		m.beat(m.ctx)
	}
}

// beat registers the node and reads what is revoked.
func (m *Member) beat(ctx context.Context) {
	// Each has its own time: one that hangs is not to keep the other one from being done.
	bounded := func(f func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, min(m.cfg.Timeout, m.cfg.Lease/4))
		defer cancel()
		return f(ctx)
	}
	err := bounded(func(ctx context.Context) error {
		info := m.cfg.Describe()
		return m.cfg.Registry.Register(ctx, nodesTable, m.cfg.Node, info.entry(), m.cfg.Lease)
	})
	if err != nil && m.ctx.Err() == nil {
		m.cfg.Log.Warn("cannot enter the table of nodes: commands to all nodes may miss this one", "error", err)
	}
	err = bounded(func(ctx context.Context) error {
		_, err := m.readRevoked(ctx)
		return err
	})
	if err != nil && m.ctx.Err() == nil {
		m.cfg.Log.Warn("cannot read what is revoked: without it, users whose credentials say when they were issued are refused", "error", err)
	}
}

// readRevoked reads what is revoked, and ends the sessions that are.
func (m *Member) readRevoked(ctx context.Context) (sessions int, err error) {
	m.reading.Lock()
	defer m.reading.Unlock()
	start := time.Now()
	entries, err := m.cfg.Registry.Registered(ctx, revokedTable)
	if err != nil {
		return 0, err
	}
	news, lost := m.revoked.merge(entries, start)
	for user, before := range news {
		sessions += m.cfg.Revoked(user, before)
	}
	for _, l := range lost {
		if err := m.cfg.Registry.Register(ctx, revokedTable, revokedName(l.user, l.before), nil, l.left); err != nil {
			return sessions, fmt.Errorf("writing again what the table has lost: %w", err)
		}
	}
	return sessions, nil
}

// revoke takes over one revocation, without the table: that is long where many are revoked,
// and all nodes would read it each time. It ends the sessions that it concerns.
func (m *Member) revoke(c *Command) (sessions int) {
	m.reading.Lock()
	defer m.reading.Unlock()
	if user := string(c.User); m.revoked.learn(user, c.Before, c.Life) {
		return m.cfg.Revoked(user, c.Before)
	}
	return 0
}

// Refuses reports whether what was issued to a user at a time, in µs since 1970, is revoked.
// known is false where that cannot be told, as the table was not read for a lease.
func (m *Member) Refuses(user string, issued int64) (refuses, known bool) {
	if m.revoked.refuses(user, issued) {
		return true, true
	}
	return false, m.KnowsRevoked()
}

// KnowsRevoked reports whether the table of revocations was read within the lease.
func (m *Member) KnowsRevoked() bool {
	age, ok := m.revoked.age()
	return ok && age <= m.cfg.Lease
}

// deliver takes commands from the broker, on any goroutine.
func (m *Member) deliver(deliveries []broker.Delivery) {
	for i := range deliveries {
		d := &deliveries[i]
		if d.Gap {
			m.Renew() // a revocation may have been missed
			continue
		}
		c := new(Command)
		if err := json.Unmarshal(d.Event.Args, c); err != nil || c.V != version {
			m.cfg.Log.Warn("a command to all nodes that cannot be read is ignored", "error", err)
			continue
		}
		if c.Op != bye && (len(c.To) == 0 || slices.Contains(c.To, m.cfg.Node)) {
			m.take(c)
		}
	}
}

// take has a command done, once, however often it comes.
func (m *Member) take(c *Command) {
	m.mu.Lock()
	defer m.mu.Unlock()
	queue := m.queue(c.Op)
	answer, known := m.done[c.Ask]
	switch {
	case known && answer == nil: // under way
	case m.answers.Len() >= maxWaiting || queue.Len() >= maxWaiting:
	case known:
		m.answers.Do(func() { m.answer(c.From, answer) })
	default:
		m.remember(c.Ask)
		queue.Do(func() { m.do(c) })
	}
}

// queue returns where commands wait: those that may run user code among their like. mu is
// held.
func (m *Member) queue(op Op) *worker.Backlog {
	if !m.cfg.Waits(op) {
		return &m.quick
	}
	queue := m.slow[op]
	if queue == nil {
		queue = &worker.Backlog{Running: m.cfg.Running}
		m.slow[op] = queue
	}
	return queue
}

// remember notes an asking, and forgets the oldest. mu is held.
func (m *Member) remember(ask string) {
	if len(m.ring) == maxWaiting {
		delete(m.done, m.ring[0])
		m.ring = slices.Delete(m.ring, 0, 1)
	}
	m.ring = append(m.ring, ask)
	m.done[ask] = nil
}

// do does what a command says, and has it answered.
func (m *Member) do(c *Command) {
	r := &reply{Ask: c.Ask, Node: m.cfg.Node, Error: "the code of the node failed", V: version}
	defer func() { // also if user code ends the goroutine
		m.mu.Lock()
		if _, ok := m.done[c.Ask]; ok {
			m.done[c.Ask] = r
		}
		m.mu.Unlock()
		m.answers.Do(func() { m.answer(c.From, r) })
	}()
	var err error
	if c.Op == revoke {
		r.Sessions = m.revoke(c)
	} else {
		r.Sessions, err = m.cfg.Do(m.ctx, c)
	}
	r.Error = ""
	if err != nil {
		r.Error = err.Error()
	}
	m.log(c, r)
}

// log says what was done, and for whom.
func (m *Member) log(c *Command, r *reply) {
	attrs := []any{"operation", string(c.Op), "asker", c.From, "sessions", r.Sessions}
	if len(c.User) > 0 {
		attrs = append(attrs, "user", string(c.User))
	}
	if c.Session != "" {
		attrs = append(attrs, "session", c.Session)
	}
	if r.Error != "" {
		m.cfg.Log.Warn("cannot do what all nodes were asked for", append(attrs, "reason", r.Error)...)
		return
	}
	m.cfg.Log.Info("did what all nodes were asked for", attrs...)
}

// answer tells who has asked.
func (m *Member) answer(to string, r *reply) {
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.Timeout)
	defer cancel()
	if err := m.cfg.PubSub.Publish(ctx, event(replies(to), r)); err != nil && m.ctx.Err() == nil {
		m.cfg.Log.Warn("cannot answer who has asked all nodes for something", "asker", to, "error", err)
	}
}
