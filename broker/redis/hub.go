package redis

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// A subject is what a connection subscribes to on the server.
type subject struct {
	kind subjectKind
	name string // with our prefix
}

type subjectKind uint8

const (
	channel subjectKind = iota
	pattern
	shardedChannel
)

// A listener gets what its subjects bring, from the goroutine of a feed.
type listener interface {
	message(s subject, channel, payload string)
	gap(s subject) // something may have been missed before this point
}

// A hub shares subscriptions among the connections of a broker: however many
// listen to a subject, the server is asked once. Classic subjects share one
// feed; sharded ones have a feed for each lane.
type hub struct {
	broker *Broker

	mu      sync.Mutex // guards the following, and the state of feeds and topics
	feeds   map[int]*feed
	topics  map[subject]*topic
	healers map[int]*healer           // by lane, those that are at work
	starts  map[int]map[string]*start // that are wanted, by lane and channel; of each lane that is being asked
	closed  bool

	quit   context.Context // of what asks the logs; ends with stop
	cancel context.CancelFunc
	asks   sync.WaitGroup // healers, and lanes that are asked for starts
}

// classicFeed is the key of the feed for classic subjects among the lanes.
const classicFeed = -1

// A topic is a subject with listeners, or one that had some until just now.
type topic struct {
	subject   subject
	feed      *feed
	listeners []listener // replaced, never changed
	state     topicState
	missed    bool // it was subscribed on a connection that was lost
	alone     bool // to be asked for in a command of its own
	refused   bool // the server did so when it was asked for again
	waiters   []chan error
	chain     *chain // of a channel whose events are kept, else nil
}

// A topicState is what the server knows, as far as we know.
type topicState uint8

const (
	unsubscribed topicState = iota
	subscribing
	subscribed
	leaving       // it has no listeners any more; the command is not sent yet
	unsubscribing // it is
)

func newHub(b *Broker) *hub {
	h := &hub{broker: b, feeds: map[int]*feed{}, topics: map[subject]*topic{}, healers: map[int]*healer{}, starts: map[int]map[string]*start{}}
	h.quit, h.cancel = context.WithCancel(background)
	return h
}

// subscribe adds l to the listeners of s and returns nil once the server has
// confirmed the subscription.
func (h *hub) subscribe(ctx context.Context, s subject, l listener) error {
	err := h.await(ctx, s, l)
	if err != nil {
		h.unsubscribe(s, l)
	}
	return err
}

// await is subscribe for one that may be among the listeners already, and that stays there
// if there is an error.
func (h *hub) await(ctx context.Context, s subject, l listener) error {
	wait, f, err := h.add(s, l)
	if err != nil || wait == nil {
		return err
	}
	f.flush()
	return awaitAnswer(ctx, wait)
}

func awaitAnswer(ctx context.Context, wait <-chan error) error {
	select {
	case err := <-wait:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add adds a listener. It returns nil if the subject is subscribed, else a
// channel that will tell, and the feed to flush.
func (h *hub) add(s subject, l listener) (<-chan error, *feed, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, err := h.topic(s)
	if err != nil {
		return nil, nil, err
	}
	wait := t.add(l)
	return wait, t.feed, nil
}

// topic returns the topic of s, made if it is not there. mu is held.
func (h *hub) topic(s subject) (*topic, error) {
	if h.closed {
		return nil, broker.ErrClosed
	}
	t := h.topics[s]
	if t == nil {
		t = &topic{subject: s, feed: h.feed(s)}
		h.topics[s] = t
	}
	if t.feed.refusing != nil {
		h.removeUnused(t)
		return nil, t.feed.refusal()
	}
	return t, nil
}

// add adds a listener. It returns nil if t is subscribed, else a channel that will tell:
// its feed is to be flushed. hub.mu is held.
func (t *topic) add(l listener) <-chan error {
	if !slices.Contains(t.listeners, l) {
		t.listeners = append(slices.Clip(t.listeners), l)
	}
	if t.state == subscribed {
		return nil
	}
	wait := make(chan error, 1)
	t.waiters = append(t.waiters, wait)
	t.feed.mark(t)
	return wait
}

// unsubscribe removes l from the listeners of s. The server is told, but not waited for:
// what it still sends for s is dropped.
func (h *hub) unsubscribe(s subject, l listener) {
	h.mu.Lock()
	t := h.topics[s]
	if t == nil {
		h.mu.Unlock()
		return
	}
	if i := slices.Index(t.listeners, l); i >= 0 {
		t.listeners = slices.Concat(t.listeners[:i], t.listeners[i+1:])
	}
	if len(t.listeners) == 0 && t.state == subscribed {
		// The next listener waits for a new subscription: it must not get what was
		// published before it came.
		t.leave()
	}
	h.removeUnused(t)
	h.mu.Unlock()
	t.feed.flush()
}

// leave has the server told that t is not wanted any more. hub.mu is held.
func (t *topic) leave() {
	t.state, t.chain = leaving, nil
	t.feed.mark(t)
}

// feed returns the feed of a subject, started when it is first needed. mu is
// held.
func (h *hub) feed(s subject) *feed {
	key := classicFeed
	if s.kind == shardedChannel {
		key = h.broker.keys.laneOfChannel(s.name)
	}
	f := h.feeds[key]
	if f == nil {
		f = newFeed(h, key)
		h.feeds[key] = f
		f.start()
	}
	return f
}

// removeUnused removes a topic that is not needed any more. mu is held.
func (h *hub) removeUnused(t *topic) {
	if len(t.listeners) == 0 && t.state == unsubscribed {
		delete(h.topics, t.subject)
	}
}

// confirmed handles the server's confirmation for a subject. It returns those to whom a
// gap must be told, and whether the server did this unasked.
func (h *hub) confirmed(f *feed, s subject, on bool) (gap []listener, unasked bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[s]
	if t == nil || t.feed != f {
		return nil, false
	}
	switch {
	case on && t.state == subscribing:
		t.state, t.alone, t.refused = subscribed, false, false
		t.tell(nil)
		if t.missed {
			gap = h.missed(t)
		}
		t.missed = false
	case !on && t.state == unsubscribing:
		t.state = unsubscribed
	case !on:
		return nil, true
	}
	switch {
	case t.state == subscribed && len(t.listeners) == 0:
		t.leave()
	case t.state == unsubscribed && len(t.listeners) > 0:
		f.mark(t)
	}
	h.removeUnused(t)
	return gap, false
}

// refused handles that the server refused to subscribe to subjects. When there are
// several, each is tried alone: one refused spoils a command. One that was subscribed
// before is tried again later, for its listeners rely on it.
func (h *hub) refused(f *feed, subjects []subject, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range subjects {
		t := h.topics[s]
		if t == nil || t.state != subscribing {
			continue
		}
		t.state = unsubscribed
		if len(subjects) > 1 {
			t.alone = true
			f.mark(t)
			continue
		}
		t.tell(fmt.Errorf("%w: %w", broker.ErrUnavailable, err))
		if t.missed {
			f.retries = append(f.retries, t)
			if !t.refused {
				t.refused = true
				h.broker.config.logger.Error("a subscription cannot be restored, and is tried again", "channel", s.name, "error", err)
			}
			continue
		}
		t.listeners = nil
		h.removeUnused(t)
	}
}

// tell tells those who wait the outcome. hub.mu is held.
func (t *topic) tell(err error) {
	for _, w := range t.waiters {
		w <- err
	}
	t.waiters = nil
}

// A loss is a subject of which events may have been missed, with the listeners that are
// to be told.
type loss struct {
	subject   subject
	listeners []listener
}

// listening returns the topics of a feed with the given property, but for those whose
// events are kept. mu is held.
func (h *hub) listening(f *feed, is func(*topic) bool) (losses []loss) {
	for _, t := range h.topics {
		if t.feed == f && t.chain == nil && len(t.listeners) > 0 && is(t) {
			losses = append(losses, loss{t.subject, t.listeners})
		}
	}
	return losses
}

// serves reports whether there is a topic of a feed. mu is held.
func (h *hub) serves(f *feed) bool {
	for _, t := range h.topics {
		if t.feed == f {
			return true
		}
	}
	return false
}

// tellGaps tells listeners that they may have missed something. It waits for
// those that are slow.
func (h *hub) tellGaps(losses []loss) {
	for _, l := range losses {
		h.tellGap(l.subject, l.listeners)
	}
}

func (h *hub) tellGap(s subject, listeners []listener) {
	for _, l := range listeners {
		h.broker.stats.gaps.Add(1)
		l.gap(s)
	}
}

// warnOfGaps has one line for all.
func (h *hub) warnOfGaps(subscriptions int, why string) {
	if subscriptions > 0 {
		h.broker.config.logger.Warn("events may have been missed: each subscription is told", "subscriptions", subscriptions, "reason", why)
	}
}

// suspectLostEvents notes that a master of the cluster was lost or replaced. A cluster
// passes events between its nodes after it has confirmed them: what that master had not
// passed on yet is lost for subscribers of classic channels at other nodes.
func (h *hub) suspectLostEvents() {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[classicFeed]
	if f != nil && h.broker.config.cluster {
		f.suspicion = "a master of the cluster was lost"
		f.wakeMonitor()
	}
}

// tellSuspicion tells the subscriptions of a feed of events that may have been lost.
func (h *hub) tellSuspicion(f *feed) {
	h.mu.Lock()
	if !f.moveOver.IsZero() && time.Now().After(f.moveOver) {
		f.moveOver = time.Time{}
		f.suspicion = "others may have published elsewhere for a while"
	}
	why := f.suspicion
	f.suspicion = ""
	if why == "" {
		h.mu.Unlock()
		return
	}
	losses := h.listening(f, func(t *topic) bool { return t.state == subscribed })
	h.doubt(func(t *topic) bool { return t.feed == f })
	h.mu.Unlock()
	h.warnOfGaps(len(losses), why)
	h.tellGaps(losses)
}

// listenersOf returns who listens to s, and whether its events are kept.
func (h *hub) listenersOf(s subject) (listeners []listener, kept bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[s]; t != nil && t.state == subscribed {
		return t.listeners, t.chain != nil
	}
	return nil, false
}

// stop ends all feeds. Nobody may listen any more.
func (h *hub) stop() {
	h.mu.Lock()
	h.closed = true
	h.cancel()
	feeds := make([]*feed, 0, len(h.feeds))
	for _, f := range h.feeds {
		feeds = append(feeds, f)
	}
	h.mu.Unlock()
	for _, f := range feeds {
		f.stop()
	}
	h.asks.Wait()
}
