package brokertest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
)

type wrongBroker struct {
	name   string
	caught []string
	bend   func(t *testing.T) *hooks
	opts   []memory.Option
}

// Brokers that are wrong on purpose, each in one thing, and the cases that
// find that out.
var wrong = []wrongBroker{
	{"drops every tenth event", []string{"order of events", "owner of an event", "many topics"}, func(*testing.T) *hooks {
		var n atomic.Int64
		return &hooks{deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
			if n.Add(1)%10 != 0 {
				next(batch)
			}
		}}
	}, nil},
	{"delivers events twice", []string{"event", "one delivery a topic", "subscribed twice", "concurrent events"}, func(*testing.T) *hooks {
		return &hooks{deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
			next(batch)
			next(batch)
		}}
	}, nil},
	{"swaps events", []string{"order of events", "order of publishers"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		var held *broker.Event
		return &hooks{publish: func(e *broker.Event, next func(*broker.Event) error) error {
			mu.Lock()
			defer mu.Unlock()
			if held == nil && string(e.Args) != "" {
				held = cloneEvent(e)
				return nil
			}
			err := next(e)
			if held != nil {
				next(held)
				held = nil
			}
			return err
		}}
	}, nil},
	{"delivers on many goroutines", []string{"order of events"}, func(t *testing.T) *hooks {
		var running sync.WaitGroup
		return &hooks{
			deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
				batch = cloneBatch(batch)
				running.Go(func() {
					time.Sleep(time.Duration(len(batch[0].Event.Args)%2) * 100 * time.Microsecond)
					next(batch)
				})
			},
			closeSubscriber: func(next func() error) error {
				running.Wait()
				return next()
			},
		}
	}, nil},
	{"keeps the slices of events", []string{"owner of an event"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		var held *broker.Event
		return &hooks{publish: func(e *broker.Event, next func(*broker.Event) error) error {
			mu.Lock()
			defer mu.Unlock()
			if held != nil {
				next(held)
			}
			kept := *e // with its slices
			if held = &kept; e.Channel == "brokertest.fence" {
				return next(e)
			}
			return nil
		}}
	}, nil},
	{"keeps the slices of calls", []string{"owner of a call"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		var held []func()
		return &hooks{
			call: func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error {
				mu.Lock()
				defer mu.Unlock()
				kept := *c // with its slices
				held = append(held, func() { next(context.Background(), &kept) })
				return nil
			},
			take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
				mu.Lock()
				for _, f := range held {
					f()
				}
				held = nil
				mu.Unlock()
				return c.Take(ctx, dst)
			},
		}
	}, nil},
	{"keeps the slices of results", []string{"owner of a result"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		var held [][]broker.Result
		return &hooks{reply: func(results []broker.Result, next func([]broker.Result) error) error {
			mu.Lock()
			defer mu.Unlock()
			held = append(held, slices.Clone(results)) // but not what they refer to
			if len(held) == 50 {
				for _, results := range held {
					next(results)
				}
			}
			return nil
		}}
	}, nil},
	{"reuses the slices of taken calls", []string{"owner of a taken call"}, func(*testing.T) *hooks {
		var buf [64]byte
		return &hooks{take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
			n, err := c.Take(ctx, dst)
			for i := range n {
				dst[i].Args = buf[:copy(buf[:], dst[i].Args)]
			}
			return n, err
		}}
	}, nil},
	{"runs calls twice", []string{"one callee each", "take fills", "order of calls", "concurrent batches"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		var last broker.Call
		n := 0
		return &hooks{take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
			mu.Lock()
			again := n == 1
			n++
			call := last
			mu.Unlock()
			if again {
				dst[0] = call
				return 1, nil
			}
			took, err := c.Take(ctx, dst)
			mu.Lock()
			defer mu.Unlock()
			if took > 0 {
				last = dst[0]
				last.Args = bytes.Clone(last.Args)
			}
			return took, err
		}}
	}, nil},
	{"takes more than there is room for", []string{"take fills"}, func(*testing.T) *hooks {
		return &hooks{take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
			n, err := c.Take(ctx, dst)
			return n + len(dst), err
		}}
	}, nil},
	{"ignores cancellations", []string{"cancel queued", "cancel taken"}, func(*testing.T) *hooks {
		return &hooks{cancel: func(string, broker.Address, func() error) error { return nil }}
	}, nil},
	{"refuses to cancel what it does not know", []string{"cancel nothing"}, func(*testing.T) *hooks {
		return &hooks{cancel: func(string, broker.Address, func() error) error { return broker.ErrNoCallee }}
	}, nil},
	{"tells of the wrong cancellation", []string{"cancel taken"}, func(*testing.T) *hooks {
		return &hooks{cancelled: func(to []broker.Address, next func([]broker.Address)) {
			next([]broker.Address{{Node: to[0].Node}})
		}}
	}, nil},
	{"waits in Cancel for the callback", []string{"immediate"}, func(*testing.T) *hooks {
		told := make(chan struct{})
		tell := sync.OnceFunc(func() { close(told) })
		return &hooks{
			cancelled: func(to []broker.Address, next func([]broker.Address)) {
				next(to)
				tell()
			},
			cancel: func(_ string, _ broker.Address, next func() error) error {
				defer func() { <-told }()
				return next()
			},
		}
	}, nil},
	{"does not say that it has ended", []string{"ended"}, func(*testing.T) *hooks {
		return &hooks{ended: func(<-chan struct{}) <-chan struct{} { return make(chan struct{}) }}
	}, nil},
	{"says too early that it has ended", []string{"ended"}, func(*testing.T) *hooks {
		ended := make(chan struct{})
		close(ended)
		return &hooks{ended: func(<-chan struct{}) <-chan struct{} { return ended }}
	}, nil},
	{"has no callee discovery", []string{"no callee", "grace"}, straight, []memory.Option{memory.WithoutCalleeDiscovery()}},
	{"has no grace", []string{"grace", "return in the grace"}, straight, []memory.Option{memory.WithCalleeGrace(0)}},
	{"never ends the grace", []string{"grace", "end of the grace"}, straight, []memory.Option{memory.WithCalleeGrace(time.Hour)}},
	{"leaves calls in the queue when the grace ends", []string{"end of the grace"}, func(*testing.T) *hooks {
		return &hooks{results: func(results []broker.Result, next func([]broker.Result)) {
			if results[0].Err != broker.ErrUnserved {
				next(results)
			}
		}}
	}, nil},
	{"answers calls when the grace ends and lets them be taken", []string{"end of the grace"}, refuseAfterGrace, []memory.Option{memory.WithCalleeGrace(time.Hour)}},
	{"does not see that a callee is back", []string{"return in the grace"}, refuseAfterGrace, nil},
	{"has a smaller queue than it says", []string{"queue full"}, straight, []memory.Option{memory.WithQueueCapacity(capacity - 1)}},
	{"has a larger queue than it says", []string{"queue full"}, straight, []memory.Option{memory.WithQueueCapacity(capacity + 1)}},
	{"does not say when to retry", []string{"queue full"}, func(*testing.T) *hooks {
		return &hooks{call: func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error {
			err := next(ctx, c)
			if errors.Is(err, broker.ErrQueueFull) {
				return broker.ErrQueueFull
			}
			return err
		}}
	}, nil},
	{"queues what it refuses", []string{"queue full"}, func(*testing.T) *hooks {
		n := 0
		return &hooks{call: func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error {
			if n++; n == capacity+1 {
				next(ctx, c)
				return broker.WithRetryAfter(broker.ErrQueueFull, time.Second)
			}
			return next(ctx, c)
		}}
	}, []memory.Option{memory.WithQueueCapacity(2 * capacity)}},
	{"forgets lost calls", []string{"callee lost"}, func(*testing.T) *hooks {
		return &hooks{results: func(results []broker.Result, next func([]broker.Result)) {
			if results[0].Err != broker.ErrCalleeLost {
				next(results)
			}
		}}
	}, nil},
	{"reports calls lost that were answered", []string{"callee lost", "call"}, func(*testing.T) *hooks {
		return &hooks{reply: func(results []broker.Result, next func([]broker.Result) error) error {
			lost := slices.Clone(results)
			for i := range lost {
				lost[i].Err = broker.ErrCalleeLost
			}
			return next(lost)
		}}
	}, nil},
	{"tells all nodes of all results", []string{"two nodes"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		var all []func([]broker.Result)
		return &hooks{openCaller: func(_ broker.ID, deliver func([]broker.Result)) func([]broker.Result) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, deliver)
			return func(results []broker.Result) {
				for _, deliver := range all {
					deliver(results)
				}
			}
		}}
	}, nil},
	{"refuses late results", []string{"late replies"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		answered := make(map[broker.Address]bool)
		return &hooks{reply: func(results []broker.Result, next func([]broker.Result) error) error {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range results {
				if answered[r.To] {
					return errors.New("answered before")
				}
				answered[r.To] = true
			}
			return next(results)
		}}
	}, nil},
	{"is deaf after a second result", []string{"batch of results"}, func(*testing.T) *hooks {
		return &hooks{reply: func(results []broker.Result, next func([]broker.Result) error) error {
			return next(results[:min(2, len(results))])
		}}
	}, nil},
	{"calls back after Close", []string{"close caller"}, func(*testing.T) *hooks {
		closings := 0
		var deliver func([]broker.Result)
		return &hooks{
			openCaller: func(_ broker.ID, next func([]broker.Result)) func([]broker.Result) {
				deliver = next
				return next
			},
			closeNode: func(next func() error) error {
				if closings++; closings > 1 {
					deliver(nil)
				}
				return next()
			},
		}
	}, nil},
	{"delivers after Close", []string{"close subscriber"}, func(t *testing.T) *hooks {
		var running sync.WaitGroup
		t.Cleanup(running.Wait)
		return &hooks{deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
			batch = cloneBatch(batch)
			running.Go(func() {
				time.Sleep(time.Millisecond)
				next(batch)
			})
		}}
	}, nil},
	{"does not wait in Close", []string{"close caller waits", "close callee waits", "close subscriber waits"}, func(t *testing.T) *hooks {
		var closing sync.WaitGroup
		t.Cleanup(closing.Wait)
		later := func(next func() error) error {
			closing.Go(func() { next() })
			return nil
		}
		return &hooks{closeNode: later, closeCallee: later, closeSubscriber: later}
	}, nil},
	{"closes only once", []string{"close caller", "call"}, func(*testing.T) *hooks {
		closed := false
		return &hooks{closeNode: func(next func() error) error {
			if closed {
				return broker.ErrClosed
			}
			closed = true
			next()
			return errors.New("not quite closed")
		}}
	}, nil},
	{"never closes callees", []string{"close callee", "close wakes take", "callee lost"}, func(*testing.T) *hooks {
		return &hooks{closeCallee: func(func() error) error { return nil }}
	}, nil},
	{"hangs in Close", []string{"close callee", "grace"}, func(t *testing.T) *hooks {
		released := make(chan struct{})
		t.Cleanup(func() { close(released) })
		return &hooks{closeCallee: func(next func() error) error {
			<-released
			return next()
		}}
	}, nil},
	{"has no subscription when Subscribe returns", []string{"confirmed"}, func(t *testing.T) *hooks {
		var running sync.WaitGroup
		t.Cleanup(running.Wait)
		return &hooks{subscribe: func(c broker.SubscriberConn, topic broker.Topic) error {
			running.Go(func() {
				time.Sleep(time.Millisecond)
				c.Subscribe(context.Background(), topic)
			})
			return nil
		}}
	}, nil},
	{"does not unsubscribe", []string{"unsubscribed", "subscribed twice", "exact and pattern"}, func(*testing.T) *hooks {
		return &hooks{unsubscribe: func(broker.SubscriberConn, broker.Topic) error { return nil }}
	}, nil},
	{"mixes exact and pattern", []string{"exact and pattern", "not subscribed"}, func(*testing.T) *hooks {
		return &hooks{unsubscribe: func(c broker.SubscriberConn, topic broker.Topic) error {
			c.Unsubscribe(context.Background(), topic)
			topic.Pattern = !topic.Pattern
			return c.Unsubscribe(context.Background(), topic)
		}}
	}, nil},
	{"counts subscriptions", []string{"subscribed twice"}, func(*testing.T) *hooks {
		count := make(map[broker.Topic]int)
		return &hooks{
			subscribe: func(c broker.SubscriberConn, topic broker.Topic) error {
				count[topic]++
				return c.Subscribe(context.Background(), topic)
			},
			unsubscribe: func(c broker.SubscriberConn, topic broker.Topic) error {
				if count[topic]--; count[topic] > 0 {
					return nil
				}
				return c.Unsubscribe(context.Background(), topic)
			},
		}
	}, nil},
	{"shares topics between subscribers", []string{"topics of others"}, func(*testing.T) *hooks {
		var all []broker.SubscriberConn
		return &hooks{
			subscribe: func(c broker.SubscriberConn, topic broker.Topic) error {
				all = append(all, c)
				return c.Subscribe(context.Background(), topic)
			},
			unsubscribe: func(_ broker.SubscriberConn, topic broker.Topic) error {
				for _, c := range all {
					c.Unsubscribe(context.Background(), topic)
				}
				return nil
			},
		}
	}, nil},
	{"negates with an exclamation mark", []string{"patterns", "odd patterns"}, func(*testing.T) *hooks {
		return &hooks{deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
			next(slices.DeleteFunc(cloneBatch(batch), func(d broker.Delivery) bool {
				return strings.ContainsAny(d.Topic.Name, "^!")
			}))
		}}
	}, nil},
	{"matches characters instead of bytes", []string{"patterns"}, func(*testing.T) *hooks {
		return &hooks{publish: func(e *broker.Event, next func(*broker.Event) error) error {
			latin := *e
			latin.Channel = strings.ReplaceAll(e.Channel, "ä", "a")
			return next(&latin)
		}}
	}, nil},
	{"takes its own channels for others", []string{"own channels"}, func(*testing.T) *hooks {
		return &hooks{publish: func(e *broker.Event, next func(*broker.Event) error) error {
			theirs := *e
			theirs.Channel, _ = broker.IsOwn(e.Channel)
			if theirs.Channel == "" {
				theirs.Channel = e.Channel
			}
			return next(&theirs)
		}}
	}, nil},
	{"shows its own channels to patterns", []string{"own channels and patterns"}, func(*testing.T) *hooks {
		return &hooks{deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
			next(batch)
			if d := batch[0]; strings.HasPrefix(d.Event.Channel, "\x00") {
				d.Topic = broker.Topic{Name: "*", Pattern: true}
				next([]broker.Delivery{d})
			}
		}}
	}, nil},
	{"mends invalid text", []string{"payloads"}, func(*testing.T) *hooks {
		return &hooks{take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
			n, err := c.Take(ctx, dst)
			for i := range n {
				dst[i].Args = bytes.ToValidUTF8(dst[i].Args, []byte("?"))
			}
			return n, err
		}}
	}, nil},
	{"cuts events at 64 KiB", []string{"event payloads"}, func(*testing.T) *hooks {
		return &hooks{publish: func(e *broker.Event, next func(*broker.Event) error) error {
			short := *e
			short.Args = e.Args[:min(len(e.Args), 64<<10)]
			return next(&short)
		}}
	}, nil},
	{"trims channel names", []string{"channel names"}, func(*testing.T) *hooks {
		return &hooks{publish: func(e *broker.Event, next func(*broker.Event) error) error {
			trimmed := *e
			trimmed.Channel = strings.TrimRight(e.Channel, "\x00")
			return next(&trimmed)
		}}
	}, nil},
	{"gives errors another text", []string{"error"}, func(*testing.T) *hooks {
		return &hooks{results: func(results []broker.Result, next func([]broker.Result)) {
			results = slices.Clone(results)
			for i := range results {
				if e := results[i].Err; e != nil {
					results[i].Err = &broker.Error{Code: e.Code, Message: "error: " + e.Message, Data: e.Data}
				}
			}
			next(results)
		}}
	}, nil},
	{"takes in spite of its context", []string{"take ends with its context"}, func(*testing.T) *hooks {
		return &hooks{take: func(c broker.CalleeConn, _ context.Context, dst []broker.Call) (int, error) {
			return c.Take(context.Background(), dst)
		}}
	}, nil},
	{"loses what a Take had when its context ends", []string{"take loses nothing"}, func(*testing.T) *hooks {
		return &hooks{take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
			n, err := c.Take(ctx, dst)
			if n > 0 && ctx.Err() == nil {
				if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < time.Millisecond {
					<-ctx.Done()
					return 0, ctx.Err()
				}
			}
			return n, err
		}}
	}, nil},
	{"takes the latest first", []string{"order of calls", "take fills"}, func(*testing.T) *hooks {
		return &hooks{take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
			n, err := c.Take(ctx, dst)
			slices.Reverse(dst[:n])
			return n, err
		}}
	}, nil},
	{"has a favourite callee", []string{"fair to callees"}, func(*testing.T) *hooks {
		var favourite atomic.Value
		return &hooks{take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
			if favourite.CompareAndSwap(nil, c); favourite.Load() == c {
				return c.Take(ctx, dst)
			}
			for {
				if err := ctx.Err(); err != nil {
					return 0, err
				}
				if err := c.Reply(ctx, nil); err != nil {
					return 0, err
				}
				time.Sleep(time.Millisecond)
			}
		}}
	}, nil},
	{"has a favourite URI", []string{"fair to URIs"}, func(*testing.T) *hooks {
		return &hooks{call: func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error {
			if c.URI == "quiet" {
				return nil
			}
			return next(ctx, c)
		}}
	}, nil},
	{"knows no time", []string{"expired", "time left", "queue full of expired calls"}, func(*testing.T) *hooks {
		return &hooks{
			call: func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error {
				endless := *c
				endless.Timeout = 1000 * time.Hour
				return next(ctx, &endless)
			},
			take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
				n, err := c.Take(ctx, dst)
				for i := range n {
					dst[i].Timeout = time.Hour
				}
				return n, err
			},
		}
	}, nil},
	{"takes only while a Take waits", []string{"announcement", "take fills"}, func(*testing.T) *hooks {
		var waiting atomic.Int64
		return &hooks{
			take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
				waiting.Add(1)
				defer waiting.Add(-1)
				return c.Take(ctx, dst)
			},
			call: func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error {
				if waiting.Load() == 0 {
					return broker.ErrNoCallee
				}
				return next(ctx, c)
			},
		}
	}, nil},
	{"refuses odd names", []string{"names"}, func(*testing.T) *hooks {
		return &hooks{call: func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error {
			if strings.ContainsAny(c.URI, " \x00") {
				return broker.ErrNoCallee
			}
			return next(ctx, c)
		}}
	}, nil},
	{"does not wait in Take", []string{"take waits"}, func(*testing.T) *hooks {
		return &hooks{take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Microsecond)
			defer cancel()
			n, _ := c.Take(ctx, dst)
			return n, nil
		}}
	}, nil},
	{"needs a callback for cancellations", []string{"cancel without callback"}, func(*testing.T) *hooks {
		return &hooks{openCallee: func(_ context.Context, hasCallback bool, next func() (broker.CalleeConn, error)) (broker.CalleeConn, error) {
			if !hasCallback {
				return nil, errors.New("no callback")
			}
			return next()
		}}
	}, nil},
	{"takes only while the context of the opening lasts", []string{"openings outlive their context"}, func(*testing.T) *hooks {
		var opening context.Context
		return &hooks{
			openCallee: func(ctx context.Context, _ bool, next func() (broker.CalleeConn, error)) (broker.CalleeConn, error) {
				opening = ctx
				return next()
			},
			take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
				if err := opening.Err(); err != nil {
					return 0, err
				}
				return c.Take(ctx, dst)
			},
		}
	}, nil},
	{"has no callee once one has closed", []string{"no grace needed"}, func(*testing.T) *hooks {
		var closed atomic.Bool
		return &hooks{
			closeCallee: func(next func() error) error {
				closed.Store(true)
				return next()
			},
			call: func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error {
				if closed.Load() {
					return broker.ErrNoCallee
				}
				return next(ctx, c)
			},
		}
	}, nil},
	{"cannot be called from callbacks", []string{"call in deliver", "reply in cancelled", "publish in deliver", "subscribe in deliver", "close in a callback"}, func(*testing.T) *hooks {
		var inside atomic.Int64
		enter := func() (leave func()) {
			inside.Add(1)
			return func() { inside.Add(-1) }
		}
		outside := func(next func() error) error {
			if inside.Load() > 0 {
				return errors.New("called from a callback")
			}
			return next()
		}
		return &hooks{
			results: func(results []broker.Result, next func([]broker.Result)) {
				defer enter()()
				next(results)
			},
			cancelled: func(to []broker.Address, next func([]broker.Address)) {
				defer enter()()
				next(to)
			},
			deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
				defer enter()()
				next(batch)
			},
			call: func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error {
				return outside(func() error { return next(ctx, c) })
			},
			reply: func(results []broker.Result, next func([]broker.Result) error) error {
				return outside(func() error { return next(results) })
			},
			publish: func(e *broker.Event, next func(*broker.Event) error) error {
				return outside(func() error { return next(e) })
			},
			subscribe: func(c broker.SubscriberConn, topic broker.Topic) error {
				return outside(func() error { return c.Subscribe(context.Background(), topic) })
			},
			closeNode: outside,
		}
	}, nil},
	{"has errors of its own for contexts", []string{"calls with an ended context", "events with an ended context"}, func(*testing.T) *hooks {
		own := func(ctx context.Context) error {
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			return nil
		}
		return &hooks{
			call: func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error {
				if err := own(ctx); err != nil {
					return err
				}
				return next(ctx, c)
			},
			beforePublish: own,
		}
	}, nil},
	{"reverses batches", []string{"batch of calls"}, func(*testing.T) *hooks {
		return &hooks{callBatch: func(calls []broker.Call, _ []error, next func()) {
			slices.Reverse(calls)
			next()
			slices.Reverse(calls)
		}}
	}, nil},
	{"hides errors of batches", []string{"batch of calls, some refused", "batch of calls, too many"}, func(*testing.T) *hooks {
		return &hooks{callBatch: func(_ []broker.Call, errs []error, next func()) {
			next()
			clear(errs)
		}}
	}, nil},
	{"drops the end of a batch", []string{"batch of events"}, func(*testing.T) *hooks {
		return &hooks{publishBatch: func(events []broker.Event, next func([]broker.Event)) {
			next(events[:len(events)-1])
		}}
	}, nil},
	{"gives up on long patterns", []string{"patterns that go back"}, func(*testing.T) *hooks {
		return &hooks{deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
			next(slices.DeleteFunc(cloneBatch(batch), func(d broker.Delivery) bool {
				return d.Topic.Pattern && len(d.Topic.Name) > 50
			}))
		}}
	}, nil},
	{"refuses events without subscription", []string{"nobody subscribed"}, func(*testing.T) *hooks {
		var delivered atomic.Int64
		return &hooks{
			deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
				delivered.Add(1)
				next(batch)
			},
			publish: func(e *broker.Event, next func(*broker.Event) error) error {
				before := delivered.Load()
				err := next(e)
				if delivered.Load() == before {
					return broker.ErrNoCallee
				}
				return err
			},
		}
	}, nil},
	{"delivers nothing", []string{"own events", "event payloads"}, func(*testing.T) *hooks {
		return &hooks{deliver: func([]broker.Delivery, func([]broker.Delivery)) {}}
	}, nil},
	{"drops events for slow subscribers", []string{"slow deliver"}, func(*testing.T) *hooks {
		queue := make(chan func(), 10)
		stop := sync.OnceFunc(func() { close(queue) })
		var running sync.WaitGroup
		running.Go(func() {
			for deliver := range queue {
				deliver()
			}
		})
		return &hooks{
			deliver: func(batch []broker.Delivery, next func([]broker.Delivery)) {
				batch = cloneBatch(batch)
				select {
				case queue <- func() { next(batch) }:
				default:
				}
			},
			closeSubscriber: func(next func() error) error {
				err := next()
				stop()
				running.Wait()
				return err
			},
		}
	}, nil},
	{"loses every fiftieth result", []string{"concurrent calls", "callees come and go", "close one of two callees"}, func(*testing.T) *hooks {
		var n atomic.Int64
		return &hooks{results: func(results []broker.Result, next func([]broker.Result)) {
			if n.Add(1)%50 != 0 {
				next(results)
			}
		}}
	}, nil},
	{"forgets every twentieth topic", []string{"topics of one connection", "many topics"}, func(*testing.T) *hooks {
		var n atomic.Int64
		return &hooks{subscribe: func(c broker.SubscriberConn, topic broker.Topic) error {
			if n.Add(1)%20 == 0 {
				return nil
			}
			return c.Subscribe(context.Background(), topic)
		}}
	}, nil},
}

func cloneEvent(e *broker.Event) *broker.Event {
	c := *e
	c.Headers, c.Args = bytes.Clone(e.Headers), bytes.Clone(e.Args)
	return &c
}

func cloneBatch(batch []broker.Delivery) []broker.Delivery {
	batch = slices.Clone(batch)
	for i := range batch {
		batch[i].Event = *cloneEvent(&batch[i].Event)
	}
	return batch
}

// refuseAfterGrace bends a broker so that calls to u and v are answered with 404 a
// grace after they were made, or after a callee has closed, whatever became of them.
func refuseAfterGrace(t *testing.T) *hooks {
	var mu sync.Mutex
	var made []broker.Address
	nodes := map[broker.ID]func([]broker.Result){}
	var timers sync.WaitGroup
	t.Cleanup(timers.Wait)
	refuse := func() {
		defer timers.Done()
		mu.Lock()
		defer mu.Unlock()
		for _, to := range made {
			nodes[to.Node]([]broker.Result{{To: to, Err: broker.ErrUnserved}})
		}
		made = nil
	}
	later := func() {
		timers.Add(1)
		time.AfterFunc(grace, refuse)
	}
	return &hooks{
		openCaller: func(node broker.ID, deliver func([]broker.Result)) func([]broker.Result) {
			mu.Lock()
			defer mu.Unlock()
			nodes[node] = deliver
			return deliver
		},
		call: func(ctx context.Context, c *broker.Call, next func(context.Context, *broker.Call) error) error {
			if c.URI != "w" && string(c.Args) != "to the next" {
				mu.Lock()
				made = append(made, c.ReplyTo)
				mu.Unlock()
				later()
			}
			return next(ctx, c)
		},
		closeCallee: func(next func() error) error {
			later()
			return next()
		},
	}
}
