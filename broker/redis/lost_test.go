package redis_test

import (
	"fmt"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// A replica takes over that lacks events which were confirmed, while a subscriber without
// them was cut off. It is told, by who published them or had got them, and nobody who comes
// back goes on from before. What the replica has goes on.
func TestLostEventsAreTold(t *testing.T) {
	t.Parallel()
	args := []string{"--repl-diskless-sync-delay", "0"}
	master, replica := redistest.Start(t, args...), redistest.Start(t, args...)
	rule := auditRule
	rule.Events = 10
	var brokers [4]*redis.Broker
	var proxies [4]*redistest.Proxy
	for i := range brokers {
		proxies[i] = redistest.StartProxy(t, master.Addr)
		brokers[i] = newBroker(t, calm(withAddr(proxies[i].Addr), redis.WithHistory(rule))...)
	}
	publisher, second, dies, away := brokers[0], brokers[1], brokers[2], brokers[3]
	const published, twice, dead, kept = "audited.published", "audited.twice", "audited.dead", "audited.kept"
	channels := []string{published, twice, dead, kept}
	a := newAuditor(t)
	near, far := a.subscribe(publisher, dead), a.subscribe(away, channels...)
	before := map[string]broker.Position{}
	for _, c := range channels {
		a.publish(publisher, c, "before")
		await(t, "the first event comes", func() bool { return far.has(c, "before") })
		before[c] = far.deliveries(c)[0].Pos
	}
	follow(t, replica, master)
	replica.Do("REPLICAOF", "NO", "ONE")
	proxies[3].Cut()
	for b, lost := range map[*redis.Broker][]string{publisher: {published, twice}, second: {twice}, dies: {dead}} {
		for _, c := range lost {
			await(t, "an event is confirmed", func() bool { return a.publish(b, c, "lost") })
		}
	}
	await(t, "one has it", func() bool { return near.has(dead, "lost") })
	dies.Close()
	move := func(i int) {
		proxies[i].Retarget(replica.Addr)
		proxies[i].CutOnce()
		proxies[i].Restore()
	}
	move(3)
	move(0)
	for _, c := range channels[:3] {
		await(t, "who was cut off is told", func() bool { return far.gaps(c) > 0 })
		if page := a.read(away, broker.Read{Channel: c, After: before[c]}); page.Proven {
			t.Errorf("%s: a position of before the lost event is proved", c)
		}
	}
	for i := range rule.Events { // so many that the log does not tell when its life began
		await(t, "an event is kept", func() bool { return a.publish(publisher, twice, fmt.Sprint("after ", i)) })
	}
	move(1)
	await(t, "the second publisher goes on", func() bool { return a.publish(second, twice, "second") })
	await(t, "all was asked for", func() bool { return !publisher.Searching() && !second.Searching() })
	for _, c := range channels {
		a.end(publisher, c, far)
		want := 1
		if c == kept {
			want = 0
		}
		if gaps := far.gaps(c); gaps != want {
			t.Errorf("%s: %d gaps, want %d: %+v", c, gaps, want, far.deliveries(c))
		}
	}
	if page := a.read(away, broker.Read{Channel: kept, After: before[kept]}); !page.Proven {
		t.Error("where nothing was lost the position of before is not proved")
	}
	if !far.has(twice, "after 0") || !far.has(twice, "second") {
		t.Error("an event of the new life is missing")
	}
}

// A log that has gone on beyond what it keeps does not end because a publisher has lost its
// connection: the server is the same.
func TestTrimmedLogLivesOn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	cut := newBroker(t, calm(withAddr(proxy.Addr), redis.WithHistory(roomRule))...)
	other := newBroker(t, calm(withAddr(server.Addr), redis.WithHistory(roomRule))...)
	publishKept(t, cut, 1)
	since := publishKept(t, other, 6)[3].Pos
	proxy.CutOnce()
	await(t, "the publisher goes on", func() bool {
		return cut.Publish(t.Context(), &broker.Event{Channel: "room.8"}) == nil && !cut.Searching()
	})
	wantArgs(t, "what came after", read(t, other, broker.Read{Channel: "room.7", After: since})[0], "4", "5")
}
