package redis_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/waiting"
	goredis "github.com/redis/go-redis/v9"
)

const patience = waiting.Most

// await waits until ok returns true.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	waiting.Until(t, what, ok)
}

// A load makes calls and answers them while something breaks, and keeps book:
// what each call was told, how often it ran and what came back.
type load struct {
	t      testing.TB
	node   broker.ID
	caller broker.CallerConn
	callee broker.CalleeConn

	mu    sync.Mutex // guards the following
	calls map[uint64]*record

	serial  atomic.Uint64
	stop    chan struct{}
	running sync.WaitGroup
}

// A record is what is known of one call.
type record struct {
	begun   time.Time
	err     error // of Call
	took    time.Duration
	runs    int
	results []broker.Result
}

const (
	loadURI     = "load"
	loadTimeout = 5 * time.Second
)

// startLoad opens a node and a callee, by brokers of their own, and lets
// callers call until finish.
func startLoad(t testing.TB, caller, callee *redis.Broker, callers int) *load {
	t.Helper()
	l := &load{t: t, node: broker.ID{'l', 'o', 'a', 'd'}, calls: map[uint64]*record{}, stop: make(chan struct{})}
	insist(t, func() (err error) {
		l.callee, err = callee.OpenCallee(t.Context(), []string{loadURI}, func([]broker.Address) {})
		return err
	})
	insist(t, func() (err error) {
		l.caller, err = caller.OpenCaller(t.Context(), l.node, l.deliver)
		return err
	})
	t.Cleanup(func() {
		l.caller.Close()
		l.callee.Close()
	})
	go l.serve() // ends with Close of the callee
	for range callers {
		l.running.Go(l.call)
	}
	return l
}

// insist calls f until it does not fail for a server that seems not to reply, as one does
// on a busy machine to a broker that is made impatient.
func insist(t testing.TB, f func() error) {
	t.Helper()
	await(t, "the server replies in time", func() bool {
		err := f()
		if err != nil && !errors.Is(err, broker.ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func (l *load) deliver(results []broker.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range results {
		rec := l.calls[binary.BigEndian.Uint64(r.To.Ref[:])]
		rec.results = append(rec.results, broker.Result{To: r.To, Args: []byte(string(r.Args)), Err: r.Err})
	}
}

func (l *load) serve() {
	dst := make([]broker.Call, 16)
	for {
		n, err := l.callee.Take(context.Background(), dst)
		if errors.Is(err, broker.ErrClosed) {
			return
		}
		results := make([]broker.Result, n)
		l.mu.Lock()
		for i, c := range dst[:n] {
			l.calls[binary.BigEndian.Uint64(c.ReplyTo.Ref[:])].runs++
			results[i] = broker.Result{To: c.ReplyTo, Args: c.Args}
		}
		l.mu.Unlock()
		go l.callee.Reply(context.Background(), results) // ends by the calls' deadline
	}
}

// call makes calls, one at a time, as fast as their acknowledgements come.
func (l *load) call() {
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		if l.one() != nil {
			<-time.After(10 * time.Millisecond)
		}
	}
}

func (l *load) one() error {
	id := l.serial.Add(1)
	rec := &record{begun: time.Now()}
	l.mu.Lock()
	l.calls[id] = rec
	l.mu.Unlock()
	c := broker.Call{URI: loadURI, ReplyTo: broker.Address{Node: l.node}, Timeout: loadTimeout, Args: fmt.Append(nil, id)}
	binary.BigEndian.PutUint64(c.ReplyTo.Ref[:], id)
	err := l.caller.Call(context.Background(), &c)
	l.mu.Lock()
	rec.err, rec.took = err, time.Since(rec.begun)
	l.mu.Unlock()
	return err
}

// answered counts the calls with a result.
func (l *load) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, rec := range l.calls {
		if len(rec.results) > 0 {
			n++
		}
	}
	return n
}

// failed counts the calls that were refused as err.
func (l *load) failed(err error) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, rec := range l.calls {
		if errors.Is(rec.err, err) {
			n++
		}
	}
	return n
}

// flows waits until calls made from now on are answered.
func (l *load) flows() {
	l.t.Helper()
	before := l.answered()
	await(l.t, "calls are answered", func() bool { return l.answered() >= before+50 })
}

// finish stops the callers, waits for what is under way, and checks the books.
// lossy says that a result may have been lost, so that the call ends in 408.
func (l *load) finish(lossy bool) {
	l.t.Helper()
	close(l.stop)
	l.running.Wait()
	await(l.t, "all acknowledged calls have their outcome", func() bool { return l.pending(lossy) == 0 })
	l.mu.Lock()
	defer l.mu.Unlock()
	var acknowledged, unknown, refused, lost, silent, unheard int
	var slowest time.Duration
	for id, rec := range l.calls {
		slowest = max(slowest, rec.took)
		if rec.runs > 1 {
			l.t.Errorf("call %d ran %d times", id, rec.runs)
		}
		for _, r := range rec.results {
			if r.Err == nil && string(r.Args) != fmt.Sprint(id) {
				l.t.Errorf("call %d was answered with %q", id, r.Args)
			}
			if r.Err != nil && r.Err.Code != broker.CodeCalleeLost {
				l.t.Errorf("call %d was answered with %v", id, r.Err)
			}
		}
		switch {
		case rec.err == nil:
			acknowledged++
		case errors.Is(rec.err, broker.ErrUnknownOutcome):
			unknown++
		case errors.Is(rec.err, broker.ErrUnavailable), errors.Is(rec.err, broker.ErrQueueFull), errors.Is(rec.err, broker.ErrNoCallee):
			refused++
			if rec.runs > 0 || len(rec.results) > 0 {
				l.t.Errorf("call %d was refused (%v) and ran %d times", id, rec.err, rec.runs)
			}
		default:
			l.t.Errorf("Call: %v", rec.err)
		}
		if rec.err == nil && len(rec.results) == 0 {
			silent++
			if rec.runs > 0 {
				unheard++
			}
		}
		if len(rec.results) > 0 && rec.results[0].Err != nil {
			lost++
		}
	}
	l.t.Logf("%d acknowledged, %d of unknown outcome, %d refused; 502: %d, 408: %d (%d of them ran); slowest Call %v", acknowledged, unknown, refused, lost, silent, unheard, slowest)
}

// pending counts the acknowledged calls without a result; lossy: only those
// whose time is not over.
func (l *load) pending(lossy bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, rec := range l.calls {
		over := lossy && time.Since(rec.begun) > loadTimeout+time.Second
		if rec.err == nil && len(rec.results) == 0 && !over {
			n++
		}
	}
	return n
}

// wantExpiry checks that each key of a prefix expires.
func wantExpiry(t testing.TB, c goredis.UniversalClient, prefix string) {
	t.Helper()
	for _, key := range keysOf(t, c, prefix) {
		ttl, err := c.PTTL(context.Background(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		if ttl == -1 { // go-redis hands -1 (no expiry) and -2 (no key) through
			t.Errorf("key %s does not expire", key)
		}
	}
}

// keysOf returns the keys that begin with prefix.
func keysOf(t testing.TB, c goredis.UniversalClient, prefix string) []string {
	t.Helper()
	var keys []string
	scan := func(ctx context.Context, c *goredis.Client) error {
		found, err := c.Keys(ctx, prefix+":*").Result()
		keys = append(keys, found...)
		return err
	}
	var err error
	switch c := c.(type) {
	case *goredis.ClusterClient:
		var mu sync.Mutex
		err = c.ForEachMaster(context.Background(), func(ctx context.Context, c *goredis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			return scan(ctx, c)
		})
	case *goredis.Client:
		err = scan(context.Background(), c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// A listener notes what one subscription gets.
type listener struct {
	conn broker.SubscriberConn

	mu     sync.Mutex // guards the following
	events []string   // the arguments; "gap" for a gap
}

func listen(t testing.TB, b *redis.Broker, topics ...broker.Topic) *listener {
	t.Helper()
	l := &listener{}
	var err error
	l.conn, err = b.OpenSubscriber(t.Context(), func(batch []broker.Delivery) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, d := range batch {
			if d.Gap {
				l.events = append(l.events, "gap")
			} else {
				l.events = append(l.events, string(d.Event.Args))
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.conn.Close() })
	for _, topic := range topics {
		insist(t, func() error { return l.conn.Subscribe(t.Context(), topic) })
	}
	return l
}

// hears publishes until the listener hears something new.
func (l *listener) hears(t testing.TB, publisher *redis.Broker, channel string) {
	t.Helper()
	before := len(l.got())
	await(t, "events arrive", func() bool {
		publisher.Publish(context.Background(), &broker.Event{Channel: channel, Args: []byte("hello")}) //nolint:errcheck // tried again
		return strings.Contains(l.got()[before:], "hello")
	})
}

func (l *listener) got() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.events, " ")
}

// hearsAgain publishes until the listener hears something new, and checks that
// it was told of a gap.
func (l *listener) hearsAgain(t testing.TB, publisher *redis.Broker, channel string) {
	t.Helper()
	before := len(l.got())
	n := 0
	await(t, "events arrive again", func() bool {
		n++
		publisher.Publish(context.Background(), &broker.Event{Channel: channel, Args: fmt.Append(nil, "again", n)}) //nolint:errcheck // tried again
		return strings.Contains(l.got()[before:], "again")
	})
	if !strings.Contains(l.got(), "gap") {
		t.Errorf("no gap was told; got %s", l.got())
	}
}
