package main

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/admin"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/listen"
)

// metrics are the figures of a node and its broker.
func (s *server) metrics() admin.Metrics {
	h := s.handler
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
		gauge("queued_bytes", "Memory for what waits for clients, user code and the broker.", func(s juggler.Stats) int { return s.QueuedBytes }),
		total("connects_total", "Sessions begun.", func(s juggler.Stats) uint64 { return s.Connected }),
		total("disconnects_total", "Sessions ended.", func(s juggler.Stats) uint64 { return s.Disconnected }),
		total("slow_consumers_total", "Sessions ended because the client did not read.", func(s juggler.Stats) uint64 { return s.SlowConsumers }),
		total("messages_total", "Messages received from clients.", func(s juggler.Stats) uint64 { return s.Messages }),
		total("publications_total", "Publications handed to the broker.", func(s juggler.Stats) uint64 { return s.Publications }),
		total("publications_repeated_total", "Publications not made since the broker knew their keys.", func(s juggler.Stats) uint64 { return s.Repeated }),
		total("events_total", "EVNT handed to sessions.", func(s juggler.Stats) uint64 { return s.Events }),
		gauge("replays", "Subscriptions to which kept events are sent.", func(s juggler.Stats) int { return s.Replays }),
		total("events_replayed_total", "Kept events handed to sessions, among the events.", func(s juggler.Stats) uint64 { return s.Replayed }),
		total("recovered_total", "Subscriptions that went on after a position.", func(s juggler.Stats) uint64 { return s.Recovered }),
		total("not_recovered_total", "Subscriptions whose position proved nothing.", func(s juggler.Stats) uint64 { return s.NotRecovered }),
		gauge("streams", "Calls without an outcome whose answers may come in parts.", func(s juggler.Stats) int { return s.Streams }),
		total("parts_total", "PART handed to sessions.", func(s juggler.Stats) uint64 { return s.Parts }),
		total("streams_stalled_total", "Answers in parts that ended because the client asked for no more.", func(s juggler.Stats) uint64 { return s.StreamsStalled }),
		total("streams_broken_total", "Answers in parts that ended because the broker had lost a part.", func(s juggler.Stats) uint64 { return s.StreamsBroken }),
		gauge("keyed_waiting", "Who waits for calls with keys.", func(s juggler.Stats) int { return s.KeyedWaiting }),
		total("keyed_made_total", "Calls with keys that were made.", func(s juggler.Stats) uint64 { return s.KeyedMade }),
		total("keyed_joined_total", "CALL with keys that joined a call that was there.", func(s juggler.Stats) uint64 { return s.KeyedJoined }),
		total("keyed_done_total", "Outcomes of calls with keys that were given to who waited or asked.", func(s juggler.Stats) uint64 { return s.KeyedDone }),
		total("keyed_late_total", "Waits for calls with keys that ended with the time of the call.", func(s juggler.Stats) uint64 { return s.KeyedLate }),
		total("keyed_gone_total", "Times that nothing was kept of a call with a key.", func(s juggler.Stats) uint64 { return s.KeyedGone }),
		gauge("present", "Users in channels by sessions of this node, each in each.", func(s juggler.Stats) int { return s.Present }),
		gauge("present_asked", "Channels of which sessions ask who is there.", func(s juggler.Stats) int { return s.PresentAsked }),
		total("present_reads_total", "Times that who is in a channel was read from the broker.", func(s juggler.Stats) uint64 { return s.PresentReads }),
		total("heres_total", "HERE handed to sessions.", func(s juggler.Stats) uint64 { return s.Heres }),
		total("taken_away_total", "Subscriptions that the server ended, as a right had ended.", func(s juggler.Stats) uint64 { return s.TakenAway }),
		total("gaps_total", "Topics for which events may have been missed.", func(s juggler.Stats) uint64 { return s.Gaps }),
		total("late_results_total", "Results that came for calls that were over.", func(s juggler.Stats) uint64 { return s.LateResults }),
		total("revoked_total", "Sessions ended because their tokens were revoked.", func(s juggler.Stats) uint64 { return s.Revoked }),
		total("cluster_commands_total", "Times that this node did what all nodes were asked for.", func(s juggler.Stats) uint64 { return s.Commands }),
		total("panics_total", "Panics in user code.", func(s juggler.Stats) uint64 { return s.Panics }),
		total("held_up_total", "Event loops held up by a function of a callee.", func(s juggler.Stats) uint64 { return s.HeldUp }),
		total("blocked_total", "Calls of functions that must not wait, and took more than 100 ms.", func(s juggler.Stats) uint64 { return s.Blocked }),
		{Name: "accept_failures_total", Help: "Failures to accept a connection.", Total: true,
			Value: func() float64 { return float64(listen.AcceptFailures()) }},
	}
	return append(append(append(m, s.metricsByCode()...), memoryMetrics(s.engine)...), redisMetrics(s.engine)...)
}

// metricsByCode are the figures of a node that say why.
func (s *server) metricsByCode() admin.Metrics {
	h := s.handler
	return admin.Metrics{
		{Name: "refusals_total", Help: "Handshakes refused, by HTTP status and reason.", By: []string{"status", "reason"}, Total: true,
			Values: func() (all []admin.Labelled) {
				for _, r := range h.Stats().Refusals {
					all = append(all, admin.Labelled{Labels: []string{codeText(r.Status), r.Reason}, Value: float64(r.Count)})
				}
				if n := s.elsewhere.refused.Load(); n > 0 {
					all = append(all, admin.Labelled{Labels: []string{codeText(http.StatusNotFound), "path"}, Value: float64(n)})
				}
				return all
			}},
		{Name: "closes_total", Help: "Sessions ended, by who closed them, and close code.", By: []string{"by", "code"}, Total: true,
			Values: func() []admin.Labelled {
				s := h.Stats()
				return append(byCode(s.ClosesByUs, "server"), byCode(s.ClosesByPeers, "client")...)
			}},
		{Name: "results_total", Help: "RES sent, by code; 0: the call succeeded.", By: []string{"code"}, Total: true,
			Values: func() []admin.Labelled { return byCode(h.Stats().ResultCodes) }},
		{Name: "nacks_total", Help: "NACK sent, by type of the request and code.", By: []string{"type", "code"}, Total: true,
			Values: func() (all []admin.Labelled) {
				for _, n := range h.Stats().NackCodes {
					all = append(all, admin.Labelled{Labels: []string{n.Type.String(), codeText(n.Code)}, Value: float64(n.Count)})
				}
				return all
			}},
		callMetric(h, "calls_total", "Calls that have ended, with --call-stats, by URI and code.", func(c juggler.CallCount) float64 { return float64(c.Count) }),
		callMetric(h, "calls_seconds_total", "Time that they took.", func(c juggler.CallCount) float64 { return c.Total.Seconds() }),
		callMetric(h, "calls_run_seconds_total", "Of that, from when a callee took them.", func(c juggler.CallCount) float64 { return c.Ran.Seconds() }),
	}
}

func callMetric(h *juggler.Handler, name, help string, value func(juggler.CallCount) float64) admin.Metric {
	return admin.Metric{Name: name, Help: help, By: []string{"uri", "code"}, Total: true, Values: func() (all []admin.Labelled) {
		for _, c := range h.Stats().Calls {
			all = append(all, admin.Labelled{Labels: []string{c.URI, codeText(c.Code)}, Value: value(c)})
		}
		return all
	}}
}

// byCode returns counts with their codes behind other labels.
func byCode(counts []juggler.CodeCount, labels ...string) (all []admin.Labelled) {
	for _, c := range counts {
		all = append(all, admin.Labelled{Labels: append(labels[:len(labels):len(labels)], codeText(c.Code)), Value: float64(c.Count)})
	}
	return all
}

func codeText(code int) string {
	if code == juggler.OtherCodes {
		return "other"
	}
	return strconv.Itoa(code)
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

// memoryMetrics are what the embedded broker holds, if there is one.
func memoryMetrics(e *engine.Engine) admin.Metrics {
	b := e.Memory
	if b == nil {
		return nil
	}
	gauge := func(name, help string, value func(memory.Stats) int64) admin.Metric {
		return admin.Metric{Name: "embedded_" + name, Help: help, Value: func() float64 { return float64(value(b.Stats())) }}
	}
	return admin.Metrics{
		gauge("queued_calls", "Calls that wait for a callee.", func(s memory.Stats) int64 { return int64(s.QueuedCalls) }),
		gauge("queued_bytes", "Memory of them.", func(s memory.Stats) int64 { return s.QueuedBytes }),
		gauge("keyed_calls", "Calls with keys of which something is kept.", func(s memory.Stats) int64 { return int64(s.KeyedCalls) }),
		gauge("keyed_bytes", "Memory of them.", func(s memory.Stats) int64 { return s.KeyedBytes }),
		gauge("kept_events", "Events that are kept.", func(s memory.Stats) int64 { return int64(s.KeptEvents) }),
		gauge("kept_bytes", "Memory of them, and of what else --history needs.", func(s memory.Stats) int64 { return s.KeptBytes }),
	}
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
		total("parts", "Parts of answers stored here.", func(s redis.Stats) int64 { return s.Parts })
		total("parts_received", "Parts of answers received here, some perhaps twice.", func(s redis.Stats) int64 { return s.PartsReceived })
		total("lost", "Calls reported with 502 here.", func(s redis.Stats) int64 { return s.Lost })
		total("published", "Events published here.", func(s redis.Stats) int64 { return s.Published })
		total("events", "Messages received from subscriptions here.", func(s redis.Stats) int64 { return s.Events })
		total("gaps", "Subscriptions that may have missed something.", func(s redis.Stats) int64 { return s.Gaps })
		total("healed", "Kept events that did not arrive, and were read from their logs.", func(s redis.Stats) int64 { return s.Healed })
		total("corrupt", "Values that are not juggler's, dropped.", func(s redis.Stats) int64 { return s.Corrupt })
		m = append(m, admin.Metric{Name: "redis_evicting", Help: "Masters that evict keys when their memory is full.", Labels: labels,
			Value: func() float64 { return float64(b.Stats().Evicting) }})
		total("links_lost", "Connections that failed, without those that were idle.", func(s redis.Stats) int64 { return s.LinksLost })
	}
	return m
}

// vars is what /debug/vars shows of a node.
func vars(h *juggler.Handler, e *engine.Engine) any {
	m := map[string]any{"node": h.Node(), "handler": h.Stats(), "redis": redisStats(e)}
	if e.Memory != nil {
		m["embedded"] = e.Memory.Stats()
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
