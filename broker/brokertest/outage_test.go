package brokertest_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/brokertest"
)

// A cable is what a broker can lose: while it is cut, everything that goes
// through it fails.
type cable struct {
	brokertest.Roles
	failure error // of methods while it is cut
	gap     func(broker.Topic) broker.Delivery

	mu          sync.Mutex // guards the following
	cut         bool
	subscribers []*cableSubscriber
}

// outage cuts the cable; restoring it delivers the gaps.
func (c *cable) outage() (restore func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	return func() {
		c.mu.Lock()
		c.cut = false
		subscribers := slices.Clone(c.subscribers)
		c.mu.Unlock()
		for _, s := range subscribers {
			s.tellGaps()
		}
	}
}

func (c *cable) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return c.failure
	}
	return nil
}

func (c *cable) Publish(ctx context.Context, e *broker.Event) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.PubSub.Publish(ctx, e)
}

func (c *cable) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	conn, err := c.PubSub.OpenSubscriber(ctx, deliver)
	s := &cableSubscriber{SubscriberConn: conn, cable: c, deliver: deliver}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subscribers = append(c.subscribers, s)
	return s, err
}

func (c *cable) Register(ctx context.Context, table, name string, value []byte, life time.Duration) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.PubSub.(broker.Registry).Register(ctx, table, name, value, life)
}

func (c *cable) Unregister(ctx context.Context, table, name string) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.PubSub.(broker.Registry).Unregister(ctx, table, name)
}

func (c *cable) Registered(ctx context.Context, table string) ([]broker.Entry, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	return c.PubSub.(broker.Registry).Registered(ctx, table)
}

func (c *cable) OpenPresence(ctx context.Context, node broker.ID, changed func([]broker.HereChange)) (broker.PresenceConn, error) {
	conn, err := c.PubSub.(broker.Presence).OpenPresence(ctx, node, changed)
	return cablePresence{conn, c}, err
}

// A cablePresence writes while the cable is cut, which an engine does afterwards.
type cablePresence struct {
	broker.PresenceConn
	cable *cable
}

func (s cablePresence) ReadHere(ctx context.Context, channel string, most int) (broker.Here, error) {
	if err := s.cable.err(); err != nil {
		return broker.Here{}, err
	}
	return s.PresenceConn.ReadHere(ctx, channel, most)
}

func (s cablePresence) Put(channel string, users []broker.Member) {
	if s.cable.gap != nil || s.cable.err() == nil {
		s.PresenceConn.Put(channel, users)
	}
}

type cableSubscriber struct {
	broker.SubscriberConn
	cable   *cable
	deliver func([]broker.Delivery)

	mu     sync.Mutex // guards the following
	topics []broker.Topic
}

func (s *cableSubscriber) Subscribe(ctx context.Context, t broker.Topic) error {
	if err := s.cable.err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics = append(s.topics, t)
	return s.SubscriberConn.Subscribe(ctx, t)
}

func (s *cableSubscriber) Unsubscribe(ctx context.Context, t broker.Topic) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics = slices.DeleteFunc(s.topics, func(other broker.Topic) bool { return other == t })
	return s.SubscriberConn.Unsubscribe(ctx, t)
}

func (s *cableSubscriber) tellGaps() {
	if s.cable.gap == nil {
		return
	}
	s.mu.Lock()
	topics := slices.Clone(s.topics)
	s.mu.Unlock()
	for _, t := range topics {
		s.deliver([]broker.Delivery{s.cable.gap(t)})
	}
}

func (c *cable) OpenCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result)) (broker.CallerConn, error) {
	conn, err := c.Caller.OpenCaller(ctx, node, deliver)
	return cableCaller{conn, c}, err
}

func (c *cable) ReadQueues(ctx context.Context) ([]broker.Queue, bool, error) {
	if err := c.err(); err != nil {
		return nil, false, err
	}
	return c.Caller.(broker.QueueReader).ReadQueues(ctx)
}

func (c *cable) OpenKeyedCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part), news func([]broker.CallKey)) (broker.KeyedCallerConn, error) {
	conn, err := c.Caller.(broker.KeyedCaller).OpenKeyedCaller(ctx, node, deliver, parts, news)
	return cableKeyedCaller{conn, c}, err
}

type cableKeyedCaller struct {
	broker.KeyedCallerConn
	cable *cable
}

func (s cableKeyedCaller) Attach(ctx context.Context, a *broker.Attachment) error {
	if err := s.cable.err(); err != nil {
		return err
	}
	return s.KeyedCallerConn.Attach(ctx, a)
}

func (s cableKeyedCaller) ReadCalls(ctx context.Context, reads []broker.CallRead, records []broker.CallRecord) {
	if err := s.cable.err(); err != nil {
		for i := range records {
			records[i] = broker.CallRecord{Err: err}
		}
		return
	}
	s.KeyedCallerConn.ReadCalls(ctx, reads, records)
}

func (s cableKeyedCaller) Stop(ctx context.Context, uri string, key broker.CallKey) error {
	if err := s.cable.err(); err != nil {
		return err
	}
	return s.KeyedCallerConn.Stop(ctx, uri, key)
}

type cableCaller struct {
	broker.CallerConn
	cable *cable
}

func (s cableCaller) Call(ctx context.Context, c *broker.Call) error {
	if err := s.cable.err(); err != nil {
		return err
	}
	return s.CallerConn.Call(ctx, c)
}

func rightGap(t broker.Topic) broker.Delivery { return broker.Delivery{Topic: t, Gap: true} }

// An engine that can be cut off passes if it tells of that as it should, and
// only then.
func TestOutage(t *testing.T) {
	eventInGap := func(t broker.Topic) broker.Delivery {
		return broker.Delivery{Topic: t, Gap: true, Event: broker.Event{Channel: "c"}}
	}
	for _, e := range []struct {
		name    string
		failure error
		gap     func(broker.Topic) broker.Delivery
		caught  []string
	}{
		{"right", broker.ErrUnavailable, rightGap, nil},
		{"wrong error", errors.New("broken pipe"), rightGap, []string{"outage of calls", "outage of events", "outage of keyed calls", "outage of the registry", "outage of presence", "outage of queues"}},
		{"hides the outage", nil, rightGap, []string{"outage of calls", "outage of events", "outage of keyed calls", "outage of the registry", "outage of presence", "outage of queues"}},
		{"no gap", broker.ErrUnavailable, nil, []string{"gap", "outage of presence"}},
		{"event in gap", broker.ErrUnavailable, eventInGap, []string{"gap"}},
	} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range brokertest.OutageCases() {
				failures := brokertest.Examine(t, name, func(t *testing.T) brokertest.Engine {
					straight := engine(t, new(hooks))
					c := &cable{Roles: straight.Open(), failure: e.failure, gap: e.gap}
					straight.Open = func() brokertest.Roles {
						return brokertest.Roles{Caller: c, Callee: c.Callee, PubSub: c}
					}
					straight.Outage = c.outage
					if e.caught == nil {
						straight.Patience = 10 * time.Second
					}
					return straight
				}, true)
				if want := slices.Contains(e.caught, name); want != (len(failures) > 0) {
					t.Errorf("the case %q: caught: %v, want %v: %q", name, !want, want, failures)
				}
			}
		})
	}
}
