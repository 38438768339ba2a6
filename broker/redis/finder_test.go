package redis_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// A manyURIs is a node, and a callee of many URIs.
type manyURIs struct {
	t      *testing.T
	server *redistest.Server
	uris   []string
	caller broker.CallerConn
	callee broker.CalleeConn
	calls  uint64
}

func startManyURIs(t *testing.T, uris int, opts ...redis.Option) *manyURIs {
	t.Helper()
	m := &manyURIs{t: t, server: redistest.Start(t)}
	for i := range uris {
		m.uris = append(m.uris, fmt.Sprintf("tenant.%d.work", i))
	}
	b := newBroker(t, append(opts, withAddr(m.server.Addr), redis.WithReplyTimeout(10*time.Second))...)
	var err error
	if m.caller, err = b.OpenCaller(t.Context(), broker.ID{'m'}, func([]broker.Result) {}); err != nil {
		t.Fatal(err)
	}
	if m.callee, err = b.OpenCallee(t.Context(), m.uris, nil); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *manyURIs) call(uri string) {
	m.t.Helper()
	m.calls++
	c := broker.Call{URI: uri, ReplyTo: broker.Address{Node: broker.ID{'m'}}, Timeout: time.Minute}
	binary.BigEndian.PutUint64(c.ReplyTo.Ref[:], m.calls)
	if err := m.caller.Call(context.Background(), &c); err != nil {
		m.t.Fatal(err)
	}
}

func (m *manyURIs) take(room int) []broker.Call {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dst := make([]broker.Call, room)
	n, err := m.callee.Take(ctx, dst)
	if err != nil {
		m.t.Fatal(err)
	}
	return dst[:n]
}

// costs returns how many commands the server has run, those of scripts included, and how
// many bytes it has got.
func (m *manyURIs) costs() (commands, bytes int) {
	m.t.Helper()
	c := m.server.Client()
	for _, n := range commandStats(m.t, c) {
		commands += n
	}
	info, err := c.Info(context.Background(), "stats").Result()
	if err != nil {
		m.t.Fatal(err)
	}
	match := regexp.MustCompile(`total_net_input_bytes:(\d+)`).FindStringSubmatch(info)
	if match == nil {
		m.t.Fatal("the server does not say how many bytes it got")
	}
	bytes, _ = strconv.Atoi(match[1])
	return commands, bytes
}

// A lone call costs the server the same however many URIs its callee has: with more
// than 32 it named them all, and looked at all before.
func TestLoneCallOfManyURIs(t *testing.T) {
	t.Parallel()
	const calls, used = 200, 10
	type cost struct{ commands, bytes float64 }
	lone := func(uris int) cost {
		m := startManyURIs(t, uris, redis.WithCalleeLease(time.Minute))
		call := func(i int) {
			uri := m.uris[i%used*7%uris]
			m.call(uri)
			if got := m.take(8); len(got) != 1 || got[0].URI != uri {
				t.Fatalf("took %v", got)
			}
		}
		for i := range used {
			call(i) // the node gets to know them
		}
		commands, bytes := m.costs()
		for i := range calls {
			call(i)
		}
		moreCommands, moreBytes := m.costs()
		m.callee.Close() // while the node is there that hears of the calls
		return cost{float64(moreCommands-commands) / calls, float64(moreBytes-bytes) / calls}
	}
	one, few, some, most := lone(1), lone(32), lone(100), lone(5000)
	t.Logf("of 1, 32, 100, 5,000 URIs: %.1f %.1f %.1f %.1f", one, few, some, most)
	for _, c := range []cost{few, some, most} {
		if c.commands > 1.5*one.commands {
			t.Errorf("a lone call costs %.1f commands, %.1f with one URI", c.commands, one.commands)
		}
	}
	if most.bytes > 1.2*some.bytes || some.bytes > few.bytes {
		t.Errorf("a lone call costs %.0f bytes with 5,000 URIs, %.0f with 100, %.0f with 32", most.bytes, some.bytes, few.bytes)
	}
}

// Many calls to many URIs are taken together, and a URI with many calls keeps
// none from the others.
func TestCallsOfManyURIs(t *testing.T) {
	t.Parallel()
	const uris = 500
	m := startManyURIs(t, uris)
	for range 2000 {
		m.call(m.uris[0])
	}
	for _, uri := range m.uris[1:] {
		m.call(uri)
	}
	first, taken, takes := 0, map[string]int{}, 0
	for total := 0; total < 2000+uris-1; takes++ {
		for _, c := range m.take(16) {
			total++
			taken[c.URI]++
			if c.URI == m.uris[0] {
				first++
			}
		}
		if len(taken) == uris && first < 2000 {
			break // no URI had to wait until the first one was empty
		}
	}
	if len(taken) != uris || first == 2000 {
		t.Errorf("calls to %d URIs were taken before those to the first one were over (%d)", len(taken), first)
	}
}

// A call whose token got lost is found all the same.
func TestTokenOfManyURIsLost(t *testing.T) {
	t.Parallel()
	const uris = 500
	m := startManyURIs(t, uris)
	m.call(m.uris[uris-1])
	admin := m.server.Client()
	tokens := ""
	for _, key := range keysOf(t, admin, "juggler") {
		if strings.Contains(key, "tokens:") {
			tokens = key
		}
	}
	if n, err := admin.Del(context.Background(), tokens).Result(); n != 1 || err != nil {
		t.Fatalf("there is no token: %v", err)
	}
	if got := m.take(8); len(got) != 1 || got[0].URI != m.uris[uris-1] {
		t.Errorf("took %v", got)
	}
}
