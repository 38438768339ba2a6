package redis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/chanlock"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A lane is what this process has for one of the keyspace's lanes: a writer and a
// heartbeat loop for all connections of the broker.
type lane struct {
	broker    *Broker
	index     int
	slot      int // of the hash tag
	writer    writer
	heart     *heartbeatLoop
	outbox    *outbox
	stateLoss stateLoss
	confirmed confirmed

	mu         sync.Mutex // guards the following
	heartbeats map[*heartbeat]struct{}

	// Of the writer.

	rules   *resp.Command // that the last announcements had; or nil
	batcher batcher
}

// A heartbeat renews the lease of a node or callee of this lane.
type heartbeat struct {
	// make returns commands, and what to do once all are done; that must not
	// wait, and is not called for the announcement that goes first on a new
	// connection.
	make func(first bool) (commands []*resp.Command, replied func())

	aside   chanlock.Lock   // during one on a connection of its own
	removed context.Context // ends with removeHeartbeat
	remove  context.CancelFunc

	failed atomic.Pointer[error] // the last time; nil: it was accepted
	unwell atomic.Pointer[error] // as health said since the last that was accepted
}

func newHeartbeat(commands func(first bool) ([]*resp.Command, func())) *heartbeat {
	b := &heartbeat{make: commands, aside: chanlock.New()}
	b.removed, b.remove = context.WithCancel(background)
	return b
}

// health returns err if there is one, else the last error that it returned since the last
// heartbeat that succeeded: an outage has moments without an error.
func (b *heartbeat) health(err error) error {
	if err == nil {
		err = b.refusal()
	}
	if err != nil {
		b.unwell.Store(&err)
	} else if before := b.unwell.Load(); before != nil {
		err = *before
	}
	return err
}

// accepted notes that the server has accepted the heartbeat.
func (b *heartbeat) accepted() {
	b.failed.Store(nil)
	b.unwell.Store(nil)
}

// refusal returns why the last heartbeat failed, or nil.
func (b *heartbeat) refusal() error {
	if err := b.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func newLane(b *Broker, index int) *lane {
	l := &lane{
		broker:     b,
		index:      index,
		slot:       b.keys.slotOf(index),
		heartbeats: map[*heartbeat]struct{}{},
	}
	l.batcher.lane = l
	l.confirmed.most = mostConfirmed / len(b.keys.tags)
	l.writer = newWriter(l)
	l.heart = newHeartbeatLoop(l)
	l.outbox = newOutbox(l)
	return l
}

func (l *lane) start() {
	l.writer.Start()
	l.heart.start()
}

// stop ends those first that use the writer.
func (l *lane) stop() {
	l.outbox.stop()
	l.heart.stop()
	l.writer.Stop()
}

// dial connects to the lane's master, unless ctx ends before. retired is called
// when the link has to be replaced; it may be nil.
func (l *lane) dial(ctx context.Context, timeout time.Duration, retired func()) (*conn.Link, error) {
	return l.broker.view.Dial(ctx, l.slot, conn.Server{}, timeout, retired)
}

// newRedialer returns a connection to the lane's server for one goroutine.
func (l *lane) newRedialer(role string) *conn.Redialer {
	b := l.broker
	return conn.NewRedialer(b.view, l.slot, b.config.replyTimeout, b.backoff, conn.Observer{
		Up:   func() { b.linkUp(role, l.index) },
		Down: func(err error) { b.linkDown(role, l.index, err) },
		Idle: func(err error) { b.linkIdle(role, l.index, err) },
		Refused: func(err error) {
			b.config.logger.Error("the server refused a command, which is tried again", "role", role, "lane", l.index, "error", err)
		},
	})
}

// doAll runs commands that go out together, and reports whether the server has done
// each.
func (l *lane) doAll(ctx context.Context, commands []*resp.Command) bool {
	w := newWaiter(len(commands))
	ops := make([]*op, len(commands))
	for i, c := range commands {
		ops[i] = &op{command: c, waiter: w}
	}
	l.writer.Submit(ops...)
	if w.wait(ctx) != nil {
		return false
	}
	for _, o := range ops {
		if o.err != nil {
			return false
		}
	}
	return true
}

func (l *lane) addHeartbeat(b *heartbeat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heartbeats[b] = struct{}{}
}

func (l *lane) removeHeartbeat(b *heartbeat) {
	l.mu.Lock()
	delete(l.heartbeats, b)
	l.mu.Unlock()
	b.remove()
	b.aside.Lock() // until it is over, if it has been sent
	defer b.aside.Unlock()
}

// submitHeartbeat submits the ops of a heartbeat, unless that has been removed. So what
// is submitted after removeHeartbeat has returned comes after them, and no lease is
// renewed of one that has left.
func (l *lane) submitHeartbeat(b *heartbeat, ops []*op) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, current := l.heartbeats[b]
	if current {
		l.writer.Submit(ops...)
	}
	return current
}

// announceAside sends a heartbeat over a connection of its own, unless it has been
// removed. Errors do not matter, because the writer has the same commands.
func (l *lane) announceAside(b *heartbeat) {
	b.aside.Lock()
	defer b.aside.Unlock()
	l.mu.Lock()
	_, current := l.heartbeats[b]
	l.mu.Unlock()
	if !current {
		return
	}
	link, err := l.dial(b.removed, l.broker.config.replyTimeout, nil)
	if err != nil {
		return
	}
	defer link.Close()
	commands, replied := b.make(false)
	if link.Run(commands...) != nil {
		return
	}
	for _, c := range commands {
		if c.Reply.Err() != nil {
			return
		}
	}
	replied()
}

func (l *lane) currentHeartbeats() []*heartbeat {
	l.mu.Lock()
	defer l.mu.Unlock()
	beats := make([]*heartbeat, 0, len(l.heartbeats))
	for b := range l.heartbeats {
		beats = append(beats, b)
	}
	return beats
}

// announcements are the commands of all heartbeats, and that of the rules of history if
// any are known, for a new connection, which leads there.
func (l *lane) announcements(place conn.Place) []*resp.Command {
	l.confirmed.linked(place)
	var commands []*resp.Command
	if l.rules = l.broker.settleRules(l.index); l.rules != nil {
		commands = append(commands, l.rules)
	}
	for _, b := range l.currentHeartbeats() {
		more, _ := b.make(true)
		commands = append(commands, more...)
	}
	return commands
}

// greeted reads what the announcements brought. Both run on the writer's goroutine.
func (l *lane) greeted() {
	if l.rules != nil {
		l.broker.settledRules(l.index, l.rules.Reply)
	}
}

// announceNow has all heartbeats sent at once, and kept results retried.
func (l *lane) announceNow() {
	select {
	case l.heart.now <- struct{}{}:
	default:
	}
	l.outbox.retryNow()
}

// refused logs that the server refused a command that nobody waits for. Where there is no
// reply the writer reports the lost connection.
func (l *lane) refused(purpose string, r resp.Reply) {
	if r.Kind == '-' {
		l.broker.config.logger.Error("the server refused a command", "purpose", purpose, "lane", l.index, "error", r.Err())
	}
}
