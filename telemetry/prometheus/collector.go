package jugglerprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/telemetry"
)

// NewHandlerCollector collects the metrics of a node: of a [juggler.Handler], or of
// what adds to its statistics.
func NewHandlerCollector(h interface{ Stats() juggler.Stats }) prometheus.Collector {
	return newCollector(telemetry.Handler, h.Stats)
}

// NewCalleeCollector collects the metrics of a [calleekit.Callee].
func NewCalleeCollector(c interface{ Stats() calleekit.Stats }) prometheus.Collector {
	return newCollector(telemetry.Callee, c.Stats)
}

// NewMemoryCollector collects the metrics of an embedded broker.
func NewMemoryCollector(b *memory.Broker) prometheus.Collector {
	return newCollector(telemetry.Memory, b.Stats)
}

// NewRedisCollector collects the metrics of a broker on Redis, in a node, a callee or
// any other program.
func NewRedisCollector(b *redis.Broker) prometheus.Collector {
	return newCollector(telemetry.Redis, func() telemetry.RedisState {
		return telemetry.RedisState{Stats: b.Stats(), Health: b.Health()}
	})
}

// A collector collects the metrics of a table from one snapshot at a time.
type collector[S any] struct {
	metrics  []telemetry.Metric[S]
	descs    []*prometheus.Desc
	snapshot func() S
}

func newCollector[S any](metrics []telemetry.Metric[S], snapshot func() S) *collector[S] {
	c := &collector[S]{metrics: metrics, snapshot: snapshot}
	for _, m := range metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.Name, m.Help, m.Labels, nil))
	}
	return c
}

// Describe implements [prometheus.Collector].
func (c *collector[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector[S]) Collect(ch chan<- prometheus.Metric) {
	s := c.snapshot()
	for i := range c.metrics {
		kind := prometheus.GaugeValue
		if c.metrics[i].Kind == telemetry.Counter {
			kind = prometheus.CounterValue
		}
		c.metrics[i].Each(&s, func(value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(c.descs[i], kind, value, labels...)
		})
	}
}
