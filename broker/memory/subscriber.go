package memory

import (
	"context"
	"errors"

	"github.com/juggler-go/juggler/broker"
)

// OpenSubscriber implements [broker.PubSub]. deliver must not wait.
func (b *Broker) OpenSubscriber(_ context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	if deliver == nil {
		return nil, errors.New("memory: open subscriber: deliver is nil")
	}
	t := &b.topics
	s := &subscriberConn{
		topics:   t,
		history:  &b.history,
		deliver:  deliver,
		exact:    make(map[string]struct{}),
		patterns: make(map[string]struct{}),
	}
	s.gate.init()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, broker.ErrClosed
	}
	t.subscribers[s] = struct{}{}
	return s, nil
}

// A subscriberConn is a set of topics.
type subscriberConn struct {
	topics  *topics
	history *history
	deliver func([]broker.Delivery)
	gate    gate // of deliver

	// The following is guarded by topics.mu.

	closed          bool
	exact, patterns map[string]struct{}
}

var _ broker.Immediate = (*subscriberConn)(nil)

// Immediate implements [broker.Immediate].
func (s *subscriberConn) Immediate() {}

// Subscribe implements [broker.SubscriberConn].
func (s *subscriberConn) Subscribe(_ context.Context, topic broker.Topic) error {
	if topic.Name == "" {
		return errEmptyName
	}
	s.topics.mu.Lock()
	defer s.topics.mu.Unlock()
	if s.closed {
		return broker.ErrClosed
	}
	if !s.has(topic) {
		s.topics.add(s, topic)
	}
	return nil
}

// Unsubscribe implements [broker.SubscriberConn].
func (s *subscriberConn) Unsubscribe(_ context.Context, topic broker.Topic) error {
	s.topics.mu.Lock()
	defer s.topics.mu.Unlock()
	switch {
	case s.closed:
		return broker.ErrClosed
	case !s.has(topic):
	case topic.Pattern:
		s.topics.removePattern(s, topic.Name)
	default:
		s.topics.removeExact(s, topic.Name)
	}
	return nil
}

// has reports whether topic is in the set. The caller holds topics.mu.
func (s *subscriberConn) has(topic broker.Topic) bool {
	set := s.exact
	if topic.Pattern {
		set = s.patterns
	}
	_, ok := set[topic.Name]
	return ok
}

// receive delivers a batch, unless the subscriber has closed. The caller holds
// no lock.
func (s *subscriberConn) receive(batch []broker.Delivery) {
	if s.gate.enter() {
		defer s.gate.leave()
		s.deliver(batch)
	}
}

// Close implements [broker.SubscriberConn].
func (s *subscriberConn) Close() error {
	s.leave()
	s.gate.close()
	s.topics.mu.Lock() // until now Broker.Close had to find it, to wait as well
	defer s.topics.mu.Unlock()
	delete(s.topics.subscribers, s)
	return nil
}

// leave removes all topics.
func (s *subscriberConn) leave() {
	t := s.topics
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	for channel := range s.exact {
		t.removeExact(s, channel)
	}
	for pattern := range s.patterns {
		t.removePattern(s, pattern)
	}
}
