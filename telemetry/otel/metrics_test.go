package jugglerotel_test

import (
	"fmt"
	"log"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// A meter collects what it is asked to.
type meter struct {
	*sdk.ManualReader
	provider metric.MeterProvider
}

func newMeter() meter {
	r := sdk.NewManualReader()
	return meter{r, sdk.NewMeterProvider(sdk.WithReader(r))}
}

// collect returns each value, as name{attributes} unit value, sorted.
func (m meter) collect(t *testing.T) (all []string) {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := m.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	add := func(one metricdata.Metrics, set attribute.Set, value any) {
		all = append(all, fmt.Sprintf("%s{%s} %s %v", one.Name, set.Encoded(attribute.DefaultEncoder()), one.Unit, value))
	}
	for _, scope := range data.ScopeMetrics {
		for _, one := range scope.Metrics {
			switch d := one.Data.(type) {
			case metricdata.Sum[float64]:
				for _, p := range d.DataPoints {
					add(one, p.Attributes, fmt.Sprint(p.Value, " ", map[bool]string{true: "total", false: "now"}[d.IsMonotonic]))
				}
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					add(one, p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					add(one, p.Attributes, fmt.Sprint(p.Count, " ", p.Sum))
				}
			default:
				t.Errorf("%s: %T", one.Name, d)
			}
		}
	}
	slices.Sort(all)
	return all
}

// source has statistics of a handler, and counts how often it is asked.
type source struct{ asked atomic.Int32 }

func (s *source) Stats() juggler.Stats {
	s.asked.Add(1)
	return juggler.Stats{
		Sessions: 7, Connected: 9, QueuedBytes: 100,
		Calls: []juggler.CallCount{{URI: "echo", Code: 0, Count: 3, Total: 2 * time.Second, Ran: time.Second}},
	}
}

func TestObserveHandler(t *testing.T) {
	m, s := newMeter(), new(source)
	stop, err := jugglerotel.ObserveHandler(s, jugglerotel.WithMeterProvider(m.provider), jugglerotel.WithAttributes(attribute.String("node", "a")))
	if err != nil {
		t.Fatal(err)
	}
	for n := range int32(2) {
		got := m.collect(t)
		for _, want := range []string{
			"juggler.sessions{node=a} {session} 7 now", "juggler.connects{node=a} {session} 9 total", "juggler.queued{node=a} By 100 now",
			"juggler.calls{code=0,node=a,uri=echo} {call} 3 total", "juggler.calls.time{code=0,node=a,uri=echo} s 2 total",
			"juggler.calls.run{code=0,node=a,uri=echo} s 1 total",
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
			}
		}
		if asked := s.asked.Load(); asked != n+1 {
			t.Errorf("%d snapshots for %d collections", asked, n+1)
		}
	}
	stop()
	stop()
	if got := m.collect(t); len(got) != 0 || s.asked.Load() != 2 {
		t.Errorf("after stop: %v, %d snapshots", got, s.asked.Load())
	}
}

// Callee and brokers have their tables observed; two of a kind are told apart.
func TestObserveOthers(t *testing.T) {
	embedded, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { embedded.Close() })
	callee, err := calleekit.New(embedded)
	if err != nil {
		t.Fatal(err)
	}
	remote, err := redis.New(redis.WithServer(&goredis.Options{Addr: "127.0.0.1:1"})) // it is not used
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() })
	m := newMeter()
	with := jugglerotel.WithMeterProvider(m.provider)
	for _, observe := range []func() (func(), error){
		func() (func(), error) { return jugglerotel.ObserveCallee(callee, with) },
		func() (func(), error) { return jugglerotel.ObserveMemory(embedded, with) },
		func() (func(), error) {
			return jugglerotel.ObserveRedis(remote, with, jugglerotel.WithAttributes(attribute.Int("redis", 1)))
		},
		func() (func(), error) {
			return jugglerotel.ObserveRedis(remote, with, jugglerotel.WithAttributes(attribute.Int("redis", 2)))
		},
	} {
		stop, err := observe()
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	got := m.collect(t)
	for _, want := range []string{
		"juggler.callee.running{} {call} 0 now", "juggler.embedded.kept{} By 0 now",
		"juggler.redis.healthy{redis=1} 1 1", "juggler.redis.healthy{redis=2} 1 1",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
}

// The histograms keep to the conventions for RPC, and their attributes to bounds.
func TestCallObserver(t *testing.T) {
	m := newMeter()
	calls, err := jugglerotel.NewCallObserver(1, jugglerotel.WithMeterProvider(m.provider))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []juggler.CallEnd{
		{URI: "nobody", Code: 404, Refused: true},
		{URI: "echo", Total: 5 * time.Second, Ran: 3 * time.Second},
		{URI: "echo", Total: time.Second, Code: 408}, // nobody knows how long it ran
		{URI: "one more", Total: time.Second},
	} {
		calls.Observe(e)
	}
	for code := range 100 { // beyond the bound of codes
		calls.Observe(juggler.CallEnd{URI: "one more", Total: time.Second, Code: 1000 + code})
	}
	got := m.collect(t)
	for _, want := range []string{
		"juggler.call.run{rpc.method=echo,rpc.response.status_code=0,rpc.system.name=juggler} s 1 3",
		"juggler.call.wait{rpc.method=echo,rpc.response.status_code=0,rpc.system.name=juggler} s 1 2",
		"rpc.server.call.duration{rpc.method=echo,rpc.response.status_code=0,rpc.system.name=juggler} s 1 5",
		"rpc.server.call.duration{error.type=408,rpc.method=echo,rpc.response.status_code=408,rpc.system.name=juggler} s 1 1",
		"rpc.server.call.duration{rpc.method=_OTHER,rpc.response.status_code=0,rpc.system.name=juggler} s 1 1",
		"rpc.server.call.duration{error.type=_OTHER,rpc.method=_OTHER,rpc.system.name=juggler} s 37 37",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	m := newMeter()
	o, err := jugglerotel.NewCallObserver(1, jugglerotel.WithMeterProvider(m.provider))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []juggler.CallEnd{{URI: "echo", Total: 3, Ran: 2}, {URI: "other", Total: 3}, {URI: "echo", Code: 404, Refused: true}} {
		if n := testing.AllocsPerRun(100, func() { o.Observe(e) }); n > 0 {
			t.Errorf("%+v: %v allocations", e, n)
		}
	}
}

// What has no provider of its own uses the global one, which does nothing.
func TestNoProvider(t *testing.T) {
	stop, err := jugglerotel.ObserveHandler(new(source))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	calls, err := jugglerotel.NewCallObserver(1)
	if err != nil {
		t.Fatal(err)
	}
	calls.Observe(juggler.CallEnd{URI: "echo", Total: 1, Ran: 1})
}

// A node whose counts go where the program's other metrics go, with histograms of the calls
// to the first 100 URIs.
func ExampleObserveHandler() {
	calls, err := jugglerotel.NewCallObserver(100)
	if err != nil {
		log.Fatal(err)
	}
	h, err := juggler.New(juggler.WithCallObserver(calls.Observe))
	if err != nil {
		log.Fatal(err)
	}
	stop, err := jugglerotel.ObserveHandler(h)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
}
