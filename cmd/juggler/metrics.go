package main

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/listen"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
	jugglerprom "github.com/juggler-go/juggler/telemetry/prometheus"
)

// Stats are the handler's, with the handshakes that did not reach it.
func (s *server) Stats() juggler.Stats {
	stats := s.handler.Stats()
	if n := s.elsewhere.refused.Load(); n > 0 {
		stats.Refused += n
		stats.Refusals = append(stats.Refusals, juggler.RefusalCount{Status: http.StatusNotFound, Reason: "path", Count: n})
	}
	return stats
}

// metrics are those of a node and its broker.
func (s *server) metrics() []prometheus.Collector {
	all := []prometheus.Collector{
		jugglerprom.NewHandlerCollector(s),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "juggler_accept_failures_total", Help: "Failures to accept a connection."},
			func() float64 { return float64(listen.AcceptFailures()) }),
	}
	if s.callTimes != nil {
		all = append(all, s.callTimes)
	}
	if s.engine.Memory != nil {
		all = append(all, jugglerprom.NewMemoryCollector(s.engine.Memory))
	}
	return append(all, redisMetrics(s.engine)...)
}

// calleeMetrics are those of a callee and its broker.
func calleeMetrics(c *calleekit.Callee, e *engine.Engine) []prometheus.Collector {
	return append(redisMetrics(e), jugglerprom.NewCalleeCollector(c))
}

// callStats returns the options that count calls by URI, as --call-stats says.
func (s *server) callStats() ([]juggler.Option, error) {
	n := s.flags.callStats
	if n == 0 {
		return nil, nil
	}
	s.callTimes = jugglerprom.NewCallObserver(n)
	observe := s.callTimes.Observe
	if m := s.export.Metrics; m != nil {
		exported, err := jugglerotel.NewCallObserver(n, to(m))
		if err != nil {
			return nil, err
		}
		observe = func(e juggler.CallEnd) {
			s.callTimes.Observe(e)
			exported.Observe(e)
		}
	}
	return []juggler.Option{juggler.WithCallStats(n), juggler.WithCallObserver(observe)}, nil
}

// redisMetrics are those of the brokers on Redis: the first carries calls (and
// events), the second, if there is one, events.
func redisMetrics(e *engine.Engine) (all []prometheus.Collector) {
	for i, b := range e.Redis {
		labels := prometheus.Labels{"redis": strconv.Itoa(i + 1)}
		all = append(all, prometheus.WrapCollectorWith(labels, jugglerprom.NewRedisCollector(b)))
	}
	return all
}

// vars is what /debug/vars shows of a node.
func (s *server) vars() any {
	m := map[string]any{"node": s.handler.Node(), "handler": s.Stats(), "redis": redisStats(s.engine)}
	if s.engine.Memory != nil {
		m["embedded"] = s.engine.Memory.Stats()
	}
	return m
}

// calleeVars is what /debug/vars shows of a callee.
func calleeVars(c *calleekit.Callee, e *engine.Engine) any {
	return map[string]any{"callee": c.Stats(), "redis": redisStats(e)}
}

func redisStats(e *engine.Engine) []redis.Stats {
	var stats []redis.Stats
	for _, b := range e.Redis {
		stats = append(stats, b.Stats())
	}
	return stats
}
