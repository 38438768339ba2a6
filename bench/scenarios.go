package main

import (
	"fmt"
	"time"

	"github.com/juggler-go/juggler/bench/internal/load"
)

// A scenario is one load and who gets it in turn. The first contender is
// juggler, whose ratio to each of the others is what counts.
type scenario struct {
	name       string
	title      string
	quick      bool // it is one of -quick
	load       load.Spec
	contenders []contender
	goals      []goal
}

// A contender is a server of package peer and the protocol it is spoken to.
type contender struct{ name, server, protocol string }

// A goal is a target of the project: at least this ratio to a peer, or at
// most so many bytes for each connection.
type goal struct {
	peer    string // name of a contender
	atLeast float64
	atMost  float64 // bytes; peer is empty
}

var (
	ourEcho = contender{"juggler wsconn", "juggler-echo", "echo"}
	gws     = contender{"gws", "gws", "echo"}
	gorilla = contender{"gorilla/websocket", "gorilla", "echo"}
	coder   = contender{"coder/websocket", "coder", "echo"}

	juggler            = contender{"juggler", "juggler", "juggler"}
	centrifuge         = contender{"centrifuge", "centrifuge", "centrifuge"}
	centrifugeProtobuf = contender{"centrifuge, protobuf", "centrifuge", "centrifuge-protobuf"}
	natsTCP            = contender{"NATS, TCP", "nats", "nats"}
	natsWebSocket      = contender{"NATS, WebSocket", "nats-ws", "nats-ws"}

	rawLoop       = contender{"raw write loop", "raw-loop", "echo"}
	gwsFanOut     = contender{"gws", "gws-broadcast", "echo"}
	gorillaFanOut = contender{"gorilla prepared", "gorilla-prepared", "echo"}
)

var scenarios = build()

func build() []scenario {
	var all []scenario
	add := func(s scenario) { all = append(all, s) }

	for _, inFlight := range []int{1, 64} {
		add(scenario{
			name:       fmt.Sprintf("echo-100x%d", inFlight),
			title:      fmt.Sprintf("Echo of the bare WebSocket layer: 100 connections, %d in flight, 16 bytes", inFlight),
			quick:      true,
			load:       load.Spec{Kind: load.Requests, Conns: 100, InFlight: inFlight, Payload: 16},
			contenders: []contender{ourEcho, gws, gorilla, coder},
			goals:      []goal{{peer: "gws", atLeast: map[int]float64{1: 1.2, 64: 5}[inFlight]}},
		})
	}
	calls := func(conns, inFlight, payload int, quick bool, goals ...goal) {
		s := scenario{
			name:       fmt.Sprintf("calls-%dx%d", conns, inFlight),
			title:      fmt.Sprintf("Calls through the embedded broker: %d connections, %d in flight, %s", conns, inFlight, size(payload)),
			quick:      quick,
			load:       load.Spec{Kind: load.Requests, Conns: conns, InFlight: inFlight, Payload: payload},
			contenders: []contender{juggler, centrifuge, centrifugeProtobuf, natsTCP, natsWebSocket},
			goals:      goals,
		}
		if payload != smallPayload {
			s.name += fmt.Sprintf("-%dB", payload)
		}
		add(s)
	}
	calls(100, 1, smallPayload, true,
		goal{peer: "centrifuge", atLeast: 1.5}, goal{peer: "NATS, WebSocket", atLeast: 2})
	calls(100, 64, smallPayload, true,
		goal{peer: "centrifuge", atLeast: 2}, goal{peer: "NATS, TCP", atLeast: 1}, goal{peer: "NATS, WebSocket", atLeast: 1})
	for _, conns := range []int{1, 100, 1000} {
		for _, inFlight := range []int{1, 16, 64} {
			if conns != 100 || inFlight == 16 {
				calls(conns, inFlight, smallPayload, false)
			}
		}
	}
	for _, payload := range []int{128, 4 << 10, 60_000} {
		calls(100, 1, payload, false)
	}

	for _, outstanding := range []int{1, 16} {
		add(scenario{
			name:       fmt.Sprintf("fanout-1000x%d", outstanding),
			title:      fmt.Sprintf("Fan-out to 1,000 subscribers: %d publications outstanding, 128 bytes", outstanding),
			quick:      true,
			load:       load.Spec{Kind: load.FanOut, Conns: 1000, InFlight: outstanding, Payload: 128},
			contenders: []contender{juggler, rawLoop, centrifuge, gwsFanOut, gorillaFanOut, natsTCP},
			goals: map[int][]goal{
				1:  {{peer: "raw write loop", atLeast: 0.95}},
				16: {{peer: "centrifuge", atLeast: 1.5}},
			}[outstanding],
		})
	}
	add(scenario{
		name:       "fanout-channels",
		title:      "10,000 subscribers on as many channels: 16 publications outstanding, 128 bytes",
		load:       load.Spec{Kind: load.FanOut, Conns: 10_000, Channels: 10_000, InFlight: 16, Payload: 128},
		contenders: []contender{juggler, centrifuge, natsTCP},
	})

	add(scenario{
		name:       "idle-15000",
		title:      "15,000 idle connections: a user of 16 bytes, one subscription to a channel shared by all",
		load:       load.Spec{Kind: load.Idle, Conns: 15_000},
		contenders: []contender{juggler, centrifuge},
		goals:      []goal{{atMost: 600}},
	})
	add(scenario{
		name:       "idle-15000-channels",
		title:      "15,000 idle connections: a user of 16 bytes, each subscribed to a channel of its own",
		load:       load.Spec{Kind: load.Idle, Conns: 15_000, Channels: 15_000},
		contenders: []contender{juggler, centrifuge},
	})
	add(scenario{
		name:       "connects",
		title:      "Handshakes, 32 at a time, each until the connection is ready for calls",
		load:       load.Spec{Kind: load.Connects, Conns: 32},
		contenders: []contender{juggler, ourEcho, gws, centrifuge},
	})
	return all
}

// smallPayload is that of most scenarios: what a call costs by itself.
const smallPayload = 16

func size(payload int) string {
	if payload >= 1<<10 && payload%(1<<10) == 0 {
		return fmt.Sprintf("%d KiB", payload>>10)
	}
	return fmt.Sprintf("%d bytes", payload)
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
