package redis

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A feed is one pub-sub connection: a goroutine, from start to stop, that receives, and
// keeps the subscriptions as the hub wants them over lost connections. Others send
// commands on the connection meanwhile. Its monitor proves that events arrive.
type feed struct {
	hub    *hub
	lane   int // whose sharded channels it serves, or classicFeed
	prober *prober

	// Guarded by hub.mu.
	link         *conn.Link       // nil: not connected
	refusing     error            // why it is not connected
	dirty        []*topic         // whose state may differ from what is wanted
	retries      []*topic         // that become dirty at the next tick of the monitor
	flushing     bool             // a goroutine is sending commands
	pings        []pendingCommand // to be sent
	pending      []pendingCommand // commands that the server has not answered, in order
	pendingBytes int              // about how many bytes the answers to pending will have
	pinged       time.Time
	heard        time.Time
	busy         bool        // a message is being delivered: we do not read, so silence means nothing
	handing      *chain      // whose deliveries that message has brought, while it is busy
	cutBy        error       // the monitor cut the connection
	reported     bool        // that the connection is lost
	avoid        conn.Server // the last server through which events did not arrive
	lost         time.Time   // when subscriptions were lost that are not restored; zero: none
	suspicion    string      // why events may have been lost before they came to the server; "": they were not
	place        conn.Place  // where the connection led last
	idleChecked  time.Time   // when quiet chains were asked for last
	moveOver     time.Time   // when all publishers will publish at the new place; zero: they do

	wake    chan struct{}   // has an element to have the monitor run at once
	quit    context.Context // ends with stop
	cancel  context.CancelFunc
	stopped chan struct{}
}

// A pendingCommand is one without an answer, with the subjects that await confirmation.
type pendingCommand struct {
	kind     pendingKind
	subjects []subject
	left     int      // confirmations that have not come
	bytes    int      // of the answer, about
	overdue  []uint64 // probes that must have come before the answer to this ping
}

type pendingKind uint8

const (
	sentSubscribe pendingKind = iota
	sentUnsubscribe
	sentPing
)

// Bounds of what is asked for in one command and at once. What the server has to
// confirm is output to us, and it drops a subscriber with too much of that
// (client-output-buffer-limit pubsub): where there are many subscriptions to
// restore, they are asked for in portions.
const (
	subscribeBatch = 500
	subscribeBytes = 32 << 10
	subscribeAhead = 128 << 10

	// confirmationBytes is the size of a confirmation without its name.
	confirmationBytes = 40
)

func newFeed(h *hub, lane int) *feed {
	f := &feed{hub: h, lane: lane, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	f.prober = newProber(f)
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
		l.Cut()
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
		f.hub.broker.view.MarkStale()
		f.tellLost()
		if failures > 0 || !connected {
			conn.Sleep(f.quit, f.hub.broker.backoff.After(failures))
		}
		failures++
	}
}

// slot is the slot whose master the feed connects to. Classic channels reach every
// node of a cluster.
func (f *feed) slot() int {
	if f.lane == classicFeed {
		return conn.AnyMaster
	}
	return f.hub.broker.keys.slotOf(f.lane)
}

// connect connects, and asks for all subscriptions again.
func (f *feed) connect() (bool, error) {
	b := f.hub.broker
	l, err := b.view.Dial(f.quit, f.slot(), f.avoid, b.config.replyTimeout, f.wakeMonitor)
	if err != nil {
		return false, err
	}
	f.hub.mu.Lock()
	if f.quit.Err() != nil {
		f.hub.mu.Unlock()
		l.Close()
		return false, f.quit.Err()
	}
	f.link, f.refusing, f.reported = l, nil, false
	f.moved(l.Place())
	f.heard, f.pinged = time.Now(), time.Time{}
	f.dirty, f.retries, f.pings = nil, nil, nil
	f.prober.begin()
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

// moved notes the place where the connection leads now. Outside a cluster publishers are
// not told that a server which still takes their events has been replaced: they find out
// when they look. Events that they publish there until then are lost, so there is another
// gap when that is over. hub.mu is held.
func (f *feed) moved(to conn.Place) {
	c := &f.hub.broker.config
	if f.place != (conn.Place{}) && f.place != to && !c.cluster {
		f.moveOver = time.Now().Add(conn.LookInterval + c.replyTimeout)
	}
	f.place = to
}

// wakeMonitor has the monitor run at once. It does not wait.
func (f *feed) wakeMonitor() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// receive handles what the server sends until the connection fails.
func (f *feed) receive() error {
	f.hub.mu.Lock()
	l := f.link
	f.hub.mu.Unlock()
	l.WaitForever()
	w := newFeedMonitor(f)
	w.start()
	defer w.stop()
	for {
		r, err := l.Read()
		if err != nil {
			return err
		}
		f.hear(true)
		err = f.handle(&r)
		f.hear(false)
		if err != nil {
			return err
		}
	}
}

// hear notes that the server has sent something, and whether we are busy with it.
func (f *feed) hear(busy bool) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.heard, f.busy, f.handing = time.Now(), busy, nil
}

// errMoved: the slot of a lane has another master.
var errMoved = errors.New("the server ended a subscription: the slot has moved")

func (f *feed) handle(r *resp.Reply) error {
	switch {
	case r.Kind == '-':
		return f.refused(r.Err())
	case r.Kind == '+':
		return f.ponged()
	case r.Kind != '*' || len(r.List) < 2:
		return resp.ErrProtocol
	}
	name := func(i int) string { return string(r.List[min(i, len(r.List)-1)].Text) }
	switch kind := name(0); kind {
	case "message":
		f.message(subject{channel, name(1)}, name(1), name(2))
	case "smessage":
		f.message(subject{shardedChannel, name(1)}, name(1), name(2))
	case "pmessage":
		f.message(subject{pattern, name(1)}, name(2), name(3))
	case "pong":
		return f.ponged()
	default:
		s, on := confirmation(kind, name(1))
		return f.confirmed(s, on)
	}
	return nil
}

func (f *feed) message(s subject, name, payload string) {
	if s.name == f.prober.name {
		f.prober.arrived(payload)
		return
	}
	f.hub.broker.stats.events.Add(1)
	// The beginning of what is no event, such as the address of a cancelled call, may look
	// like that of a kept one.
	kept := s.kind != pattern && isKept(payload) && f.hub.broker.keys.isEventChannel(s.name)
	if !kept {
		var listeners []listener
		if listeners, kept = f.hub.listenersOf(s); !kept {
			for _, l := range listeners {
				l.message(s, name, payload)
			}
		}
	}
	if kept {
		f.keptMessage(s, payload)
	}
}

func confirmation(kind, name string) (s subject, on bool) {
	s.name = name
	switch kind {
	case "subscribe", "unsubscribe":
		s.kind = channel
	case "psubscribe", "punsubscribe":
		s.kind = pattern
	default:
		s.kind = shardedChannel
	}
	return s, kind == "subscribe" || kind == "psubscribe" || kind == "ssubscribe"
}

func (f *feed) confirmed(s subject, on bool) error {
	gap, unasked := f.hub.confirmed(f, s, on)
	if unasked {
		return errMoved
	}
	if s.name == f.prober.name {
		f.prober.confirmed()
	}
	if f.answered() {
		f.flush()
	}
	f.hub.tellGap(s, gap)
	return nil
}

// answered counts a confirmation of the oldest command, and reports whether there
// is room for more.
func (f *feed) answered() bool {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if len(f.pending) == 0 {
		return false
	}
	if f.pending[0].left--; f.pending[0].left <= 0 {
		f.pop()
	}
	return f.pendingBytes < subscribeAhead && len(f.dirty) > 0
}

// pop takes the command off that was answered. hub.mu is held.
func (f *feed) pop() (command pendingCommand) {
	if len(f.pending) > 0 {
		command, f.pending = f.pending[0], f.pending[1:]
		f.pendingBytes -= command.bytes
	}
	return command
}

// ponged handles the answer to a ping. A probe that was published long before the
// ping was sent would have come before: events do not reach this connection.
func (f *feed) ponged() error {
	f.hub.mu.Lock()
	f.pinged = time.Time{}
	command := f.pop()
	f.hub.mu.Unlock()
	if command.kind != sentPing {
		return resp.ErrProtocol
	}
	return f.prober.overdue(command.overdue)
}

// refused handles an error reply: it answers the oldest command.
func (f *feed) refused(err error) error {
	f.hub.mu.Lock()
	var oldest pendingKind
	if len(f.pending) > 0 {
		oldest = f.pending[0].kind
	}
	if oldest == sentPing { // a server that can't save refuses pings, and sends events
		f.hub.mu.Unlock()
		return f.ponged()
	}
	command := f.pop()
	f.hub.mu.Unlock()
	if resp.IsMisdirected(err) || oldest == sentUnsubscribe {
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
	if f.cutBy != nil {
		f.cutBy, err = nil, f.cutBy
	}
	idle := f.link != nil && conn.IsClosedByPeer(err) && !h.serves(f)
	lost := !idle && !f.reported
	f.reported = f.reported || lost
	f.refusing = notDone(err)
	l := f.link
	f.link, f.pending, f.pendingBytes, f.dirty, f.busy, f.handing, f.suspicion = nil, nil, 0, nil, false, nil, ""
	missed := 0
	for _, t := range h.topics {
		if t.feed != f {
			continue
		}
		if t.state == subscribed {
			t.missed = true
			if t.chain == nil {
				missed++
			}
		}
		t.state = unsubscribed
		t.tell(f.refusal())
		h.removeUnused(t)
	}
	if missed > 0 && f.lost.IsZero() {
		f.lost = time.Now()
	}
	h.mu.Unlock()
	if l != nil {
		l.Close()
	}
	switch {
	case f.quit.Err() != nil:
	case idle:
		h.broker.linkIdle("pubsub", f.lane, err)
	case lost:
		h.broker.linkDown("pubsub", f.lane, err)
		h.warnOfGaps(missed, err.Error())
	}
}

// tellLost tells those whose subscriptions have not been restored for a while
// that they miss events. They are told again when they are restored.
func (f *feed) tellLost() {
	h := f.hub
	h.mu.Lock()
	if f.lost.IsZero() || time.Since(f.lost) < h.broker.config.replyTimeout || f.quit.Err() != nil {
		h.mu.Unlock()
		return
	}
	f.lost = time.Time{}
	lost := h.listening(f, func(t *topic) bool { return t.missed && t.state != subscribed })
	h.mu.Unlock()
	h.tellGaps(lost)
}

// refusal is what new subscriptions get. hub.mu is held.
func (f *feed) refusal() error {
	if errors.Is(f.refusing, broker.ErrClosed) {
		return f.refusing
	}
	c := &f.hub.broker.config
	return broker.WithRetryAfter(f.refusing, c.backoffMin+conn.Jitter(c.backoffMax))
}

// mark notes that a topic's state may have to change. hub.mu is held.
func (f *feed) mark(t *topic) { f.dirty = append(f.dirty, t) }

// retry asks again for what was refused.
func (f *feed) retry() {
	f.hub.mu.Lock()
	f.dirty = append(f.dirty, f.retries...)
	f.retries = nil
	f.hub.mu.Unlock()
	f.flush()
}

// ping asks the server for a sign of life. What is overdue must have come before
// the answer. hub.mu is held; flush must follow.
func (f *feed) ping(overdue []uint64) {
	f.pings = append(f.pings, pendingCommand{kind: sentPing, overdue: overdue})
}

// flush sends commands until the server has been asked for what is wanted, or has so much
// to answer that the rest waits. If another goroutine is sending already, it sends these
// too: many changes at once share a command. So whoever is first lets those go first that
// are about to ask as well: clients come back many at a time.
func (f *feed) flush() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if f.flushing {
		return
	}
	f.flushing = true
	f.hub.mu.Unlock()
	runtime.Gosched()
	f.hub.mu.Lock()
	for f.link != nil {
		l := f.link
		commands := f.commands()
		if len(commands) == 0 {
			break
		}
		f.pending = append(f.pending, commands...)
		f.hub.mu.Unlock()
		err := f.send(l, commands)
		f.hub.mu.Lock()
		if err != nil && f.link == l {
			l.Cut() // the receiver notices, and all starts anew
			break
		}
	}
	f.flushing = false
}

// commands takes pings, and dirty topics as long as there is room, and returns
// the commands for them. hub.mu is held.
func (f *feed) commands() []pendingCommand {
	commands := f.pings
	f.pings = nil
	for _, c := range commands {
		if f.pinged.IsZero() && c.kind == sentPing {
			f.pinged = time.Now()
		}
	}
	byKind := map[commandKind]int{} // -> the command that is being filled
	done := 0
	for ; done < len(f.dirty) && f.pendingBytes < subscribeAhead; done++ {
		t := f.dirty[done]
		kind := sentSubscribe
		switch {
		case len(t.listeners) > 0 && t.state == unsubscribed && t.placed():
			t.state = subscribing
		case t.state == leaving:
			t.state, kind = unsubscribing, sentUnsubscribe
		default:
			continue // as wanted, or on its way: looked at again then
		}
		k := commandKind{t.subject.kind, kind}
		i, open := byKind[k]
		if !open || t.alone || len(commands[i].subjects) == subscribeBatch || commands[i].bytes > subscribeBytes {
			i = len(commands)
			commands = append(commands, pendingCommand{kind: kind})
			if !t.alone {
				byKind[k] = i
			}
		}
		c := &commands[i]
		c.subjects = append(c.subjects, t.subject)
		c.left++
		bytes := confirmationBytes + len(t.subject.name)
		c.bytes += bytes
		f.pendingBytes += bytes
	}
	f.dirty = f.dirty[done:]
	return commands
}

type commandKind struct {
	kind subjectKind
	sent pendingKind
}

// send writes commands. Only the goroutine that has set flushing may call it.
func (f *feed) send(l *conn.Link, commands []pendingCommand) error {
	words := make([]*resp.Command, len(commands))
	for i := range commands {
		words[i] = commands[i].command()
	}
	l.Encode(words)
	return l.Flush()
}

// subscribeCommands are the names of the commands, by kind of subject.
var subscribeCommands = map[commandKind]string{
	{channel, sentSubscribe}:          "SUBSCRIBE",
	{channel, sentUnsubscribe}:        "UNSUBSCRIBE",
	{pattern, sentSubscribe}:          "PSUBSCRIBE",
	{pattern, sentUnsubscribe}:        "PUNSUBSCRIBE",
	{shardedChannel, sentSubscribe}:   "SSUBSCRIBE",
	{shardedChannel, sentUnsubscribe}: "SUNSUBSCRIBE",
}

func (s *pendingCommand) command() *resp.Command {
	if s.kind == sentPing {
		return resp.NewCommand("PING")
	}
	c := resp.NewCommand(subscribeCommands[commandKind{s.subjects[0].kind, s.kind}])
	for _, subject := range s.subjects {
		c.AddText(subject.name)
	}
	return c
}
