package main

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/admin"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
)

// metrics are the figures of a node and its broker.
func metrics(h *juggler.Handler, e *engine.Engine) admin.Metrics {
	gauge := func(name, help string, value func(juggler.Stats) int) admin.Metric {
		return admin.Metric{Name: name, Help: help, Value: func() float64 { return float64(value(h.Stats())) }}
	}
	total := func(name, help string, value func(juggler.Stats) uint64) admin.Metric {
		return admin.Metric{Name: name, Help: help, Total: true, Value: func() float64 { return float64(value(h.Stats())) }}
	}
	m := admin.Metrics{
		gauge("sessions", "Sessions of this node.", func(s juggler.Stats) int { return s.Sessions }),
		gauge("sessions_event_loop", "Sessions served by event loops.", func(s juggler.Stats) int { return s.EventLoopSessions }),
		gauge("sessions_portable", "Sessions with goroutines of their own.", func(s juggler.Stats) int { return s.PortableConnections }),
		gauge("subscriptions", "Subscriptions of sessions.", func(s juggler.Stats) int { return s.Subscriptions }),
		total("connects_total", "Sessions begun.", func(s juggler.Stats) uint64 { return s.Connected }),
		total("disconnects_total", "Sessions ended.", func(s juggler.Stats) uint64 { return s.Disconnected }),
		total("refusals_total", "Handshakes refused.", func(s juggler.Stats) uint64 { return s.Refused }),
		total("messages_total", "Messages received from clients.", func(s juggler.Stats) uint64 { return s.Messages }),
		total("results_total", "RES sent.", func(s juggler.Stats) uint64 { return s.Results }),
		total("nacks_total", "NACK sent.", func(s juggler.Stats) uint64 { return s.Nacks }),
		total("publications_total", "Publications handed to the broker.", func(s juggler.Stats) uint64 { return s.Publications }),
		total("events_total", "EVNT handed to sessions.", func(s juggler.Stats) uint64 { return s.Events }),
		total("gaps_total", "Topics for which events may have been missed.", func(s juggler.Stats) uint64 { return s.Gaps }),
		total("late_results_total", "Results that came for calls that were over.", func(s juggler.Stats) uint64 { return s.LateResults }),
		total("panics_total", "Panics in user code.", func(s juggler.Stats) uint64 { return s.Panics }),
	}
	return append(m, redisMetrics(e)...)
}

// calleeMetrics are the figures of a callee and its broker.
func calleeMetrics(c *calleekit.Callee, e *engine.Engine) admin.Metrics {
	gauge := func(name, help string, value func(calleekit.Stats) int) admin.Metric {
		return admin.Metric{Name: name, Help: help, Value: func() float64 { return float64(value(c.Stats())) }}
	}
	total := func(name, help string, value func(calleekit.Stats) uint64) admin.Metric {
		return admin.Metric{Name: name, Help: help, Total: true, Value: func() float64 { return float64(value(c.Stats())) }}
	}
	m := admin.Metrics{
		gauge("callee_waiting", "Calls taken whose function is about to be called.", func(s calleekit.Stats) int { return s.Waiting }),
		gauge("callee_running", "Functions that run.", func(s calleekit.Stats) int { return s.Running }),
		gauge("callee_unanswered", "Results that the broker has not stored yet.", func(s calleekit.Stats) int { return s.Unanswered }),
		total("callee_calls_total", "Functions called.", func(s calleekit.Stats) uint64 { return s.Calls }),
		total("callee_failed_total", "Calls that ended in an error.", func(s calleekit.Stats) uint64 { return s.Failed }),
		total("callee_panics_total", "Calls that panicked.", func(s calleekit.Stats) uint64 { return s.Panics }),
		total("callee_unstarted_total", "Calls that expired or were cancelled before their function was called.", func(s calleekit.Stats) uint64 { return s.Unstarted }),
		total("callee_lost_total", "Results given up.", func(s calleekit.Stats) uint64 { return s.Lost }),
	}
	return append(m, redisMetrics(e)...)
}

// redisMetrics are the figures of the brokers on Redis: the first carries calls
// (and events), the second, if there is one, events.
func redisMetrics(e *engine.Engine) admin.Metrics {
	var m admin.Metrics
	for i, b := range e.Redis {
		labels := prometheus.Labels{"redis": strconv.Itoa(i + 1)}
		total := func(name, help string, value func(redis.Stats) int64) {
			m = append(m, admin.Metric{Name: "redis_" + name + "_total", Help: help, Labels: labels, Total: true,
				Value: func() float64 { return float64(value(b.Stats())) }})
		}
		total("calls", "Calls queued here.", func(s redis.Stats) int64 { return s.Calls })
		total("pushes", "Scripts that queued calls.", func(s redis.Stats) int64 { return s.Pushes })
		total("taken", "Calls taken here.", func(s redis.Stats) int64 { return s.Taken })
		total("results", "Results stored here.", func(s redis.Stats) int64 { return s.Results })
		total("results_dropped", "Results not stored: the node is gone, or its list is full.", func(s redis.Stats) int64 { return s.ResultsDropped })
		total("received", "Results received here.", func(s redis.Stats) int64 { return s.Received })
		total("lost", "Calls reported with 502 here.", func(s redis.Stats) int64 { return s.Lost })
		total("published", "Events published here.", func(s redis.Stats) int64 { return s.Published })
		total("events", "Messages received from subscriptions here.", func(s redis.Stats) int64 { return s.Events })
		total("gaps", "Subscriptions that may have missed something.", func(s redis.Stats) int64 { return s.Gaps })
		total("corrupt", "Values that are not juggler's, dropped.", func(s redis.Stats) int64 { return s.Corrupt })
		m = append(m, admin.Metric{Name: "redis_evicting", Help: "Masters that evict keys when their memory is full.", Labels: labels,
			Value: func() float64 { return float64(b.Stats().Evicting) }})
		total("links_lost", "Connections that failed, without those that were idle.", func(s redis.Stats) int64 { return s.LinksLost })
	}
	return m
}

// vars is what /debug/vars shows of a node.
func vars(h *juggler.Handler, e *engine.Engine) any {
	return map[string]any{"node": h.Node(), "handler": h.Stats(), "redis": redisStats(e)}
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
