package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/juggler-go/juggler/bench/internal/load"
)

// A scenario is one load and who gets it in turn. The first contender is
// juggler, whose ratio to each of the others is what counts.
type scenario struct {
	name       string
	title      string
	quick      int // how many contenders take part with -quick; 0: none, the scenario is left out
	load       load.Spec
	contenders []contender
	goals      []goal

	window time.Duration // at least, where one round of answers takes long

	series *series // of which it is one point, instead of a table of its own
	x      int     // where on the series' axis
}

// A series is how the cost of a message grows with one quantity.
type series struct{ name, title, axis string }

// A contender is a server of package peer and the protocol it is spoken to.
type contender struct {
	name, server, protocol string
	callee                 string // another server of package peer, without clients
	redis                  bool   // they share a Redis
	deflate                bool   // its clients take compressed messages
	kept                   bool   // what is published goes to a channel whose events are kept
	parts                  bool   // long answers come in parts, not as events
	conns                  int    // instead of the load's, if above 0
}

// A goal is a target of the project: a limit for one contender, mostly
// relative to another, its peer.
type goal struct {
	who, peer string // names; who is the first contender if empty
	kind      goalKind
	limit     float64
}

type goalKind int

const (
	rateTimes       goalKind = iota // at least so many times the peer's rate
	idleBytes                       // at most so many bytes for each idle connection
	latencyTimes                    // a median latency of at most so many times the peer's, or 0.4 ms
	cpuMicros                       // at most so much CPU of all processes for each message
	commandsSent                    // fewer commands sent to Redis for each message
	sameConnections                 // as many connections to Redis as the peer
	keptReads                       // at most so many reads of kept events in the whole run
	redisCPUTimes                   // at most so many times the peer's CPU of Redis for each message
)

var (
	ourEcho = contender{name: "juggler wsconn", server: "juggler-echo", protocol: "echo"}
	gws     = contender{name: "gws", server: "gws", protocol: "echo"}
	gorilla = contender{name: "gorilla/websocket", server: "gorilla", protocol: "echo"}
	coder   = contender{name: "coder/websocket", server: "coder", protocol: "echo"}

	juggler            = contender{name: "juggler", server: "juggler", protocol: "juggler"}
	centrifuge         = contender{name: "centrifuge", server: "centrifuge", protocol: "centrifuge"}
	centrifugeProtobuf = contender{name: "centrifuge, protobuf", server: "centrifuge", protocol: "centrifuge-protobuf"}
	natsTCP            = contender{name: "NATS, TCP", server: "nats", protocol: "nats"}
	natsWebSocket      = contender{name: "NATS, WebSocket", server: "nats-ws", protocol: "nats-ws"}

	jugglerURIs        = contender{name: "juggler", server: "juggler-uris", protocol: "juggler"}
	jugglerNonBlocking = contender{name: "juggler, authorizer and middleware that do not block", server: "juggler-nonblocking", protocol: "juggler"}
	jugglerBlocking    = contender{name: "juggler, authorizer and middleware that may block", server: "juggler-blocking", protocol: "juggler"}

	jugglerObserved   = contender{name: "juggler, times of calls for Prometheus", server: "juggler-observed", protocol: "juggler"}
	jugglerTracedNone = contender{name: "juggler, traces, none sampled", server: "juggler-traced-none", protocol: "juggler"}
	jugglerTraced1    = contender{name: "juggler, traces, 1 % sampled", server: "juggler-traced-1", protocol: "juggler"}
	jugglerTracedAll  = contender{name: "juggler, traces, all sampled", server: "juggler-traced-all", protocol: "juggler"}

	jugglerRedis8  = contender{name: "juggler, 8 at a time", server: "juggler-redis", protocol: "juggler", callee: "redis-callee-8", redis: true}
	jugglerRedis64 = contender{name: "juggler, 64 at a time", server: "juggler-redis", protocol: "juggler", callee: "redis-callee-64", redis: true}

	jugglerRedis            = contender{name: "juggler", server: "juggler-redis", protocol: "juggler", callee: "redis-callee-64", redis: true}
	jugglerRedisNonBlocking = contender{name: jugglerNonBlocking.name, server: "juggler-redis-nonblocking", protocol: "juggler", callee: "redis-callee-64", redis: true}
	jugglerRedisBlocking    = contender{name: jugglerBlocking.name, server: "juggler-redis-blocking", protocol: "juggler", callee: "redis-callee-64", redis: true}

	jugglerRedis10   = contender{name: "10 clients", server: "juggler-redis", protocol: "juggler", callee: "redis-callee-64", redis: true, conns: 10}
	jugglerRedis1000 = contender{name: "1,000 clients", server: "juggler-redis", protocol: "juggler", callee: "redis-callee-64", redis: true, conns: 1000}

	redisPair = contender{name: "LPUSH and BRPOP", protocol: "redis-pair", redis: true}
	redisPing = contender{name: "PING", protocol: "redis-ping", redis: true}

	ourEchoTLS    = contender{name: "juggler wsconn, TLS", server: "juggler-echo-tls", protocol: "echo"}
	gwsTLS        = contender{name: "gws, TLS", server: "gws-tls", protocol: "echo"}
	jugglerTLS    = contender{name: "juggler, TLS", server: "juggler-tls", protocol: "juggler"}
	centrifugeTLS = contender{name: "centrifuge, TLS", server: "centrifuge-tls", protocol: "centrifuge"}

	jugglerHistory      = contender{name: "juggler", server: "juggler-history", protocol: "juggler"}
	jugglerRedisHistory = contender{name: "juggler", server: "juggler-redis-history", protocol: "juggler", redis: true}
	centrifugeRedis     = contender{name: "centrifuge", server: "centrifuge-redis", protocol: "centrifuge", redis: true}

	rawLoop       = contender{name: "raw write loop", server: "raw-loop", protocol: "echo"}
	gwsFanOut     = contender{name: "gws", server: "gws-broadcast", protocol: "echo"}
	gorillaFanOut = contender{name: "gorilla prepared", server: "gorilla-prepared", protocol: "echo"}
)

var scenarios = build()

func build() []scenario {
	var all []scenario
	add := func(s scenario) { all = append(all, s) }

	for _, inFlight := range []int{1, 64} {
		add(scenario{
			name:       fmt.Sprintf("echo-100x%d", inFlight),
			title:      fmt.Sprintf("Echo of the bare WebSocket layer: 100 connections, %d in flight, 16 bytes", inFlight),
			quick:      2,
			load:       load.Spec{Kind: load.Requests, Conns: 100, InFlight: inFlight, Payload: 16},
			contenders: []contender{ourEcho, gws, gorilla, coder},
			goals:      []goal{{peer: gws.name, limit: map[int]float64{1: 1.2, 64: 5}[inFlight]}},
		})
	}
	add(scenario{
		name:       "echo-tls",
		title:      "Echo over TLS: 100 connections, 1 in flight, 16 bytes",
		load:       load.Spec{Kind: load.Requests, TLS: true, Conns: 100, InFlight: 1, Payload: 16},
		contenders: []contender{ourEchoTLS, gwsTLS},
		goals:      []goal{{peer: gwsTLS.name, limit: 0.9}},
	})

	calls := func(conns, inFlight, quick int, goals ...goal) {
		add(scenario{
			name:       fmt.Sprintf("calls-%dx%d", conns, inFlight),
			title:      fmt.Sprintf("Calls through the embedded broker: %s, %d in flight, 16 bytes", connections(conns), inFlight),
			quick:      quick,
			load:       load.Spec{Kind: load.Requests, Conns: conns, InFlight: inFlight, Payload: smallPayload},
			contenders: []contender{juggler, centrifuge, natsTCP, natsWebSocket, centrifugeProtobuf},
			goals:      goals,
		})
	}
	calls(100, 1, 4,
		goal{peer: centrifuge.name, limit: 1.5}, goal{peer: natsWebSocket.name, limit: 2})
	calls(100, 64, 4,
		goal{peer: centrifuge.name, limit: 2}, goal{peer: natsTCP.name, limit: 1}, goal{peer: natsWebSocket.name, limit: 1})
	for _, conns := range []int{1, 100, 1000} {
		for _, inFlight := range []int{1, 16, 64} {
			if conns != 100 || inFlight == 16 {
				calls(conns, inFlight, 0)
			}
		}
	}
	for _, inFlight := range []int{1, 64} {
		add(scenario{
			name:       fmt.Sprintf("hooks-100x%d", inFlight),
			title:      fmt.Sprintf("Calls with authentication, an authorizer and a middleware: 100 connections, %d in flight, 16 bytes", inFlight),
			load:       load.Spec{Kind: load.Requests, Conns: 100, InFlight: inFlight, Payload: smallPayload},
			contenders: []contender{juggler, jugglerNonBlocking, jugglerBlocking},
			goals: []goal{
				{who: jugglerNonBlocking.name, peer: juggler.name, limit: 0.9},
				{who: jugglerBlocking.name, peer: juggler.name, limit: 0.6},
			},
		})
	}
	for _, inFlight := range []int{1, 64} {
		add(scenario{
			name:       fmt.Sprintf("traces-100x%d", inFlight),
			title:      fmt.Sprintf("Calls with telemetry of node and callee: 100 connections, %d in flight, 16 bytes", inFlight),
			load:       load.Spec{Kind: load.Requests, Conns: 100, InFlight: inFlight, Payload: smallPayload},
			contenders: []contender{juggler, jugglerObserved, jugglerTracedNone, jugglerTraced1, jugglerTracedAll},
		})
	}
	add(scenario{
		name:       "calls-tls",
		title:      "Calls over TLS: 100 connections, 1 in flight, 16 bytes",
		load:       load.Spec{Kind: load.Requests, TLS: true, Conns: 100, InFlight: 1, Payload: smallPayload},
		contenders: []contender{jugglerTLS, centrifugeTLS},
	})

	add(scenario{
		name:       "redis-100x1",
		title:      "Calls through Redis: 100 connections, 1 in flight, 16 bytes",
		load:       load.Spec{Kind: load.Requests, Conns: 100, InFlight: 1, Payload: smallPayload},
		contenders: []contender{jugglerRedis64, jugglerRedis8, redisPair},
		goals: []goal{
			{who: jugglerRedis64.name, peer: redisPair.name, limit: 3},
			{kind: commandsSent, limit: 1},
			{who: jugglerRedis8.name, peer: redisPair.name, limit: 2.1}, // ten times the first implementation's 0.21
			{who: jugglerRedis8.name, kind: cpuMicros, limit: 89.6},     // a tenth of its 896 µs
		},
	})
	for _, inFlight := range []int{1, 16} {
		add(scenario{
			name:       fmt.Sprintf("redis-hooks-100x%d", inFlight),
			title:      fmt.Sprintf("Calls through Redis with authentication, an authorizer and a middleware: 100 connections, %d in flight, 16 bytes", inFlight),
			load:       load.Spec{Kind: load.Requests, Conns: 100, InFlight: inFlight, Payload: smallPayload},
			contenders: []contender{jugglerRedis, jugglerRedisNonBlocking, jugglerRedisBlocking},
		})
	}
	add(scenario{
		name:       "redis-1x1",
		title:      "Calls through Redis: 1 connection, 1 in flight, 16 bytes",
		load:       load.Spec{Kind: load.Requests, Conns: 1, InFlight: 1, Payload: smallPayload},
		contenders: []contender{jugglerRedis64, redisPing},
		goals:      []goal{{kind: latencyTimes, peer: redisPing.name, limit: 3}},
	})
	add(scenario{
		name:       "redis-connections",
		title:      "Connections to Redis of a node, a callee and their idle clients' subscriptions",
		load:       load.Spec{Kind: load.Idle},
		contenders: []contender{jugglerRedis10, jugglerRedis1000},
		goals:      []goal{{who: jugglerRedis1000.name, kind: sameConnections, peer: jugglerRedis10.name}},
	})

	for _, outstanding := range []int{1, 16} {
		add(scenario{
			name:       fmt.Sprintf("fanout-1000x%d", outstanding),
			title:      fmt.Sprintf("Fan-out to 1,000 subscribers: %d outstanding, 128 bytes", outstanding),
			quick:      3,
			load:       load.Spec{Kind: load.FanOut, Conns: 1000, InFlight: outstanding, Payload: 128},
			contenders: []contender{juggler, rawLoop, centrifuge, gwsFanOut, gorillaFanOut, natsTCP},
			goals: map[int][]goal{
				1:  {{peer: rawLoop.name, limit: 0.95}},
				16: {{peer: centrifuge.name, limit: 1.5}},
			}[outstanding],
		})
	}
	history(add)
	streams(add)
	compression(add)
	add(scenario{
		name:       "mixed",
		title:      "Mixed load: 100 connections with calls of 16 B to 4 KiB, publications to 10 subscribers each, subscriptions that come and go",
		load:       load.Spec{Kind: load.Mixed, Conns: 100, InFlight: 4},
		contenders: []contender{juggler, centrifuge},
	})
	add(scenario{
		name:       "idle-15000",
		title:      "15,000 idle connections: a user of 16 bytes, one subscription to a channel shared by all",
		quick:      1,
		load:       load.Spec{Kind: load.Idle, Conns: 15_000},
		contenders: []contender{juggler, centrifuge},
		goals:      []goal{{kind: idleBytes, limit: 600}},
	})
	add(scenario{
		name:       "idle-15000-channels",
		title:      "15,000 idle connections: a user of 16 bytes, each subscribed to a channel of its own",
		load:       load.Spec{Kind: load.Idle, Conns: 15_000, Channels: 15_000},
		contenders: []contender{juggler, centrifuge},
	})
	add(scenario{
		name:       "idle-tls",
		title:      "1,000 idle connections over TLS, one subscription to a channel shared by all",
		load:       load.Spec{Kind: load.Idle, TLS: true, Conns: 1000},
		contenders: []contender{jugglerTLS, centrifugeTLS, gwsTLS},
	})
	add(scenario{
		name:       "connects",
		title:      "Handshakes, 32 at a time, each until the connection is ready for calls",
		load:       load.Spec{Kind: load.Connects, Conns: 32},
		contenders: []contender{juggler, ourEcho, gws, centrifuge},
	})
	return append(all, growth()...)
}

// history adds what concerns channels whose events are kept: clients that come
// back for those that they missed, on another node than where they were
// published if there is Redis, and publications beside those to other channels.
func history(add func(scenario)) {
	recover := load.Spec{Kind: load.Recover, Conns: 32, Channels: 100, Missed: 300, Payload: 128}
	add(scenario{
		name:       "recover",
		title:      "Clients that come back, embedded broker: 32 at a time, each misses 300 events of 128 bytes on one of 100 channels",
		load:       recover,
		contenders: []contender{jugglerHistory, centrifuge},
	})
	add(scenario{
		name:       "recover-redis",
		title:      "Clients that come back to another node, through Redis: 32 at a time, each misses 300 events of 128 bytes on one of 100 channels",
		load:       recover,
		contenders: []contender{jugglerRedisHistory, centrifugeRedis},
		goals: []goal{
			{peer: centrifugeRedis.name, limit: 2},
			{peer: centrifugeRedis.name, kind: redisCPUTimes, limit: 1},
		},
	})
	add(scenario{
		name:       "return-redis",
		title:      "10,000 clients that come back at once to another node, through Redis: each misses 20 events of 128 bytes on the same channel",
		load:       load.Spec{Kind: load.Return, Conns: 10_000, Missed: 20, Payload: 128},
		contenders: []contender{jugglerRedisHistory},
		goals:      []goal{{kind: keptReads, limit: 10}},
	})
	add(scenario{
		name:       "return-redis-channels",
		title:      "10,000 clients that come back at once to another node, through Redis: each misses 3 events of 128 bytes on a channel of its own",
		load:       load.Spec{Kind: load.Return, Conns: 10_000, Channels: 10_000, Missed: 3, Payload: 128},
		contenders: []contender{jugglerRedisHistory},
		goals:      []goal{{kind: commandsSent, limit: 1.0 / 50}},
	})
	for _, of := range []struct {
		name, title string
		limit       float64
		contenders  []contender
	}{
		{"", "through the embedded broker", 0.8, []contender{jugglerHistory, centrifuge}},
		{"redis-", "through Redis", 0.5, []contender{jugglerRedisHistory, centrifugeRedis}},
	} {
		kept, plain := inTwoWays(of.contenders)
		for _, load := range []load.Spec{
			{Kind: load.Publish, Conns: 100, InFlight: 1, Payload: 128},
			{Kind: load.Publish, Conns: 100, InFlight: 16, Payload: 128},
			{Kind: load.Publish, Conns: 100, InFlight: 1, Payload: 128, Audience: 1},
		} {
			name, heard := fmt.Sprintf("publish-%s100x%d", of.name, load.InFlight), "nobody"
			if load.Audience > 0 {
				name, heard = name+"-heard", "one client"
			}
			add(scenario{
				name: name,
				title: fmt.Sprintf("Publications %s to a channel that %s listens to: 100 connections, %d in flight, 128 bytes",
					of.title, heard, load.InFlight),
				load:       load,
				contenders: slices.Concat(kept[:1], plain[:1], kept[1:], plain[1:]),
				goals:      []goal{{peer: plain[0].name, limit: of.limit}},
			})
		}
	}
}

// streams adds long answers: in parts, beside a function that publishes the same on a
// channel to which its caller listens. Events have no flow control up to the callee.
func streams(add func(scenario)) {
	for _, of := range []struct {
		name, title string
		parts       contender
	}{
		{"", "through the embedded broker", contender{server: "juggler-streamer"}},
		{"redis-", "through Redis", contender{server: "juggler-redis", callee: "redis-streamer", redis: true}},
	} {
		parts := of.parts
		parts.protocol = "juggler"
		events := parts
		parts.name, parts.parts = "juggler, parts", true
		events.name = "juggler, events"
		for _, conns := range []int{1, 100} {
			add(scenario{
				name:       fmt.Sprintf("stream-%s%d", of.name, conns),
				title:      fmt.Sprintf("Long answers %s, pieces of 128 bytes: %s, one answer on each", of.title, connections(conns)),
				load:       load.Spec{Kind: load.Stream, Conns: conns, Payload: 128},
				contenders: []contender{parts, events},
				goals:      []goal{{peer: events.name, limit: 0.8}},
			})
		}
	}
}

// compression adds what is compressed, beside the same without. gws has no calls: it sends
// back what it gets, as it comes.
func compression(add func(scenario)) {
	for _, n := range []int{200, 2000, 20_000} {
		calls := load.Spec{Kind: load.Requests, Conns: 100, InFlight: 16, Payload: n}
		add(scenario{
			name:       fmt.Sprintf("compress-calls-%d", n),
			title:      fmt.Sprintf("Calls with compressed results: 100 connections, 16 in flight, records of %s bytes", count(float64(n))),
			load:       calls,
			contenders: inDeflate(juggler, centrifuge, gws),
		})
		add(scenario{
			name:       fmt.Sprintf("compress-fanout-%d", n),
			title:      fmt.Sprintf("Fan-out to 1,000 subscribers, compressed: 1 outstanding, records of %s bytes", count(float64(n))),
			load:       load.Spec{Kind: load.FanOut, Conns: 1000, InFlight: 1, Payload: n},
			contenders: inDeflate(juggler, centrifuge, gwsFanOut),
		})
	}
	add(scenario{
		name:       "compress-idle",
		title:      "10,000 idle connections that take compressed messages: a user of 16 bytes, one subscription to a channel shared by all",
		load:       load.Spec{Kind: load.Idle, Conns: 10_000},
		contenders: inDeflate(juggler, centrifuge, gws),
	})
}

// inDeflate returns contenders whose clients take compressed messages, each beside itself
// without.
func inDeflate(contenders ...contender) (all []contender) {
	for _, c := range contenders {
		d := c
		d.name, d.server, d.deflate = c.name+", compressed", c.server+"-deflate", true
		all = append(all, d, c)
	}
	return all
}

// inTwoWays returns contenders whose channel is kept, and whose channel is not.
func inTwoWays(contenders []contender) (kept, plain []contender) {
	for _, c := range contenders {
		is, not := c, c
		is.name, is.kept = c.name+", kept", true
		not.name = c.name + ", not kept"
		kept, plain = append(kept, is), append(plain, not)
	}
	return kept, plain
}

// growth returns the points of all series.
func growth() (points []scenario) {
	add := func(of *series, x int, spec load.Spec, contenders ...contender) {
		points = append(points, scenario{
			name:       fmt.Sprintf("grow-%s-%d", of.name, x),
			title:      fmt.Sprintf("%s: %s %s", of.title, count(float64(x)), of.axis),
			load:       spec,
			contenders: contenders,
			series:     of,
			x:          x,
		})
	}
	conns := &series{"connections", "Calls, one in flight on each connection", "connections"}
	for _, n := range []int{1, 10, 100, 1000, 10_000} {
		add(conns, n, load.Spec{Kind: load.Requests, Conns: n, InFlight: 1, Payload: smallPayload}, juggler, centrifuge)
	}
	payload := &series{"payload", "Calls of 100 connections, one in flight on each", "bytes of payload"}
	for _, n := range []int{16, 128, 1 << 10, 4 << 10, 16 << 10, 64 << 10} {
		add(payload, n, load.Spec{Kind: load.Requests, Conns: 100, InFlight: 1, Payload: n}, juggler, centrifuge, natsWebSocket)
	}
	uris := &series{"uris", "Calls of 1,000 connections, one in flight on each, to different URIs", "URIs"}
	for _, n := range []int{1, 10, 100, 1000} {
		add(uris, n, load.Spec{Kind: load.Requests, Conns: 1000, InFlight: 1, Payload: smallPayload, URIs: n}, jugglerURIs)
	}
	channels := &series{"channels", "Deliveries to 10,000 subscribers, 16 publications outstanding", "channels"}
	for _, n := range []int{1, 10, 100, 1000, 10_000} {
		add(channels, n, load.Spec{Kind: load.FanOut, Conns: 10_000, Channels: n, InFlight: 16, Payload: 128}, juggler, centrifuge)
	}
	for i := range points {
		if points[i].load.Kind == load.FanOut {
			points[i].window = 3 * time.Second // 16 publications are up to 160,000 deliveries
		}
	}
	return points
}

// smallPayload is that of most scenarios: what a call costs by itself.
const smallPayload = 16

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return count(float64(n)) + " connections"
}

// shortened returns s as -quick runs it.
func (s scenario) shortened() scenario {
	s.contenders = s.contenders[:s.quick]
	return s
}

// rounds returns how often s is run. What connections hold does not vary, the
// points of a series support each other, and only a target needs an interval
// that is narrow.
func (s *scenario) rounds(set settings) int {
	switch {
	case s.load.Kind == load.Idle:
		return 1
	case s.series != nil:
		return min(set.rounds, 2)
	case len(s.goals) == 0:
		return min(set.rounds, 3)
	}
	return set.rounds
}

// contender returns the number of the contender with this name.
func (s *scenario) contender(name string) int {
	return slices.IndexFunc(s.contenders, func(c contender) bool { return c.name == name })
}

// figure is what the contenders of the scenario are compared by.
func (s *scenario) figure(r load.Result) float64 {
	if s.load.Kind == load.Idle {
		return r.BytesEach
	}
	return r.Rate()
}

// unit names the figure.
func (s *scenario) unit() string {
	switch s.load.Kind {
	case load.Idle:
		return "bytes a connection"
	case load.FanOut:
		return "deliveries/s"
	case load.Connects:
		return "handshakes/s"
	case load.Publish:
		return "publications/s"
	case load.Recover, load.Return:
		return "recoveries/s"
	case load.Stream:
		return "pieces/s"
	case load.Mixed:
		return "outcomes and events/s"
	}
	if s.contenders[0].redis {
		return "calls (commands)/s"
	}
	if s.contenders[0].protocol == "echo" {
		return "messages/s"
	}
	return "calls/s"
}

func (s *scenario) progress(r load.Result) string {
	text := fmt.Sprintf("%s %s", count(s.figure(r)), s.unit())
	if s.load.Kind != load.Idle {
		text += fmt.Sprintf(", CPU %s (load generator %s)", micros(r.CPUEach()), micros(r.LoadCPU/time.Duration(max(1, r.Messages))))
	}
	if n := r.Faults(); n > 0 {
		text += fmt.Sprintf(", %d FAULTS", n)
	}
	return text
}
