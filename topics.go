package juggler

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// topicTable holds the topics that the node is subscribed to on the broker: each once,
// however many shards and sessions share it.
//
// Lock order: a nodeTopic's mu, then the table's mu.
type topicTable struct {
	mu       sync.RWMutex // guards the following, and the users of each nodeTopic
	m        map[broker.Topic]*nodeTopic
	patterns int // in m
}

// nodeTopic is a topic that is subscribed to on the broker, or about to be.
type nodeTopic struct {
	name  broker.Topic
	chain *nodeChain // nil: its events are not kept; never changes
	users int32      // who holds or waits for it; at 0 it leaves the table

	refs       int32 // shards that hold it, and requests on their way there; guarded by mu
	subscribed bool  // the broker has confirmed it; guarded by mu

	rule uint16 // of WithPresence that it has, from 1; 0: none; never changes

	shards atomic.Uint64 // with sessions subscribed to it, or about to be, a bit each

	mu sync.Mutex // held while the broker is asked
}

// acquire takes a reference on the topic of a SUB; the first asks the broker
// to subscribe. On the turn, a topic that the shard holds needs no reference.
func (t *topicTable) acquire(ctx context.Context, r *Request) error {
	name := r.topic()
	h := r.s.shard.h
	if r.onTurn() {
		if lt := r.s.shard.topics[name]; lt != nil {
			r.join(ctx, lt.node)
			return nil
		}
	}
	nt := t.enter(h, name)
	if nt == nil {
		return manyPatterns()
	}
	if err := t.hold(ctx, h, nt, r); err != nil {
		t.leave(nt)
		return err
	}
	r.join(ctx, nt)
	return nil
}

// hold takes a reference for r on a topic that was entered.
func (t *topicTable) hold(ctx context.Context, h *Handler, nt *nodeTopic, r *Request) error {
	nt.mu.Lock()
	defer nt.mu.Unlock()
	if !nt.subscribed {
		if err := nt.subscribe(ctx, h); err != nil {
			return err
		}
		nt.subscribed = true
	}
	nt.refs++
	r.acquired = true
	if r.onTurn() {
		nt.shards.Or(1 << r.s.shard.number)
	} else {
		r.s.shard.routeUntilSettled(nt)
	}
	return nil
}

// subscribe asks the broker for the events of nt. The caller holds nt.mu.
func (nt *nodeTopic) subscribe(ctx context.Context, h *Handler) error {
	if nt.chain == nil {
		return h.broker.subscribe(ctx, nt.name)
	}
	nt.chain.reset()
	start, err := h.broker.subscribeKept(ctx, nt.name.Name)
	if err == nil {
		nt.chain.begin(start)
	}
	return err
}

// drop gives a reference back; the last one ends the subscription.
func (t *topicTable) drop(h *Handler, nt *nodeTopic) {
	nt.mu.Lock()
	nt.refs--
	last := nt.refs == 0
	nt.mu.Unlock()
	switch {
	case !last:
		t.leave(nt)
	case h.broker.topicsNeverWait:
		t.unsubscribe(h.ctx, h, nt)
	default:
		h.broker.askLater(func(ctx context.Context) { t.unsubscribe(ctx, h, nt) })
	}
}

// unsubscribe ends the subscription on the broker, unless the topic has a subscriber
// again.
func (t *topicTable) unsubscribe(ctx context.Context, h *Handler, nt *nodeTopic) {
	nt.mu.Lock()
	defer nt.mu.Unlock()
	if nt.refs == 0 && nt.subscribed {
		nt.subscribed = false
		if err := h.broker.subscriber.Unsubscribe(ctx, nt.name); err != nil && !h.closing.Load() {
			h.log.Warn("cannot unsubscribe", "channel", nt.name.Name, "pattern", nt.name.Pattern, "error", err)
		}
	}
	t.leave(nt)
}

// enter finds or makes a topic and keeps it in the table until leave. It returns nil for
// a pattern more than there may be.
func (t *topicTable) enter(h *Handler, name broker.Topic) *nodeTopic {
	t.mu.Lock()
	defer t.mu.Unlock()
	nt := t.m[name]
	if nt == nil {
		if name.Pattern && t.patterns >= h.cfg.maxNodePatterns {
			return nil
		}
		t.countPattern(name, 1)
		nt = &nodeTopic{name: name, rule: h.cfg.presenceRule(name)}
		if h.broker.keeps(name) {
			nt.chain = &nodeChain{}
		}
		t.m[name] = nt
	}
	nt.users++
	return nt
}

func (t *topicTable) leave(nt *nodeTopic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nt.users--; nt.users == 0 {
		delete(t.m, nt.name)
		t.countPattern(nt.name, -1)
	}
}

func (t *topicTable) countPattern(name broker.Topic, n int) {
	if name.Pattern {
		t.patterns += n
	}
}

// find returns a topic that is in use, or nil.
func (t *topicTable) find(name broker.Topic) *nodeTopic {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[name]
}

// localTopic is a topic with the sessions of one shard that are subscribed to
// it. It holds one reference on the node's.
type localTopic struct {
	node *nodeTopic
	subs []subscriber
}

// subscriber is a session in a localTopic; index is where its subs hold it.
type subscriber struct {
	s     *session
	index int32
	lags  bool // a replay is to catch up with the shard, which sends it no events until then
	here  bool // it is told who is there
	in    bool // it counts among those who are there
}

// subscription is a localTopic in a session's subs; index is where it holds
// the session.
type subscription struct {
	topic *localTopic
	index int32
	by    wantedBy
}

// wantedBy says who wants a subscription, a bit each. It lasts until nobody does.
type wantedBy uint8

const (
	byClient   wantedBy = 1 << iota // its SUB
	byCode                          // Session.Subscribe
	byIdentity                      // Identity.Channels

	byServer = byCode | byIdentity

	// told is nobody's wish: the client had SUBS, and will have UNSS when the subscription
	// ends, also where the server's wish has ended before the client's.
	told wantedBy = 1 << 3
)

// onlyClient reports whether nobody else wants the subscription.
func (by wantedBy) onlyClient() bool { return by&^told == byClient }

// topic returns what a SUB or UNSB names.
func (r *Request) topic() broker.Topic { return broker.Topic{Name: r.channel, Pattern: r.pattern} }

// subscribe adds a topic, whose reference r may hold, to the session's.
func (s *session) subscribe(r *Request) error {
	sh := s.shard
	name := r.topic()
	lt := sh.topics[name]
	at := -1
	if lt != nil {
		at = s.subscribedTo(lt)
	}
	err := s.maySubscribe(r, name, at)
	if err == nil && r.history != nil {
		err = r.history.err
	}
	if r.acquired {
		nt := sh.h.topics.find(name)
		if !r.onTurn() {
			sh.subSettled(nt)
		}
		if lt == nil && err != nil {
			sh.unroute(nt) // nobody is subscribed here
		}
		if lt != nil || err != nil {
			sh.h.topics.drop(sh.h, nt) // the shard has its own already
		}
	}
	if err != nil || at >= 0 {
		if err == nil && !r.replays {
			s.setWanted(at, s.subs[at].by|r.by)
		}
		s.joinAgain(r, lt, err)
		return err
	}
	if lt == nil {
		lt = &localTopic{node: sh.h.topics.find(name)}
		lt.node.shards.Or(1 << sh.number)
		sh.topics[name] = lt
	}
	lt.subs = append(lt.subs, subscriber{s: s, index: int32(len(s.subs))})
	sh.subsMu.Lock()
	s.subs = append(s.subs, subscription{lt, int32(len(lt.subs) - 1), r.by})
	sh.subsMu.Unlock()
	s.joined(r, lt)
	s.enterHere(lt, &lt.subs[len(lt.subs)-1])
	r.changed = true
	sh.h.stats.subscriptions.Add(1)
	return nil
}

// routeUntilSettled has the shard get the events of a topic until a SUB is settled,
// even if its last subscriber leaves meanwhile: what a session publishes behind its SUB
// may come before the SUB is settled.
func (sh *shard) routeUntilSettled(nt *nodeTopic) {
	sh.inFlightMu.Lock()
	defer sh.inFlightMu.Unlock()
	sh.inFlightSubs[nt]++
	nt.shards.Or(1 << sh.number)
}

// subSettled is called when a SUB is settled that routeUntilSettled was called for.
func (sh *shard) subSettled(nt *nodeTopic) {
	sh.inFlightMu.Lock()
	defer sh.inFlightMu.Unlock()
	if sh.inFlightSubs[nt]--; sh.inFlightSubs[nt] == 0 {
		delete(sh.inFlightSubs, nt)
	}
}

// unroute has the shard get no more events of a topic, unless a SUB is in flight.
func (sh *shard) unroute(nt *nodeTopic) {
	sh.inFlightMu.Lock()
	defer sh.inFlightMu.Unlock()
	if sh.inFlightSubs[nt] == 0 {
		nt.shards.And(^(uint64(1) << sh.number))
	}
}

// maySubscribe refuses what is not allowed any more, and a topic more than the limit allows.
// at is where the session's subs hold it, or -1.
func (s *session) maySubscribe(r *Request, name broker.Topic, at int) error {
	cfg := s.shard.h.cfg
	if s.state >= closing {
		return ErrSessionEnded // nobody is left to see it
	}
	switch {
	case r.by&byServer != 0:
		return r.err
	case r.replays:
		return s.mayReplay(at)
	case cfg.authorizer != nil && !r.allowed.sameRights(s.identity.Load()):
		return errSomebodyElse
	case !r.onTurn() && r.rights != s.queue.rights:
		return errRightsChanged
	case at >= 0:
		return nil
	case len(s.subs) >= cfg.maxSubscriptions && s.ofClient(false) >= cfg.maxSubscriptions:
		return tooMany(cfg.maxSubscriptions, "subscriptions")
	case name.Pattern && s.ofClient(true) >= cfg.maxPatterns:
		return tooMany(cfg.maxPatterns, "subscriptions to patterns")
	}
	return nil
}

// errSomebodyElse refuses a SUB that the authorizer has allowed to who the session was
// before an AUTH that overtook it, and errRightsChanged one that was overtaken by a change
// of rights.
var (
	errSomebodyElse  = &Error{Code: CodeUnavailable, Message: "the session has signed in as somebody else: subscribe again"}
	errRightsChanged = &Error{Code: CodeUnavailable, Message: "the rights of the session have changed: subscribe again"}
)

// ofClient returns how many of the session's topics, or of its patterns, only the client
// wants.
func (s *session) ofClient(patterns bool) (n int) {
	for i := range s.subs {
		if s.subs[i].by.onlyClient() && (!patterns || s.subs[i].topic.node.name.Pattern) {
			n++
		}
	}
	return n
}

func tooMany(most int, what string) error {
	return &Error{Code: CodeLimit, Message: "more than " + strconv.Itoa(most) + " " + what, RetryAfter: time.Second}
}

// subscribedTo returns where the session's subs hold lt, or -1.
func (s *session) subscribedTo(lt *localTopic) int {
	for i := range s.subs {
		if s.subs[i].topic == lt {
			return i
		}
	}
	return -1
}

// unsubscribe removes the topic of an UNSB, if the session has it and the server does not
// want it.
func (s *session) unsubscribe(r *Request) {
	if i := s.find(r.topic()); i >= 0 {
		r.by = s.subs[i].by
		r.changed = s.unwant(i, byClient)
	}
}

// find returns where the session's subs hold a topic, or -1.
func (s *session) find(t broker.Topic) int {
	if lt := s.shard.topics[t]; lt != nil {
		return s.subscribedTo(lt)
	}
	return -1
}

// unwant notes who does not want a subscription any more, and removes it if nobody does.
func (s *session) unwant(i int, by wantedBy) (removed bool) {
	if left := s.subs[i].by &^ by; left&^told != 0 {
		s.setWanted(i, left)
		return false
	}
	s.removeSubscription(i, false)
	return true
}

// setWanted notes who wants a subscription. Who is there is told for a SUB only.
func (s *session) setWanted(i int, by wantedBy) {
	if lt := s.subs[i].topic; by&byClient == 0 {
		s.stopHere(lt, &lt.subs[s.subs[i].index])
	}
	s.shard.subsMu.Lock()
	defer s.shard.subsMu.Unlock()
	s.subs[i].by = by
}

// removeSubscription takes the session out of a topic; with atOnce its user has no grace to
// come back in. Both lists close the hole with their last member, whose index at the other
// side moves with it.
func (s *session) removeSubscription(i int, atOnce bool) {
	sh := s.shard
	lt, at := s.subs[i].topic, s.subs[i].index
	if lt.subs[at].lags {
		sh.replayOf(s, lt).stop()
	}
	s.leaveHere(lt, &lt.subs[at], atOnce)
	sh.subsMu.Lock()
	last := lt.subs[len(lt.subs)-1]
	lt.subs[at] = last
	last.s.subs[last.index].index = at
	lt.subs[len(lt.subs)-1] = subscriber{}
	lt.subs = lt.subs[:len(lt.subs)-1]

	n := len(s.subs) - 1
	s.subs[i] = s.subs[n]
	if i != n {
		s.subs[i].topic.subs[s.subs[i].index].index = int32(i)
	}
	s.subs[n] = subscription{}
	s.subs = s.subs[:n]
	sh.subsMu.Unlock()

	sh.h.stats.subscriptions.Add(-1)
	if len(lt.subs) == 0 {
		sh.unroute(lt.node)
		delete(sh.topics, lt.node.name)
		sh.h.topics.drop(sh.h, lt.node)
	}
}

// tellSubscriptionsEnd has the hook told of what dropSubscriptions is going to remove.
func (s *session) tellSubscriptionsEnd() {
	f := s.shard.h.cfg.hooks.OnUnsubscribe
	if f == nil {
		return
	}
	for _, sub := range s.subs {
		t := sub.topic.node.name
		s.enqueueHook(func(ctx context.Context) { f(ctx, Session{s}, t, EndedBySession) })
	}
}

// dropSubscriptions removes those of a session that is gone.
func (s *session) dropSubscriptions() {
	for len(s.subs) > 0 {
		s.removeSubscription(len(s.subs)-1, false)
	}
	s.goneHere()
	s.shard.subsMu.Lock()
	defer s.shard.subsMu.Unlock()
	s.subs = nil
}
