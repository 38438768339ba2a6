package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/juggler-go/juggler/broker"
	goredis "github.com/redis/go-redis/v9"
)

// A feed is one pub-sub connection: a goroutine, from start to stop, that
// receives, and keeps the subscriptions as the hub wants them over lost
// connections. Others send commands on the connection meanwhile.
type feed struct {
	hub  *hub
	lane int // whose sharded channels it serves, or classicFeed

	// Guarded by hub.mu.
	pubsub   *goredis.PubSub // nil: not connected
	link     *link
	refusing error    // why it is not connected
	dirty    []*topic // whose state may differ from what is wanted
	later    []*topic // that become dirty with the next beat of the watch
	flushing bool     // somebody is sending commands
	sent     []sent   // commands that the server has not answered, in order
	heard    time.Time
	busy     bool // a message is being handed over: silence is our own fault
	silent   bool // the watch cut the connection

	quit    context.Context // ends with stop
	cancel  context.CancelFunc
	stopped chan struct{}
}

// A sent is a command on its way, with the subjects that await confirmation.
type sent struct {
	on       bool
	subjects []subject
	left     int
}

// subscribeBatch is the number of subjects in one command.
const subscribeBatch = 500

func newFeed(h *hub, lane int) *feed {
	f := &feed{hub: h, lane: lane, stopped: make(chan struct{})}
	f.quit, f.cancel = context.WithCancel(background)
	return f
}

func (f *feed) start() { go f.run() }

func (f *feed) stop() {
	f.cancel()
	f.hub.mu.Lock()
	l := f.link
	f.hub.mu.Unlock()
	if l != nil {
		l.cut()
	}
	<-f.stopped
}

func (f *feed) run() {
	defer close(f.stopped)
	for failures := 0; f.quit.Err() == nil; {
		connected, err := f.connect()
		if connected {
			began := time.Now()
			err = f.receive()
			if time.Since(began) > f.hub.broker.config.backoffMax {
				failures = 0 // else it may be of no use although it can be made
			}
		}
		f.disconnected(err)
		f.hub.broker.topology.stale()
		if failures > 0 || !connected {
			t := time.NewTimer(f.hub.broker.backoff(failures))
			select {
			case <-t.C:
			case <-f.quit.Done():
				t.Stop()
			}
		}
		failures++
	}
}

// connect connects to the master of the lane, or to any for classic subjects,
// which reach every node, and asks for all subscriptions again.
func (f *feed) connect() (bool, error) {
	b := f.hub.broker
	index := f.lane
	if index == classicFeed {
		index = rand.IntN(len(b.keys.tags))
	}
	timeout := b.config.replyTimeout
	ctx, cancel := context.WithTimeout(f.quit, timeout)
	defer cancel()
	options, err := b.topology.master(ctx, b.keys.slotOf(index))
	if err != nil {
		return false, err
	}
	l, err := newLink(f.quit, options, timeout)
	if err != nil {
		return false, err
	}
	defer context.AfterFunc(f.quit, l.cut)()
	ps := l.client.Subscribe(background)
	if err := ping(ps, timeout); err != nil {
		ps.Close() //nolint:errcheck // it failed already
		l.close()
		return false, err
	}
	f.hub.mu.Lock()
	if f.quit.Err() != nil {
		f.hub.mu.Unlock()
		ps.Close() //nolint:errcheck // nothing can be done about it
		l.close()
		return false, f.quit.Err()
	}
	f.pubsub, f.link, f.refusing = ps, l, nil
	f.heard = time.Now()
	f.dirty, f.later = nil, nil
	for _, t := range f.hub.topics {
		if t.feed == f && len(t.listeners) > 0 {
			f.dirty = append(f.dirty, t)
		}
	}
	f.hub.mu.Unlock()
	b.linkUp("pubsub", f.lane)
	f.flush()
	return true, nil
}

func ping(ps *goredis.PubSub, timeout time.Duration) error {
	if err := ps.Ping(background); err != nil {
		return err
	}
	_, err := ps.ReceiveTimeout(background, timeout)
	return err
}

// receive handles what the server sends until the connection fails. It uses
// Receive, not Channel, which drops messages when its reader is slow.
func (f *feed) receive() error {
	f.hub.mu.Lock()
	ps := f.pubsub
	f.hub.mu.Unlock()
	w := newWatch(f, ps)
	w.start()
	defer w.stop()
	for {
		reply, err := ps.Receive(background)
		f.hear(true)
		if err != nil && !isServerError(err) {
			return err
		}
		if err == nil {
			err = f.handle(reply)
		} else {
			err = f.refused(err)
		}
		f.hear(false)
		if err != nil {
			return err
		}
	}
}

// hear notes that the server was heard, and whether we are busy with it.
func (f *feed) hear(busy bool) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.heard, f.busy = time.Now(), busy
}

// errMoved: the slot of a lane has another master.
var errMoved = errors.New("the server ended a subscription: the slot has moved")

func (f *feed) handle(reply any) error {
	switch r := reply.(type) {
	case *goredis.Message:
		s := subject{channel, r.Channel}
		if r.Pattern != "" {
			s = subject{pattern, r.Pattern}
		} else if f.lane != classicFeed {
			s.kind = shardedChannel
		}
		for _, l := range f.hub.listenersOf(s) {
			l.message(s, r.Channel, r.Payload)
		}
	case *goredis.Subscription:
		s, on := confirmation(r)
		gap, unasked := f.hub.confirmed(f, s, on)
		if unasked {
			return errMoved
		}
		f.answered()
		for _, l := range gap {
			f.hub.broker.stats.gaps.Add(1)
			l.gap(s)
		}
		f.flush()
	}
	return nil
}

func confirmation(r *goredis.Subscription) (s subject, on bool) {
	s.name = r.Channel
	switch r.Kind {
	case "subscribe", "unsubscribe":
		s.kind = channel
	case "psubscribe", "punsubscribe":
		s.kind = pattern
	default:
		s.kind = shardedChannel
	}
	return s, r.Kind == "subscribe" || r.Kind == "psubscribe" || r.Kind == "ssubscribe"
}

// answered counts a confirmation of the oldest command.
func (f *feed) answered() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if len(f.sent) == 0 {
		return
	}
	if f.sent[0].left--; f.sent[0].left == 0 {
		f.sent = f.sent[1:]
	}
}

// refused handles an error reply: it answers the oldest command.
func (f *feed) refused(err error) error {
	f.hub.mu.Lock()
	var command sent
	if len(f.sent) > 0 {
		command, f.sent = f.sent[0], f.sent[1:]
	}
	f.hub.mu.Unlock()
	if isElsewhere(err) || !command.on {
		return err
	}
	f.hub.refused(f, command.subjects, err)
	f.flush()
	return nil
}

// disconnected refuses new subscriptions, and those that wait, until the
// connection is there again.
func (f *feed) disconnected(err error) {
	if f.quit.Err() != nil {
		err = broker.ErrClosed
	}
	h := f.hub
	h.mu.Lock()
	if f.silent {
		f.silent, err = false, fmt.Errorf("no reply for %v", f.patience())
	}
	first := f.refusing == nil
	f.refusing = unavailable(err)
	ps, l := f.pubsub, f.link
	f.pubsub, f.link, f.sent, f.dirty, f.busy = nil, nil, nil, nil, false
	for _, t := range h.topics {
		if t.feed != f {
			continue
		}
		t.missed = t.missed || t.state == subscribed
		t.state = unsubscribed
		t.tell(f.refusal())
		h.forget(t)
	}
	h.mu.Unlock()
	if l != nil {
		ps.Close() //nolint:errcheck // it failed already
		l.close()
	}
	if first && f.quit.Err() == nil {
		h.broker.linkDown("pubsub", f.lane, err)
	}
}

// refusal is what new subscriptions get. hub.mu is held.
func (f *feed) refusal() error {
	if errors.Is(f.refusing, broker.ErrClosed) {
		return f.refusing
	}
	c := &f.hub.broker.config
	return broker.WithRetryAfter(f.refusing, c.backoffMin+jitter(c.backoffMax))
}

// mark notes that a topic's state may have to change. hub.mu is held.
func (f *feed) mark(t *topic) { f.dirty = append(f.dirty, t) }

// retry asks again for what was refused.
func (f *feed) retry() {
	f.hub.mu.Lock()
	f.dirty = append(f.dirty, f.later...)
	f.later = nil
	f.hub.mu.Unlock()
	f.flush()
}

// flush sends commands until the server has been asked for what is wanted.
// When somebody else is at it already, that one sends these too: many changes
// at once share a command.
func (f *feed) flush() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if f.flushing {
		return
	}
	f.flushing = true
	for len(f.dirty) > 0 && f.pubsub != nil {
		ps := f.pubsub
		for _, command := range f.commands() {
			f.sent = append(f.sent, command)
			f.hub.mu.Unlock()
			err := send(ps, command)
			f.hub.mu.Lock()
			if err != nil || f.pubsub != ps {
				break // the receiver notices, and all starts anew
			}
		}
	}
	f.flushing = false
}

// commands takes the dirty topics and returns the commands for them. hub.mu is
// held.
func (f *feed) commands() []sent {
	var commands []sent
	byKind := map[commandKind]int{} // -> the command that is being filled
	for _, t := range f.dirty {
		on := len(t.listeners) > 0
		switch {
		case on && t.state == unsubscribed:
			t.state = subscribing
		case t.state == leaving:
			t.state, on = unsubscribing, false
		default:
			continue // as wanted, or on its way: looked at again then
		}
		k := commandKind{t.subject.kind, on}
		i, open := byKind[k]
		if !open || t.alone || len(commands[i].subjects) == subscribeBatch {
			i = len(commands)
			commands = append(commands, sent{on: on})
			if !t.alone {
				byKind[k] = i
			}
		}
		commands[i].subjects = append(commands[i].subjects, t.subject)
		commands[i].left++
	}
	f.dirty = nil
	return commands
}

type commandKind struct {
	kind subjectKind
	on   bool
}

func send(ps *goredis.PubSub, s sent) error {
	names := make([]string, len(s.subjects))
	for i := range s.subjects {
		names[i] = s.subjects[i].name
	}
	var do func(context.Context, ...string) error
	switch s.subjects[0].kind {
	case channel:
		do = ps.Unsubscribe
		if s.on {
			do = ps.Subscribe
		}
	case pattern:
		do = ps.PUnsubscribe
		if s.on {
			do = ps.PSubscribe
		}
	case shardedChannel:
		do = ps.SUnsubscribe
		if s.on {
			do = ps.SSubscribe
		}
	}
	if err := do(background, names...); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}
