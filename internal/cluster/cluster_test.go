package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/waiting"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newMember returns an open member on b that does what do says.
func newMember(t *testing.T, b *memory.Broker, node string, do func(*Command) (int, error)) *Member {
	t.Helper()
	return newMemberOn(t, b, b, node, do)
}

// newMemberOn is newMember with the events of a broker, and the tables of another one.
func newMemberOn(t *testing.T, pubsub broker.PubSub, b broker.Registry, node string, do func(*Command) (int, error)) *Member {
	t.Helper()
	running := new(sync.WaitGroup)
	m := NewMember(Config{
		Node: node, PubSub: pubsub, Registry: b, Lease: time.Minute, Timeout: time.Minute,
		Describe: func() Info { return Info{Host: "host", Started: time.Now()} },
		Do:       func(_ context.Context, c *Command) (int, error) { return do(c) },
		Waits:    func(op Op) bool { return op == ReauthorizeUser },
		Revoked:  func(string, int64) int { return 1 },
		Running:  running, Log: slog.New(slog.DiscardHandler),
	})
	if err := m.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return m
}

func newBroker(t *testing.T) *memory.Broker {
	t.Helper()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func newAsker(t *testing.T, b *memory.Broker) *Asker {
	t.Helper()
	a := NewAsker("asker", b, b, time.Minute, nil)
	t.Cleanup(func() { a.Close() })
	return a
}

// Of a storm of commands a node remembers and queues a bounded number; who asks gets an
// answer all the same.
func TestStorm(t *testing.T) {
	b := newBroker(t)
	gate := make(chan struct{})
	var done atomic.Int32
	m := newMember(t, b, "node", func(*Command) (int, error) {
		<-gate
		done.Add(1)
		return 0, nil
	})
	for i := range 10_000 {
		if err := b.Publish(t.Context(), event(control, Command{Op: DisconnectUser, User: []byte("u"), Ask: fmt.Sprint(i), From: "x", V: version})); err != nil {
			t.Fatal(err)
		}
	}
	asked := make(chan []Answer)
	go func() {
		answers, missing, err := newAsker(t, b).Ask(t.Context(), Command{Op: DisconnectUser, User: []byte("u")})
		if err != nil || len(missing) > 0 {
			t.Errorf("missing %v, %v", missing, err)
		}
		asked <- answers
	}()
	if n := m.quick.Len(); n > maxWaiting {
		t.Errorf("%d wait", n)
	}
	close(gate)
	if answers := waiting.Receive(t, "the answer", asked); len(answers) != 1 {
		t.Errorf("%+v", answers)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.done) != len(m.ring) || len(m.ring) > maxWaiting || done.Load() > 2*maxWaiting {
		t.Errorf("remembers %d, %d; did %d", len(m.done), len(m.ring), done.Load())
	}
}

// Commands that run user code which hangs hold up no others.
func TestHangingCommand(t *testing.T) {
	b := newBroker(t)
	gate := make(chan struct{})
	defer close(gate)
	began := make(chan struct{})
	newMember(t, b, "node", func(c *Command) (int, error) {
		if c.Op == ReauthorizeUser {
			close(began)
			<-gate
		}
		return 7, nil
	})
	a := newAsker(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	hanging := make(chan []Info)
	go func() {
		_, missing, _ := a.Ask(ctx, Command{Op: ReauthorizeUser})
		hanging <- missing
	}()
	waiting.Receive(t, "it hangs", began)
	answers, missing, err := a.Ask(t.Context(), Command{Op: DisconnectUser})
	if err != nil || len(missing) > 0 || !slices.Equal(answers, []Answer{{"node", 7, ""}}) {
		t.Errorf("%+v, missing %+v, %v", answers, missing, err)
	}
	if _, _, err := a.Revoke(t.Context(), "u", 1, time.Hour); err != nil {
		t.Error(err)
	}
	cancel()
	if missing := waiting.Receive(t, "the end of the other", hanging); len(missing) != 1 || missing[0].Node != "node" {
		t.Errorf("missing %+v", missing)
	}
}

// hangingTable is a Registry in which writing hangs.
type hangingTable struct{ *memory.Broker }

func (h hangingTable) Register(ctx context.Context, _, _ string, _ []byte, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}

// A node that cannot enter the table of nodes reads what is revoked all the same.
func TestTableThatHangs(t *testing.T) {
	b := newBroker(t)
	if err := newAsker(t, b).register(t.Context(), "u", 5, time.Hour); err != nil {
		t.Fatal(err)
	}
	running := new(sync.WaitGroup)
	m := NewMember(Config{
		Node: "node", PubSub: b, Registry: hangingTable{b}, Lease: time.Second, Timeout: time.Minute,
		Describe: func() Info { return Info{} }, Waits: func(Op) bool { return false },
		Revoked: func(string, int64) int { return 0 }, Running: running, Log: slog.New(slog.DiscardHandler),
	})
	if err := m.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if refuses, known := m.Refuses("u", 5); !refuses || !known {
		t.Errorf("refuses: %v, known: %v", refuses, known)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	running.Wait()
}

// losingPubSub tells of a gap when it is asked to.
type losingPubSub struct {
	*memory.Broker
	deliver func([]broker.Delivery)
}

func (l *losingPubSub) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	l.deliver = deliver
	return l.Broker.OpenSubscriber(ctx, deliver)
}

// Behind a gap a node reads what was revoked, as it may have missed to be told.
func TestGap(t *testing.T) {
	b := newBroker(t)
	l := &losingPubSub{Broker: b}
	m := newMemberOn(t, l, b, "node", func(*Command) (int, error) { return 0, nil })
	if err := newAsker(t, b).register(t.Context(), "u", 5, time.Hour); err != nil {
		t.Fatal(err)
	}
	if refuses, _ := m.Refuses("u", 5); refuses {
		t.Error("it knows without being told")
	}
	l.deliver([]broker.Delivery{{Topic: broker.Topic{Name: control}, Gap: true}})
	waiting.Until(t, "it knows", func() bool { refuses, _ := m.Refuses("u", 5); return refuses })
}

// countingTable is a Registry that counts how often the table of revocations is read.
type countingTable struct {
	*memory.Broker
	reads atomic.Int32
}

func (c *countingTable) Registered(ctx context.Context, table string) ([]broker.Entry, error) {
	if table == revokedTable {
		c.reads.Add(1)
	}
	return c.Broker.Registered(ctx, table)
}

// A node that revokes, and one that is told, do not read all that is revoked. What says less is
// removed all the same.
func TestRevokeWithoutReading(t *testing.T) {
	b := newBroker(t)
	table := &countingTable{Broker: b}
	m := newMemberOn(t, b, table, "node", func(*Command) (int, error) { return 0, nil })
	reads := table.reads.Load()
	a := NewAsker("asker", b, table, time.Minute, m)
	t.Cleanup(func() { a.Close() })
	for before := range int64(5) {
		if _, missing, err := a.Revoke(t.Context(), "u", before, time.Hour); len(missing) > 0 || err != nil {
			t.Fatal(missing, err)
		}
	}
	if refuses, _ := m.Refuses("u", 4); !refuses {
		t.Error("the node does not refuse what it was told")
	}
	if n := table.reads.Load(); n != reads {
		t.Errorf("the table was read %d times", n-reads)
	}
	if entries, err := b.Registered(t.Context(), revokedTable); err != nil || len(entries) != 1 || entries[0].Name != revokedName("u", 4) {
		t.Errorf("%+v, %v", entries, err)
	}
}

// What fails is answered, too.
// What cannot be read is passed over.
func TestBadCommands(t *testing.T) {
	b := newBroker(t)
	newMember(t, b, "node", func(c *Command) (int, error) {
		if c.Op == DisconnectSession {
			return 0, fmt.Errorf("no %s", c.Session)
		}
		return 1, nil
	})
	for _, args := range []string{`7`, `{}`, `{"op":"disconnect_user","v":2}`, `null`} {
		if err := b.Publish(t.Context(), &broker.Event{ID: broker.NewID(), Channel: control, Args: []byte(args)}); err != nil {
			t.Fatal(err)
		}
	}
	a := newAsker(t, b)
	for want, c := range map[Answer]Command{
		{"node", 1, ""}:        {Op: DisconnectUser, User: []byte("\xff\x00")},
		{"node", 0, "no such"}: {Op: DisconnectSession, Session: "such"},
	} {
		if answers, _, err := a.Ask(t.Context(), c); err != nil || !slices.Equal(answers, []Answer{want}) {
			t.Errorf("%+v, %v; want %+v", answers, err, want)
		}
	}
}

// entries are those of revocations, each "user before left".
func entries(t *testing.T, texts ...string) (list []broker.Entry) {
	t.Helper()
	for _, text := range texts {
		var user, left string
		var before int64
		if _, err := fmt.Sscan(text, &user, &before, &left); err != nil {
			t.Fatal(err)
		}
		d, err := time.ParseDuration(left)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, broker.Entry{Name: revokedName(user, before), Left: d})
	}
	return list
}

func TestRevocations(t *testing.T) {
	var r revocations
	if _, ok := r.age(); ok {
		t.Error("known before it was read")
	}
	for i, tt := range []struct {
		table   []string
		news    string
		lost    int
		refused int64 // the latest for ann
	}{
		{nil, "map[]", 0, -1},
		{[]string{"ann 5 1h", "bob 9 1h"}, "map[ann:5 bob:9]", 0, 5},
		{[]string{"ann 5 1h", "bob 9 1h"}, "map[]", 0, 5},
		{[]string{"ann 5 1h", "ann 4 2h", "bob 9 1h"}, "map[]", 0, 5},
		{[]string{"ann 7 1h", "ann 4 2h", "bob 9 1h"}, "map[ann:7]", 0, 7},
		{[]string{"ann 7 1h", "bob 9 1h"}, "map[]", 1, 7}, // 4 for 2h is lost
		{nil, "map[]", 3, 7},
		{[]string{"ann 4 2h", "ann 6 1ms", "bob 9 1h"}, "map[]", 1, 7},
		{[]string{"ann 8 3h", "bob 9 1h"}, "map[ann:8]", 0, 8},
	} {
		news, lost := r.merge(entries(t, tt.table...), time.Now())
		if fmt.Sprint(news) != tt.news || len(lost) != tt.lost {
			t.Errorf("reading %d: news %v, lost %v", i, news, lost)
		}
		if !r.refuses("ann", tt.refused) && tt.refused >= 0 || r.refuses("ann", tt.refused+1) || r.refuses("nobody", 0) {
			t.Errorf("reading %d refuses others than up to %d: %+v", i, tt.refused, r.of)
		}
	}
	if name := revokedName("a\x00b", -3); true {
		if user, before, ok := parseRevoked(name); user != "a\x00b" || before != -3 || !ok {
			t.Errorf("%q is %q, %d, %v", name, user, before, ok)
		}
	}
	for _, bad := range []string{"", "ann", "ann\x00", "ann\x00x"} {
		if _, _, ok := parseRevoked(bad); ok {
			t.Errorf("%q is read", bad)
		}
	}
}

// What is over is refused no more, though the table is not read again.
func TestRevocationsEnd(t *testing.T) {
	var r revocations
	r.merge(entries(t, "ann 5 1ns", "bob 5 1h"), time.Now())
	waiting.Until(t, "it is over", func() bool { return !r.refuses("ann", 5) })
	if !r.refuses("bob", 5) {
		t.Error("what is not over is allowed")
	}
	if _, lost := r.merge(entries(t, "bob 5 1h"), time.Now()); len(lost) > 0 {
		t.Errorf("written again: %v", lost)
	}
}
