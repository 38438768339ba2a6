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

// A lane is what this process does with one of the keyspace's lanes: one
// writer and one pulse for all connections of the broker.
type lane struct {
	broker *Broker
	index  int
	slot   int // of the hash tag
	writer *writer
	pulse  *pulse
	outbox *outbox
	doubt  doubt

	mu    sync.Mutex // guards the following
	beats map[*beat]struct{}

	batch batcher // of the writer's goroutine
}

// A beat announces, again and again, that a node or callee of this lane lives.
type beat struct {
	// make returns commands, and what to do once all are done; that must not
	// wait, and is not called for the announcement that goes first on a new
	// connection.
	make func(first bool) (commands []*resp.Command, replied func())

	onDetour chanlock.Lock // during one

	failed atomic.Pointer[error] // the last time; nil: it was accepted
	unwell atomic.Pointer[error] // as health said since the last that was accepted
}

func newBeat(commands func(first bool) ([]*resp.Command, func())) *beat {
	return &beat{make: commands, onDetour: chanlock.New()}
}

// health returns err, if it is one, or else why those who are announced were not well
// and have not been announced since: an outage has moments without an error.
func (b *beat) health(err error) error {
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

// accepted takes note that the server accepts the announcement.
func (b *beat) accepted() {
	b.failed.Store(nil)
	b.unwell.Store(nil)
}

// refusal returns why the last announcement failed, if it did.
func (b *beat) refusal() error {
	if err := b.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func newLane(b *Broker, index int) *lane {
	l := &lane{
		broker: b,
		index:  index,
		slot:   b.keys.slotOf(index),
		beats:  map[*beat]struct{}{},
	}
	l.batch.lane = l
	l.writer = newWriter(l)
	l.pulse = newPulse(l)
	l.outbox = newOutbox(l)
	return l
}

func (l *lane) start() {
	l.writer.start()
	l.pulse.start()
}

// stop ends those first that use the writer.
func (l *lane) stop() {
	l.outbox.stop()
	l.pulse.stop()
	l.writer.stop()
}

// dial connects to the lane's master, unless ctx ends before. retired is called
// when the link has to be replaced; it may be nil.
func (l *lane) dial(ctx context.Context, timeout time.Duration, retired func()) (*conn.Link, error) {
	return l.broker.view.Dial(ctx, l.slot, conn.Server{}, timeout, retired)
}

// doAll runs commands that go out together, and reports whether the server has done
// each.
func (l *lane) doAll(ctx context.Context, commands []*resp.Command) bool {
	w := newWaiter(len(commands))
	ops := make([]*op, len(commands))
	for i, c := range commands {
		ops[i] = &op{command: c, waiter: w}
	}
	l.writer.submit(ops...)
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

func (l *lane) addBeat(b *beat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beats[b] = struct{}{}
}

func (l *lane) removeBeat(b *beat) {
	l.mu.Lock()
	delete(l.beats, b)
	l.mu.Unlock()
	b.onDetour.Lock() // until it is over
	defer b.onDetour.Unlock()
}

// submitBeat submits the ops of a beat, unless that has been removed: what is
// submitted after removeBeat has returned comes after the beat's commands, and
// nobody is announced who has left.
func (l *lane) submitBeat(b *beat, ops []*op) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, current := l.beats[b]
	if current {
		l.writer.submit(ops...)
	}
	return current
}

// detour runs the commands of a beat over a connection of its own, unless the
// beat has been removed. If that fails the writer's is the one that counts.
func (l *lane) detour(b *beat) {
	b.onDetour.Lock()
	defer b.onDetour.Unlock()
	l.mu.Lock()
	_, current := l.beats[b]
	l.mu.Unlock()
	if !current {
		return
	}
	link, err := l.dial(background, l.broker.config.replyTimeout, nil)
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

func (l *lane) currentBeats() []*beat {
	l.mu.Lock()
	defer l.mu.Unlock()
	beats := make([]*beat, 0, len(l.beats))
	for b := range l.beats {
		beats = append(beats, b)
	}
	return beats
}

// announcements are the commands of all beats, for a new connection.
func (l *lane) announcements() []*resp.Command {
	var commands []*resp.Command
	for _, b := range l.currentBeats() {
		more, _ := b.make(true)
		commands = append(commands, more...)
	}
	return commands
}

// kick has those that live here announced at once, and results tried again.
func (l *lane) kick() {
	select {
	case l.pulse.now <- struct{}{}:
	default:
	}
	l.outbox.kick()
}

// refused reports that the server refused what nobody waits for. Where it did not
// reply there is an outage, which the writer reports.
func (l *lane) refused(purpose string, r resp.Reply) {
	if r.Kind == '-' {
		l.broker.config.logger.Error("the server refused a command", "purpose", purpose, "lane", l.index, "error", r.Err())
	}
}
