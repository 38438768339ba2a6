package redis_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/glob"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
)

// Patterns match the same names here and in Redis.
func TestPatternsAsRedisHasThem(t *testing.T) {
	t.Parallel()
	c := redistest.Start(t).Client()
	random := rand.New(rand.NewPCG(rand.Uint64(), 1))
	text := func(alphabet string, most int) string {
		b := make([]byte, random.IntN(most))
		for i := range b {
			b[i] = alphabet[random.IntN(len(alphabet))]
		}
		return string(b)
	}
	var names []string
	for range 1000 {
		names = append(names, "n"+text(`aabbc-]^\*?`, 12)) // no channel is empty there
	}
	pairs := make([]any, 0, 2*len(names))
	for _, name := range names {
		pairs = append(pairs, name, "")
	}
	if err := c.MSet(t.Context(), pairs...).Err(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		pattern := "n" + text(`aabbcc**??[[]]^-\`, 14)
		want, err := c.Keys(t.Context(), pattern).Result()
		if err != nil {
			t.Fatal(err)
		}
		compiled := glob.Compile(pattern)
		for _, name := range names {
			if got := compiled.Match(name); got != slices.Contains(want, name) {
				t.Errorf("pattern %q, name %q: matched here: %v", pattern, name, got)
			}
		}
	}
}

// topicLog collects for which topics events and gaps came.
type topicLog struct {
	mu           sync.Mutex // guards the following
	events, gaps map[string]int
}

func (l *topicLog) add(batch []broker.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range batch {
		if d.Gap {
			l.gaps[d.Topic.Name]++
		} else {
			l.events[d.Topic.Name]++
		}
	}
}

// However many patterns there are, and of whatever kind, the server is asked for a bounded
// number, and each subscription gets what matches it, and gaps.
func TestPatternsThatServerIsSpared(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	b := newBroker(t, quick(withAddr(proxy.Addr))...)
	heard := &topicLog{events: map[string]int{}, gaps: map[string]int{}}
	s, err := b.OpenSubscriber(t.Context(), heard.add)
	if err != nil {
		t.Fatal(err)
	}
	patterns := []string{"fence", "*", "a*", "a*a", "a*c*", "*b", "*[ab]*[bc]*", `a\*b*c*d`, "[a-c]?*b*?"}
	for i := range 300 {
		patterns = append(patterns, fmt.Sprintf("user.%d.*", i), fmt.Sprintf("*.%d*.*x", i))
	}
	for _, p := range patterns {
		if err := s.Subscribe(t.Context(), broker.Topic{Name: p, Pattern: true}); err != nil {
			t.Fatal(err)
		}
	}
	asked := func() int64 { return server.Client().PubSubNumPat(t.Context()).Val() }
	if n := asked(); n > 257 {
		t.Errorf("the server was asked for %d patterns", n)
	}
	want := map[string]int{}
	channels := []string{"a", "b", "aa", "abc", "acb", "a*bcd", "user.7.x", "user.299.x", "user.7.b", "x.29x.x", "fence"}
	for _, channel := range channels {
		if err := b.Publish(t.Context(), &broker.Event{Channel: channel, Args: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		for _, p := range patterns {
			if glob.Compile(p).Match(channel) {
				want[p]++
			}
		}
	}
	waiting.Until(t, "the last event comes", func() bool {
		heard.mu.Lock()
		defer heard.mu.Unlock()
		return maps.Equal(heard.events, want)
	})
	proxy.CutOnce()
	waiting.Until(t, "all are told of a gap", func() bool {
		heard.mu.Lock()
		defer heard.mu.Unlock()
		return len(heard.gaps) == len(patterns)
	})
	for _, p := range patterns {
		if err := s.Unsubscribe(t.Context(), broker.Topic{Name: p, Pattern: true}); err != nil {
			t.Fatal(err)
		}
	}
	waiting.Until(t, "the server is asked for none", func() bool { return asked() == 0 })
}

// A publication costs about the same beside the worst patterns as beside any, on the
// server and until it has come.
func TestPublicationBesideWorstPatterns(t *testing.T) {
	t.Parallel()
	channel := strings.Repeat("a", 1000)
	kinds := map[string]func(i int) string{
		"plain":    func(i int) string { return fmt.Sprintf("news.%d.*", i) },
		"letters":  func(i int) string { return fmt.Sprint("*", strings.Repeat("a", 200), "b", i, "*") },
		"brackets": func(i int) string { return fmt.Sprint("*[", strings.Repeat("b", 200), "]c", i, "*") },
		"stars":    func(i int) string { return fmt.Sprint(strings.Repeat("*a", 100), "b", i, "?") },
	}
	publish := map[string]func(){}
	for kind, pattern := range kinds {
		server := redistest.Start(t)
		b := newBroker(t, calm(withAddr(server.Addr))...)
		heard := make(chan struct{}, 1)
		s, err := b.OpenSubscriber(t.Context(), func([]broker.Delivery) { heard <- struct{}{} })
		if err != nil {
			t.Fatal(err)
		}
		topics := []broker.Topic{{Name: channel}}
		for i := range 128 {
			topics = append(topics, broker.Topic{Name: pattern(i), Pattern: true})
		}
		for _, topic := range topics {
			if err := s.Subscribe(t.Context(), topic); err != nil {
				t.Fatal(err)
			}
		}
		publish[kind] = func() {
			if err := b.Publish(t.Context(), &broker.Event{Channel: channel, Args: []byte("1")}); err != nil {
				t.Fatal(err)
			}
			waiting.Receive(t, "the event", heard)
		}
	}
	least := map[string]time.Duration{}
	for range 10 { // the least of interleaved runs: others use the processor, too
		for kind, do := range publish {
			began := time.Now()
			do()
			if took := time.Since(began); least[kind] == 0 || took < least[kind] {
				least[kind] = took
			}
		}
	}
	t.Log(least)
	for kind, took := range least {
		if took > 100*least["plain"] { // it is 5 as a rule, 25 with the race detector, and 700 where Redis has all of them
			t.Errorf("a publication takes %v beside patterns with %s, %v beside plain ones", took, kind, least["plain"])
		}
	}
}
