package redis_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// The server's own channels are another namespace: what is published on one reaches those
// who have subscribed to it, and neither a channel of that name nor any pattern, whatever
// is asked of Redis in the pattern's place.
func TestOwnChannels(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, more := range map[string][]redis.Option{
		"classic":  {redis.WithServer(&goredis.Options{Addr: server.Addr})},
		"database": {redis.WithServer(&goredis.Options{Addr: server.Addr, DB: 3})},
		"lanes":    {redis.WithServer(&goredis.Options{Addr: server.Addr, DB: 4}), redis.WithLanes(4)},
		"sharded":  {redis.WithServer(&goredis.Options{Addr: server.Addr, DB: 5}), redis.WithLanes(4), redis.WithShardedPubSub()},
		"kept":     {redis.WithServer(&goredis.Options{Addr: server.Addr, DB: 6}), redis.WithHistory(ruleOf("*"), ruleOf("\x00*"))},
		"unkept":   {redis.WithServer(&goredis.Options{Addr: server.Addr, DB: 7}), redis.WithHistory(ruleOf("*"))},
	} {
		t.Run(name, func(t *testing.T) {
			b, publisher := newBroker(t, calm(more...)...), newBroker(t, calm(more...)...)
			own, plain := listen(t, b, broker.Topic{Name: broker.OwnChannel("user:1")}), listen(t, b, broker.Topic{Name: "user:1"})
			listeners := map[string]*listener{}
			for _, pattern := range []string{"*", "?*", "*user*", "?user:1", "[^a]*", "\x00*", "\x00user:1", "own:*", "[\x00u]*1"} {
				if name != "sharded" {
					listeners[pattern] = listen(t, b, broker.Topic{Name: pattern, Pattern: true})
				}
			}
			publish := func(channel, args string) {
				if err := publisher.Publish(t.Context(), &broker.Event{Channel: channel, Args: []byte(args)}); err != nil {
					t.Fatal(err)
				}
			}
			publish(broker.OwnChannel("user:1"), "secret")
			publish("user:1", "news")
			publish("own:fence", "fence")
			publish("\x01user:1", "fence") // matches what the others do not
			publish(broker.OwnChannel("user:1"), "more")
			await(t, "what was published comes", func() bool {
				return own.got() == "secret more" && plain.got() == "news" && (name == "sharded" || listeners["*"].got() == "news fence fence")
			})
			if name == "classic" { // others would only drop what came, which costs Redis, and each process
				n := server.Client().Publish(t.Context(), "juggler:own:user:1", "E"+strings.Repeat("\x00", 20)).Val()
				if n != 1 {
					t.Errorf("%d connections and patterns get what is on the server's own channel, want 1", n)
				}
			}
			for pattern, l := range listeners {
				if strings.Contains(l.got(), "secret") {
					t.Errorf("the pattern %q matched one of the server's own", pattern)
				}
			}
			if kept := b.Kept(broker.OwnChannel("user:1")); kept != (name == "kept") {
				t.Errorf("the server's own channel is kept: %v", kept)
			}
		})
	}
}

func ruleOf(channels string) broker.HistoryRule {
	r := auditRule
	r.Channels = channels
	return r
}

// A channel of the server's own that a rule keeps is healed as any other, and its life ends
// for all who are subscribed when its newest events are lost.
func TestOwnChannelsThatAreKept(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, more := range map[string][]redis.Option{
		"classic": nil,
		"sharded": {redis.WithLanes(4), redis.WithShardedPubSub(), redis.WithPrefix("sharded")},
	} {
		t.Run(name, func(t *testing.T) {
			with := func(addr string) []redis.Option {
				return quick(append(more, withAddr(addr), redis.WithHistory(ruleOf("\x00*")))...)
			}
			proxy := redistest.StartProxy(t, server.Addr)
			publisher, b := newBroker(t, with(server.Addr)...), newBroker(t, with(proxy.Addr)...)
			a, channel := newAuditor(t), broker.OwnChannel("user:1")
			s := a.subscribe(b, channel)
			a.publish(publisher, channel, "before")
			await(t, "an event comes", func() bool { return s.has(channel, "before") })
			proxy.Cut()
			a.publish(publisher, channel, "missed")
			proxy.Restore()
			await(t, "what was missed comes", func() bool { return s.has(channel, "missed") })
			if lost := a.audit(publisher, s, channel); lost > 0 || s.gaps(channel) > 0 {
				t.Errorf("%d events were lost, %d gaps told", lost, s.gaps(channel))
			}
		})
	}
}

// What cannot be printed is quoted in errors.
func TestOwnChannelsInErrors(t *testing.T) {
	t.Parallel()
	b := newBroker(t, withAddr("127.0.0.1:1"))
	b.Close()
	err := b.Publish(t.Context(), &broker.Event{Channel: broker.OwnChannel("user:1")})
	if want := `redis: publish on "\x00user:1": ` + broker.ErrClosed.Error(); err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
}

// A process that publishes for clients needs no right to act as the server: docs/redis.md says
// which it needs.
func TestPublisherWithoutOwnChannels(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	text, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := []string{"&juggler:event:*", "~juggler:*:rules", "~juggler:*:log:*", "~juggler:*:pos:*", "~juggler:*:note:*"}
	user := []any{"ACL", "SETUSER", "publisher", "on", ">secret", "+@all"}
	for _, rule := range rules {
		if !strings.Contains(string(text), rule) {
			t.Errorf("docs/redis.md does not say %s", rule)
		}
		user = append(user, rule)
	}
	server.Do(user...)
	limited := redis.WithServer(&goredis.Options{Addr: server.Addr, Username: "publisher", Password: "secret"})
	b := newBroker(t, calm(withAddr(server.Addr), redis.WithHistory(ruleOf("kept.*")))...)
	heard := listen(t, b, broker.Topic{Name: "news"}, broker.Topic{Name: "kept.1"}, broker.Topic{Name: broker.OwnChannel("user:1")})
	publisher := newBroker(t, calm(limited)...)
	for _, channel := range []string{"news", "kept.1"} {
		if err := publisher.Publish(t.Context(), &broker.Event{Channel: channel, Args: []byte(channel)}); err != nil {
			t.Errorf("Publish on %s: %v", channel, err)
		}
	}
	if err := publisher.Publish(t.Context(), &broker.Event{Channel: broker.OwnChannel("user:1"), Args: []byte("no")}); err == nil {
		t.Error("it has published on one of the server's own channels")
	}
	if err := publisher.Register(t.Context(), "revoked", "u1", nil, time.Hour); err == nil {
		t.Error("it has registered something")
	}
	await(t, "what was published comes", func() bool { return heard.got() == "news kept.1" || heard.got() == "kept.1 news" })
}
