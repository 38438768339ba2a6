package engine

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// withArgs is the engine that a server with flags has.
func withArgs(t *testing.T, args ...string) (*Engine, error) {
	t.Helper()
	var f Flags
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.Bind(flags)
	f.BindServer(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	e, err := f.Open(slog.New(slog.DiscardHandler))
	if err == nil {
		t.Cleanup(func() { e.Close() })
	}
	return e, err
}

// The broker of events keeps what the rules say: the embedded one, that of --redis, or
// that of --redis-pubsub.
func TestHistoryRules(t *testing.T) {
	rules := []string{"--history", "room.*=100/1h, a=b/c=5/720h", "--history=news=1000000/1s"}
	for _, args := range [][]string{
		append(rules, "--max-history-bytes=1MiB"),
		append(rules, "--redis=127.0.0.1:1"),
		append(rules, "--redis=127.0.0.1:1", "--redis-pubsub=127.0.0.1:2"),
	} {
		e, err := withArgs(t, args...)
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		history := e.PubSub.(broker.History)
		for channel, want := range map[string]bool{"room.7": true, "a=b/c": true, "news": true, "news.go": false, "rooms": false} {
			if history.Kept(channel) != want {
				t.Errorf("%q: %s is kept: %v", args, channel, !want)
			}
		}
		if calls, ok := e.Caller.(broker.History); len(e.Redis) == 2 && ok && calls.Kept("news") {
			t.Errorf("%q: the Redis for calls keeps events", args)
		}
	}
}

// "none" takes away the rules that lie in Redis, and leaves the embedded broker without any;
// a server that says nothing follows those that lie there.
func TestNoHistory(t *testing.T) {
	server := redistest.Start(t)
	owner, err := redis.New(redis.WithServer(&goredis.Options{Addr: server.Addr}), redis.WithHistory(broker.HistoryRule{Channels: "*", Events: 1, For: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	keeps := func(p broker.PubSub) bool {
		if err := p.Publish(t.Context(), &broker.Event{Channel: "news"}); err != nil {
			t.Fatal(err)
		}
		return p.(broker.History).Kept("news")
	}
	for _, tt := range []struct {
		args       []string
		here, left bool // whether this server keeps events, and the rules in Redis are left
	}{
		{[]string{"--redis=" + server.Addr}, true, true},
		{[]string{"--history= none "}, false, true},
		{[]string{"--redis=" + server.Addr, "--history=none"}, false, false},
	} {
		if !keeps(owner) {
			t.Fatal("the rules in Redis are gone")
		}
		e, err := withArgs(t, tt.args...)
		if err != nil {
			t.Fatal(err)
		}
		if here, left := keeps(e.PubSub), keeps(owner); here != tt.here || left != tt.left {
			t.Errorf("%q: keeps events: %v, want %v; rules are left: %v, want %v", tt.args, here, tt.here, left, tt.left)
		}
	}
}

func TestHistoryRulesThatAreNone(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--history=room.*", `"room.*": want CHANNELS=EVENTS/TIME`},
		{"--history==1/1h", `"=1/1h": want CHANNELS=EVENTS/TIME`},
		{"--history=room.*=100", "want CHANNELS=EVENTS/TIME"},
		{"--history=room.*=100/1", "want CHANNELS=EVENTS/TIME"},
		{"--history=room.*=x/1h", "want CHANNELS=EVENTS/TIME"},
		{"--history=room.*=0/1h", `"room.*": Events is 0, want 1 to 1000000`},
		{"--history=room.*=1/1ms", `"room.*": For is 1ms, want 1s to 720h0m0s`},
		{"--history=r*m=1/1h", `"r*m": want the name of a channel`},
		{"--history=*=1/1h --history=room.*=1/1h", `"room.*": the rule of "*" before it has all of its channels`},
		{"--history=" + strings.Repeat("a=1/1h,", 256) + "a=1/1h", "257 rules, want up to 256"},
		{"--history=none,a=1/1h", `"none" is for no rules`},
		{"--history=a=1/1h --history=none", `"none" is for no rules`},
		{"--max-history-bytes=1MiB --history=none", "--max-history-bytes goes with --history only"},
		{"--max-history-bytes=1MiB", "--max-history-bytes goes with --history only"},
		{"--max-history-bytes=1MiB --history=a=1/1h --redis=127.0.0.1:1", "--max-history-bytes is for the embedded broker"},
		{"--max-keyed-bytes=1MiB --redis=127.0.0.1:1", "--max-keyed-bytes is for the embedded broker"},
	} {
		_, err := withArgs(t, strings.Fields(tt.args)...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "WithHistory") || strings.Contains(err.Error(), "invalid option") {
			t.Errorf("%.80s: %v, want %s", tt.args, err, tt.want)
		}
	}
}
