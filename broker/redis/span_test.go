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

// pops is how often the server was asked for a call of a URI.
func (m *manyURIs) pops() int {
	m.t.Helper()
	info, err := m.server.Client().Info(context.Background(), "commandstats").Result()
	if err != nil {
		m.t.Fatal(err)
	}
	match := regexp.MustCompile(`cmdstat_rpop:calls=(\d+)`).FindStringSubmatch(info)
	if match == nil {
		return 0
	}
	n, _ := strconv.Atoi(match[1])
	return n
}

// A lone call has the server look for calls of few URIs, however many its callee
// has: it looked at all.
func TestLoneCallOfManyURIs(t *testing.T) {
	t.Parallel()
	const uris, calls = 500, 60
	m := startManyURIs(t, uris)
	m.call(m.uris[0])
	m.take(8)
	before := m.pops()
	for i := range calls {
		m.call(m.uris[i*7%uris])
		if got := m.take(8); len(got) != 1 || got[0].URI != m.uris[i*7%uris] {
			t.Fatalf("call %d: took %v", i, got)
		}
	}
	// A wait that ends in vain is no matter of calls.
	if n := (m.pops() - before) / calls; n > 20 {
		t.Errorf("a lone call costs %d pops", n)
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
	wake := ""
	for _, key := range keysOf(t, admin, "juggler") {
		if strings.Contains(key, ":wake:") {
			wake = key
		}
	}
	if n, err := admin.Del(context.Background(), wake).Result(); n != 1 || err != nil {
		t.Fatalf("there is no token: %v", err)
	}
	if got := m.take(8); len(got) != 1 || got[0].URI != m.uris[uris-1] {
		t.Errorf("took %v", got)
	}
}
