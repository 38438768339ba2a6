package telemetry

import (
	"strconv"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
)

// Handler are the metrics of a node.
var Handler = []Metric[juggler.Stats]{
	upDown("juggler_sessions", "{session}", "Sessions of this node.", func(s *juggler.Stats) int { return s.Sessions }),
	upDown("juggler_sessions_event_loop", "{session}", "Sessions served by event loops.", func(s *juggler.Stats) int { return s.EventLoopSessions }),
	upDown("juggler_sessions_portable", "{session}", "Sessions with goroutines of their own.", func(s *juggler.Stats) int { return s.PortableConnections }),
	upDown("juggler_subscriptions", "{subscription}", "Subscriptions of sessions.", func(s *juggler.Stats) int { return s.Subscriptions }),
	upDown("juggler_sessions_compressed", "{session}", "Sessions that take compressed messages.", func(s *juggler.Stats) int { return s.Deflating }),
	counter("juggler_deflated_bytes_total", "By", "Messages that were sent compressed, before that.", func(s *juggler.Stats) uint64 { return s.DeflatedFrom }),
	counter("juggler_deflated_wire_bytes_total", "By", "The same, as they were sent.", func(s *juggler.Stats) uint64 { return s.DeflatedTo }),
	counter("juggler_inflated_bytes_total", "By", "Messages of clients that came compressed, inflated.", func(s *juggler.Stats) uint64 { return s.InflatedTo }),
	counter("juggler_inflated_wire_bytes_total", "By", "The same, as they came.", func(s *juggler.Stats) uint64 { return s.InflatedFrom }),
	upDown("juggler_queued_bytes", "By", "Memory for what waits for clients, user code and the broker.", func(s *juggler.Stats) int { return s.QueuedBytes }),
	counter("juggler_connects_total", "{session}", "Sessions begun.", func(s *juggler.Stats) uint64 { return s.Connected }),
	counter("juggler_disconnects_total", "{session}", "Sessions ended.", func(s *juggler.Stats) uint64 { return s.Disconnected }),
	counter("juggler_slow_consumers_total", "{session}", "Sessions ended because the client did not read.", func(s *juggler.Stats) uint64 { return s.SlowConsumers }),
	counter("juggler_messages_total", "{message}", "Messages received from clients.", func(s *juggler.Stats) uint64 { return s.Messages }),
	counter("juggler_publications_total", "{publication}", "Publications handed to the broker.", func(s *juggler.Stats) uint64 { return s.Publications }),
	counter("juggler_publications_repeated_total", "{publication}", "Publications not made since the broker knew their keys.", func(s *juggler.Stats) uint64 { return s.Repeated }),
	counter("juggler_events_total", "{event}", "EVNT handed to sessions.", func(s *juggler.Stats) uint64 { return s.Events }),
	upDown("juggler_replays", "{subscription}", "Subscriptions to which kept events are sent.", func(s *juggler.Stats) int { return s.Replays }),
	counter("juggler_events_replayed_total", "{event}", "Kept events handed to sessions, among the events.", func(s *juggler.Stats) uint64 { return s.Replayed }),
	counter("juggler_recovered_total", "{subscription}", "Subscriptions that went on after a position.", func(s *juggler.Stats) uint64 { return s.Recovered }),
	counter("juggler_not_recovered_total", "{subscription}", "Subscriptions whose position proved nothing.", func(s *juggler.Stats) uint64 { return s.NotRecovered }),
	upDown("juggler_streams", "{call}", "Calls without an outcome whose answers may come in parts.", func(s *juggler.Stats) int { return s.Streams }),
	counter("juggler_parts_total", "{part}", "PART handed to sessions.", func(s *juggler.Stats) uint64 { return s.Parts }),
	counter("juggler_streams_stalled_total", "{call}", "Answers in parts that ended because the client asked for no more.", func(s *juggler.Stats) uint64 { return s.StreamsStalled }),
	counter("juggler_streams_broken_total", "{call}", "Answers in parts that ended because the broker had lost a part.", func(s *juggler.Stats) uint64 { return s.StreamsBroken }),
	upDown("juggler_keyed_waiting", "{request}", "Who waits for calls with keys.", func(s *juggler.Stats) int { return s.KeyedWaiting }),
	counter("juggler_keyed_made_total", "{call}", "Calls with keys that were made.", func(s *juggler.Stats) uint64 { return s.KeyedMade }),
	counter("juggler_keyed_joined_total", "{request}", "CALL with keys that joined a call that was there.", func(s *juggler.Stats) uint64 { return s.KeyedJoined }),
	counter("juggler_keyed_done_total", "{request}", "Outcomes of calls with keys that were given to who waited or asked.", func(s *juggler.Stats) uint64 { return s.KeyedDone }),
	counter("juggler_keyed_late_total", "{request}", "Waits for calls with keys that ended with the time of the call.", func(s *juggler.Stats) uint64 { return s.KeyedLate }),
	counter("juggler_keyed_gone_total", "{request}", "Times that nothing was kept of a call with a key.", func(s *juggler.Stats) uint64 { return s.KeyedGone }),
	upDown("juggler_present", "{user}", "Users in channels by sessions of this node, each in each.", func(s *juggler.Stats) int { return s.Present }),
	upDown("juggler_present_asked", "{channel}", "Channels of which sessions ask who is there.", func(s *juggler.Stats) int { return s.PresentAsked }),
	counter("juggler_present_reads_total", "{read}", "Times that who is in a channel was read from the broker.", func(s *juggler.Stats) uint64 { return s.PresentReads }),
	counter("juggler_present_untold_total", "{user}", "Users who came or went untold, as the program's hook was too slow.", func(s *juggler.Stats) uint64 { return s.PresentUntold }),
	counter("juggler_heres_total", "{message}", "HERE handed to sessions.", func(s *juggler.Stats) uint64 { return s.Heres }),
	counter("juggler_taken_away_total", "{subscription}", "Subscriptions that the server ended, as a right had ended.", func(s *juggler.Stats) uint64 { return s.TakenAway }),
	counter("juggler_gaps_total", "{gap}", "Topics for which events may have been missed.", func(s *juggler.Stats) uint64 { return s.Gaps }),
	counter("juggler_late_results_total", "{result}", "Results that came for calls that were over.", func(s *juggler.Stats) uint64 { return s.LateResults }),
	counter("juggler_revoked_total", "{session}", "Sessions ended because their tokens were revoked.", func(s *juggler.Stats) uint64 { return s.Revoked }),
	counter("juggler_cluster_commands_total", "{command}", "Times that this node did what all nodes were asked for.", func(s *juggler.Stats) uint64 { return s.Commands }),
	counter("juggler_panics_total", "{panic}", "Panics in user code.", func(s *juggler.Stats) uint64 { return s.Panics }),
	counter("juggler_held_up_total", "{call}", "Event loops held up by a function of a callee.", func(s *juggler.Stats) uint64 { return s.HeldUp }),
	counter("juggler_blocked_total", "{call}", "Calls of functions that must not wait, and took more than 100 ms.", func(s *juggler.Stats) uint64 { return s.Blocked }),

	{Name: "juggler_refusals_total", Unit: "{handshake}", Help: "Handshakes refused, by HTTP status and reason.", Labels: []string{"status", "reason"},
		each: func(s *juggler.Stats, yield func(float64, ...string)) {
			for _, r := range s.Refusals {
				yield(float64(r.Count), code(r.Status), r.Reason)
			}
		}},
	{Name: "juggler_closes_total", Unit: "{session}", Help: "Sessions ended, by who closed them, and close code.", Labels: []string{"by", "code"},
		each: func(s *juggler.Stats, yield func(float64, ...string)) {
			for _, c := range s.ClosesByUs {
				yield(float64(c.Count), "server", code(c.Code))
			}
			for _, c := range s.ClosesByPeers {
				yield(float64(c.Count), "client", code(c.Code))
			}
		}},
	{Name: "juggler_results_total", Unit: "{result}", Help: "RES sent, by code; 0: the call succeeded.", Labels: []string{"code"},
		each: func(s *juggler.Stats, yield func(float64, ...string)) {
			for _, c := range s.ResultCodes {
				yield(float64(c.Count), code(c.Code))
			}
		}},
	{Name: "juggler_nacks_total", Unit: "{request}", Help: "NACK sent, by type of the request and code.", Labels: []string{"type", "code"},
		each: func(s *juggler.Stats, yield func(float64, ...string)) {
			for _, n := range s.NackCodes {
				yield(float64(n.Count), n.Type.String(), code(n.Code))
			}
		}},
	byURI("juggler_calls_total", "juggler.calls", "{call}", "Calls that have ended, where call statistics are kept, by URI and code; no URI: all others.", func(c *juggler.CallCount) float64 { return float64(c.Count) }),
	byURI("juggler_calls_seconds_total", "juggler.calls.time", "s", "Time that they took.", func(c *juggler.CallCount) float64 { return c.Total.Seconds() }),
	byURI("juggler_calls_run_seconds_total", "juggler.calls.run", "s", "Of that, in which a callee's function ran.", func(c *juggler.CallCount) float64 { return c.Ran.Seconds() }),
}

// Callee are the metrics of a callee.
var Callee = []Metric[calleekit.Stats]{
	upDown("juggler_callee_waiting", "{call}", "Calls taken whose function is about to be called.", func(s *calleekit.Stats) int { return s.Waiting }),
	upDown("juggler_callee_running", "{call}", "Functions that run.", func(s *calleekit.Stats) int { return s.Running }),
	upDown("juggler_callee_unanswered", "{result}", "Results that the broker has not stored yet.", func(s *calleekit.Stats) int { return s.Unanswered }),
	counter("juggler_callee_calls_total", "{call}", "Functions called.", func(s *calleekit.Stats) uint64 { return s.Calls }),
	counter("juggler_callee_failed_total", "{call}", "Calls that ended in an error.", func(s *calleekit.Stats) uint64 { return s.Failed }),
	counter("juggler_callee_panics_total", "{call}", "Calls that panicked.", func(s *calleekit.Stats) uint64 { return s.Panics }),
	counter("juggler_callee_unstarted_total", "{call}", "Calls that expired or were cancelled before their function was called.", func(s *calleekit.Stats) uint64 { return s.Unstarted }),
	counter("juggler_callee_lost_total", "{result}", "Results given up.", func(s *calleekit.Stats) uint64 { return s.Lost }),
}

// Memory are the metrics of an embedded broker: what it holds.
var Memory = []Metric[memory.Stats]{
	upDown("juggler_embedded_queued_calls", "{call}", "Calls that wait for a callee.", func(s *memory.Stats) int { return s.QueuedCalls }),
	upDown("juggler_embedded_queued_bytes", "By", "Memory of them.", func(s *memory.Stats) int64 { return s.QueuedBytes }),
	upDown("juggler_embedded_keyed_calls", "{call}", "Calls with keys of which something is kept.", func(s *memory.Stats) int { return s.KeyedCalls }),
	upDown("juggler_embedded_keyed_bytes", "By", "Memory of them.", func(s *memory.Stats) int64 { return s.KeyedBytes }),
	upDown("juggler_embedded_present", "{user}", "Users in channels, one in two channels twice.", func(s *memory.Stats) int { return s.Present }),
	upDown("juggler_embedded_registered", "{entry}", "Entries that nodes have registered, whose time may be over.", func(s *memory.Stats) int { return s.Registered }),
	upDown("juggler_embedded_kept_events", "{event}", "Events that are kept.", func(s *memory.Stats) int { return s.KeptEvents }),
	upDown("juggler_embedded_kept_bytes", "By", "Memory of them, and of what else history needs.", func(s *memory.Stats) int64 { return s.KeptBytes }),
}

// RedisState is what is known of a broker on Redis.
type RedisState struct {
	redis.Stats
	Health error // of the broker's Health
}

// Redis are the metrics of a broker on Redis.
var Redis = []Metric[RedisState]{
	{Name: "juggler_redis_healthy", Unit: "1", Kind: Gauge, Help: "Whether the process can do its work with Redis: 1 or 0.",
		each: func(s *RedisState, yield func(float64, ...string)) {
			if s.Health == nil {
				yield(1)
			} else {
				yield(0)
			}
		}},
	counter("juggler_redis_calls_total", "{call}", "Calls queued here.", func(s *RedisState) int64 { return s.Calls }),
	counter("juggler_redis_pushes_total", "{script}", "Scripts that queued calls.", func(s *RedisState) int64 { return s.Pushes }),
	counter("juggler_redis_taken_total", "{call}", "Calls taken here.", func(s *RedisState) int64 { return s.Taken }),
	counter("juggler_redis_results_total", "{result}", "Results stored here.", func(s *RedisState) int64 { return s.Results }),
	counter("juggler_redis_results_dropped_total", "{result}", "Results not stored: the node is gone, or its list is full.", func(s *RedisState) int64 { return s.ResultsDropped }),
	counter("juggler_redis_received_total", "{result}", "Results received here.", func(s *RedisState) int64 { return s.Received }),
	counter("juggler_redis_parts_total", "{part}", "Parts of answers stored here.", func(s *RedisState) int64 { return s.Parts }),
	counter("juggler_redis_parts_received_total", "{part}", "Parts of answers received here, some perhaps twice.", func(s *RedisState) int64 { return s.PartsReceived }),
	counter("juggler_redis_lost_total", "{call}", "Calls reported with 502 here.", func(s *RedisState) int64 { return s.Lost }),
	counter("juggler_redis_published_total", "{event}", "Events published here.", func(s *RedisState) int64 { return s.Published }),
	counter("juggler_redis_events_total", "{message}", "Messages received from subscriptions here.", func(s *RedisState) int64 { return s.Events }),
	counter("juggler_redis_gaps_total", "{subscription}", "Subscriptions that may have missed something.", func(s *RedisState) int64 { return s.Gaps }),
	counter("juggler_redis_healed_total", "{event}", "Kept events that did not arrive, and were read from their logs.", func(s *RedisState) int64 { return s.Healed }),
	counter("juggler_redis_corrupt_total", "{value}", "Values that are not juggler's, dropped.", func(s *RedisState) int64 { return s.Corrupt }),
	{Name: "juggler_redis_evicting", Unit: "{server}", Kind: Gauge, Help: "Masters that evict keys when their memory is full.",
		each: func(s *RedisState, yield func(float64, ...string)) { yield(float64(s.Evicting)) }},
	counter("juggler_redis_links_lost_total", "{connection}", "Connections that failed, without those that were idle.", func(s *RedisState) int64 { return s.LinksLost }),
}

// byURI is a figure of the calls to each URI that ended with each code.
func byURI(name, otel, unit, help string, value func(*juggler.CallCount) float64) Metric[juggler.Stats] {
	return Metric[juggler.Stats]{Name: name, otel: otel, Unit: unit, Help: help, Labels: []string{"uri", "code"},
		each: func(s *juggler.Stats, yield func(float64, ...string)) {
			for i := range s.Calls {
				c := &s.Calls[i]
				yield(value(c), c.URI, code(c.Code))
			}
		}}
}

// code is the value of a label.
func code(code int) string {
	if code == juggler.OtherCodes {
		return "other"
	}
	return strconv.Itoa(code)
}
