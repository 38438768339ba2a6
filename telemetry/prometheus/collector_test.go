package jugglerprom_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/jugglertest"
	"github.com/juggler-go/juggler/telemetry"
	jugglerprom "github.com/juggler-go/juggler/telemetry/prometheus"
)

// registered returns a registry that checks what collectors do.
func registered(collectors ...prometheus.Collector) *prometheus.Registry {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(collectors...)
	return r
}

// gather returns what a scrape gets, by name.
func gather(t *testing.T, r *prometheus.Registry) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		all[f.GetName()] = f
	}
	return all
}

func echo(_ context.Context, c *calleekit.Call) (any, error) { return c.Args, nil }

// All tables get to a scrape, those of the brokers on Redis with the labels that tell
// them apart.
func TestCollectors(t *testing.T) {
	s := jugglertest.New(t, juggler.WithCallStats(2))
	callee := s.NewCallee()
	callee.Handle("echo", echo)
	s.Start(callee)
	c := s.Client()
	for _, uri := range []string{"echo", "echo", "nobody"} {
		_ = c.Call(t.Context(), uri, 1, nil)
	}
	embedded, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { embedded.Close() })
	// It never connects, as it is not used.
	remote, err := redis.New(redis.WithServer(&goredis.Options{Addr: "127.0.0.1:1"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() })

	first, second := prometheus.Labels{"redis": "1"}, prometheus.Labels{"redis": "2"}
	r := registered(jugglerprom.NewHandlerCollector(s.Handler), jugglerprom.NewCalleeCollector(callee), jugglerprom.NewMemoryCollector(embedded),
		prometheus.WrapCollectorWith(first, jugglerprom.NewRedisCollector(remote)), prometheus.WrapCollectorWith(second, jugglerprom.NewRedisCollector(remote)))
	err = testutil.GatherAndCompare(r, strings.NewReader(`
# HELP juggler_sessions Sessions of this node.
# TYPE juggler_sessions gauge
juggler_sessions 1
# HELP juggler_calls_total Calls that have ended, where call statistics are kept, by URI and code; no URI: all others.
# TYPE juggler_calls_total counter
juggler_calls_total{code="0",uri="echo"} 2
juggler_calls_total{code="404",uri=""} 1
# HELP juggler_nacks_total NACK sent, by type of the request and code.
# TYPE juggler_nacks_total counter
juggler_nacks_total{code="404",type="CALL"} 1
# HELP juggler_callee_calls_total Functions called.
# TYPE juggler_callee_calls_total counter
juggler_callee_calls_total 2
# HELP juggler_embedded_kept_bytes Memory of them, and of what else history needs.
# TYPE juggler_embedded_kept_bytes gauge
juggler_embedded_kept_bytes 0
# HELP juggler_redis_healthy Whether the process can do its work with Redis: 1 or 0.
# TYPE juggler_redis_healthy gauge
juggler_redis_healthy{redis="1"} 1
juggler_redis_healthy{redis="2"} 1
`), "juggler_sessions", "juggler_calls_total", "juggler_nacks_total", "juggler_callee_calls_total", "juggler_embedded_kept_bytes", "juggler_redis_healthy")
	if err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	remote.Close()
	if got := gather(t, r)["juggler_redis_healthy"].GetMetric()[0].GetGauge().GetValue(); got != 0 {
		t.Errorf("a broker that cannot work is healthy: %v", got)
	}
}

// counted counts how often it is asked.
type counted struct{ asked atomic.Int32 }

func (c *counted) Stats() juggler.Stats {
	c.asked.Add(1)
	return juggler.Stats{Sessions: 7}
}

func TestOneSnapshotPerScrape(t *testing.T) {
	var source counted
	r := registered(jugglerprom.NewHandlerCollector(&source))
	if n := source.asked.Load(); n != 0 {
		t.Errorf("%d snapshots before a scrape", n)
	}
	for n := range int32(3) {
		gather(t, r)
		if got := source.asked.Load(); got != n+1 {
			t.Fatalf("%d snapshots for %d scrapes", got, n+1)
		}
	}
}

// Clients can neither break a scrape nor fill it, whatever URIs they call.
func TestHostileNames(t *testing.T) {
	const most = 4
	calls := jugglerprom.NewCallObserver(most)
	s := jugglertest.New(t, juggler.WithCallStats(most), juggler.WithCallObserver(calls.Observe))
	callee := s.NewCallee()
	served := []string{"echo", `a"b\c{uri="x"}` + "\n# HELP", "\x00", "\u2028é\U0001F600", strings.Repeat("x", 200)}
	for i := range 20 {
		served = append(served, fmt.Sprintf("served.%d", i))
	}
	for _, uri := range served {
		callee.Handle(uri, echo)
	}
	s.Start(callee)
	r := registered(jugglerprom.NewHandlerCollector(s.Handler), calls)

	// This one closes the connection of a client.
	raw, response, err := websocket.Dial(t.Context(), jugglertest.URL, &websocket.DialOptions{
		Subprotocols: []string{"juggler.1"}, HTTPClient: dialing(s),
	})
	if err != nil {
		t.Fatal(err, response)
	}
	defer raw.CloseNow()
	err = raw.Write(t.Context(), websocket.MessageText, []byte("{\"type\":\"CALL\",\"id\":\"1\",\"uri\":\"\xff\xfe\"}"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = raw.Read(t.Context())
	}
	if code := websocket.CloseStatus(err); code != websocket.StatusInvalidFramePayloadData {
		t.Errorf("a URI that is not UTF-8: %v", err)
	}
	c := s.Client()
	for i := range 100 {
		_ = c.Call(t.Context(), fmt.Sprintf("nobody.%d", i), 1, nil)
	}
	for _, uri := range served {
		if err := c.Call(t.Context(), uri, 1, nil); err != nil {
			t.Errorf("%q: %v", uri, err)
		}
	}
	families := gather(t, r)
	want := append([]string{""}, served[:most]...)
	slices.Sort(want)
	for _, name := range []string{"juggler_calls_total", telemetry.CallDuration.Name, telemetry.CallWait.Name, telemetry.CallRun.Name} {
		if got := labels(families[name], "uri"); !slices.Equal(got, want) {
			t.Errorf("%s has the URIs %q, want %q", name, got, want)
		}
	}
	if n := testutil.CollectAndCount(jugglerprom.NewHandlerCollector(s.Handler)); n > 100 {
		t.Errorf("a scrape has %d values", n)
	}
}

// dialing returns an HTTP client whose connections lead to s.
func dialing(s *jugglertest.Server) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) },
	}}
}

// labels returns the values of a label, sorted, each once.
func labels(f *dto.MetricFamily, name string) []string {
	seen := make(map[string]bool)
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == name {
				seen[l.GetValue()] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// The histograms have each call that was accepted, in all and in its parts.
func TestCallObserver(t *testing.T) {
	calls := jugglerprom.NewCallObserver(10)
	for _, e := range []juggler.CallEnd{
		{URI: "echo", Total: 5 * time.Second, Ran: 3 * time.Second},
		{URI: "echo", Total: time.Second, Ran: 3 * time.Second}, // by another clock
		{URI: "echo", Total: time.Second, Code: 408},            // nobody knows how long it ran
		{URI: "echo", Code: 503, Refused: true},
		{URI: "nobody", Code: 404, Refused: true},
	} {
		calls.Observe(e)
	}
	type histogram struct {
		count uint64
		sum   float64
	}
	families := gather(t, registered(calls))
	for name, want := range map[string]histogram{
		telemetry.CallDuration.Name: {3, 7}, telemetry.CallWait.Name: {2, 2}, telemetry.CallRun.Name: {2, 6},
	} {
		got := make(map[string]histogram)
		for _, m := range families[name].GetMetric() {
			h := m.GetHistogram()
			got[m.GetLabel()[0].GetValue()] = histogram{h.GetSampleCount(), h.GetSampleSum()}
		}
		if want := map[string]histogram{"": {}, "echo": want}; !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	o := jugglerprom.NewCallObserver(1)
	for _, e := range []juggler.CallEnd{{URI: "echo", Total: 3, Ran: 2}, {URI: "other", Total: 3}, {URI: "echo", Code: 404, Refused: true}} {
		if n := testing.AllocsPerRun(100, func() { o.Observe(e) }); n > 0 {
			t.Errorf("%+v: %v allocations", e, n)
		}
	}
}
