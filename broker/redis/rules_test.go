package redis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// publish publishes an event, and reports whether it was kept.
func isKept(t *testing.T, b *redis.Broker, channel string) bool {
	t.Helper()
	done := make([]broker.Published, 1)
	b.PublishKept(t.Context(), []broker.Publication{{Event: broker.Event{Channel: channel}}}, done)
	if done[0].Err != nil {
		t.Fatal(done[0].Err)
	}
	if kept := !done[0].Pos.IsZero(); kept != b.Kept(channel) {
		t.Fatalf("kept: %v, Kept says otherwise", kept)
	}
	return !done[0].Pos.IsZero()
}

func wantKept(t *testing.T, b *redis.Broker, channel string, want bool) {
	t.Helper()
	if isKept(t, b, channel) != want {
		t.Errorf("kept on %s: %v", channel, !want)
	}
}

// Whoever publishes follows the rules of the process that was started last with rules, at
// once, those without an option too. What is missing in a log, since for a while no rule
// had its channel, proves nothing.
func TestRulesChange(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var log lockedBuffer
	with := func(rules ...broker.HistoryRule) *redis.Broker {
		return newBroker(t, withAddr(server.Addr), redis.WithHistory(rules...), withLog(&log))
	}
	follower := newBroker(t, withAddr(server.Addr))
	wantKept(t, follower, "room.7", false)
	first := with(roomRule)
	wantKept(t, first, "room.7", true)
	wantKept(t, follower, "room.7", true)
	news := broker.HistoryRule{Channels: "news", Events: 1, For: time.Minute}

	second := with(news, roomRule)
	wantKept(t, second, "news", true)
	wantKept(t, first, "news", true)
	wantKept(t, follower, "news", true)
	if !strings.Contains(log.String(), `here=room.*:4:1h0m0s there="news:1:1m0s room.*:4:1h0m0s"`) {
		t.Errorf("nobody was warned: %s", log.String())
	}
	all := read(t, first, broker.Read{Channel: "room.7", Last: 9})[0]
	wantArgs(t, "a rule that stays", all, "", "")
	since := broker.Read{Channel: "room.7", After: all.Top}

	none := with()
	wantKept(t, none, "room.7", false)
	for name, b := range map[string]*redis.Broker{"first": first, "follower": follower, "none": none} {
		wantUnproven(t, name, read(t, b, since)[0])
		wantKept(t, b, "news", false)
	}
	again := with(roomRule)
	wantUnproven(t, "a rule that has come back", read(t, again, since)[0])
	wantKept(t, follower, "room.7", true)
	wantUnproven(t, "an event that was not kept lies behind this", read(t, again, since)[0])
	wantArgs(t, "what was kept since", read(t, again, broker.Read{Channel: "room.7", Last: 9})[0], "")
}

// Rules that Redis has lost come back with the next request of a process that was given
// them, and prove nothing of before. Others do without; so they end when no such process
// is left.
func TestRulesLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	const rules = "juggler:{0.0}:rules"
	owner := newBroker(t, withAddr(server.Addr), redis.WithHistory(roomRule))
	wantKept(t, owner, "room.7", true)
	if left := server.Client().PTTL(t.Context(), rules).Val(); left > time.Hour || left < 50*time.Minute {
		t.Errorf("the rules expire in %v", left)
	}
	follower := newBroker(t, withAddr(server.Addr))
	for name, lose := range map[string]func(){
		"rules":      func() { server.Do("DEL", rules) },
		"everything": func() { server.Do("FLUSHALL") },
		"their type": func() {
			server.Do("EVAL", "redis.call('DEL', KEYS[1]) redis.call('LPUSH', KEYS[1], 'x') return 1", 1, rules)
		},
	} {
		wantKept(t, follower, "room.7", true)
		top := read(t, owner, broker.Read{Channel: "room.7", Last: 9})[0].Top
		lose()
		wantUnproven(t, name, read(t, owner, broker.Read{Channel: "room.7", After: top})[0])
		wantKept(t, follower, "room.7", true)
		if err := owner.Close(); err != nil { // or a heartbeat of its might bring them back
			t.Fatal(err)
		}
		lose()
		wantKept(t, follower, "room.7", false)
		wantUnproven(t, name, read(t, follower, broker.Read{Channel: "room.7", After: top})[0])
		owner = newBroker(t, withAddr(server.Addr), redis.WithHistory(roomRule))
		wantKept(t, owner, "room.7", true)
		wantUnproven(t, name, read(t, owner, broker.Read{Channel: "room.7", After: top})[0])
	}
}

// Processes say which rules they were given, and warn of others. One that only listens
// learns of rules that way.
func TestRulesOfPeers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	first := newBroker(t, withAddr(server.Addr), redis.WithHistory(roomRule))
	wantKept(t, first, "room.7", true)
	await(t, "the first process says what it has", func() bool {
		keys := server.Client().HKeys(t.Context(), "juggler:{peers}:systems").Val()
		return len(keys) == 1 && strings.Contains(keys[0], " history=1-")
	})
	listener := newBroker(t, withAddr(server.Addr))
	s, err := listener.OpenSubscriber(t.Context(), func([]broker.Delivery) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Subscribe(t.Context(), broker.Topic{Name: "news"}); err != nil {
		t.Fatal(err)
	}
	await(t, "a process without rules learns of them", func() bool { return listener.Kept("room.7") })
	var log lockedBuffer
	second := newBroker(t, withAddr(server.Addr), redis.WithHistory(roomRule, broker.HistoryRule{Channels: "news", Events: 1, For: time.Minute}), withLog(&log))
	wantKept(t, second, "news", true)
	await(t, "a process with other rules warns", func() bool {
		return strings.Contains(log.String(), "was given other rules of history") && strings.Contains(log.String(), "history=2-") && strings.Contains(log.String(), "history=1-")
	})
}
