// Package load is the load generator: one thread, one epoll instance, sockets
// without Go's poller, messages that were built before the run and are only
// patched. It costs the same few microseconds a message whatever it loads, so
// that what is measured is the process under test.
//
// Every kind of load runs in a closed loop: a connection has a fixed number
// of requests in flight, and each answer makes the next request.
package load

import (
	"fmt"
	"time"
)

// A Spec says what one run does. It travels as JSON to the process that runs
// it.
type Spec struct {
	Kind     string   // one of the kinds of [Run]
	Protocol string   // one of the keys of protocols, or redis-pair, redis-ping
	Addr     string   // host:port of the server under test
	Other    string   // of another node, on which what clients miss is published, or ""
	Controls []string // of its control listener, and of other processes whose cost counts
	Redis    string   // host:port of the Redis that they use, or ""
	TLS      bool     // of [Requests] and [Idle] only
	Conns    int
	InFlight int           // requests, or publications, outstanding (for each connection)
	Payload  int           // bytes of the JSON string that is sent to and fro
	Channels int           // of a fan-out or of recoveries: subscribers are spread over them (0: one)
	URIs     int           // of juggler: the connections call so many different ones (0: one)
	Missed   int           // of recoveries: events of each channel
	Kept     bool          // of publications: the server keeps them
	Deflate  bool          // clients take compressed messages
	Parts    bool          // of [Stream]: answers come in parts; if not, as events
	Audience int           // of [Publish]: connections that are told of all publications
	Warmup   time.Duration // not counted
	Window   time.Duration // counted
	Profile  string        // file for the CPU profile of the server, or ""
}

// A Result is what one run measured.
type Result struct {
	Messages   int           // answers (or deliveries, or connections) within the window
	Elapsed    time.Duration // length of the window
	ServerCPU  time.Duration // of the processes under test, without Redis, within the window
	LoadCPU    time.Duration // of this process
	Mallocs    uint64        // in the processes under test
	Reads      int           // system calls there that read
	Writes     int           // and that write
	Switches   int64         // context switches there
	Received   int           // bytes of the connections within the window; 0 where they are not counted
	P50, P99   time.Duration // from the request to its answer
	Lost       int           // without an answer when the run was over
	Duplicated int           // answers that were not asked for, or came twice
	Disordered int           // out of order where order is promised
	BytesEach  float64       // heap and stacks for each idle connection
	RSSEach    float64       // resident bytes for each idle connection
	Goroutines float64       // for each idle connection

	RedisCPU      time.Duration // within the window
	RedisSent     int           // commands sent to Redis within the window, at most
	RedisCommands int           // commands that Redis counted, those inside scripts too

	RedisReads       int // of a channel's kept events within the window
	RedisConnections int // of the processes under test, with idle connections
}

// Rate returns messages a second.
func (r Result) Rate() float64 {
	if r.Elapsed == 0 {
		return 0
	}
	return float64(r.Messages) / r.Elapsed.Seconds()
}

// CPUEach returns the CPU time of the process under test for one message.
func (r Result) CPUEach() time.Duration {
	if r.Messages == 0 {
		return 0
	}
	return r.ServerCPU / time.Duration(r.Messages)
}

// Faults returns how many messages went wrong.
func (r Result) Faults() int { return r.Lost + r.Duplicated + r.Disordered }

// Kinds of load.
const (
	Requests = "requests" // request and answer on each connection
	FanOut   = "fan-out"  // one connection publishes, the others receive
	Idle     = "idle"     // connections that do nothing
	Connects = "connects" // handshakes one after the other
	Mixed    = "mixed"    // calls, publications, subscriptions that come and go
	Publish  = "publish"  // publication and its ACK on each connection
	Recover  = "recover"  // clients that come back one after the other, for what they missed
	Return   = "return"   // and all at once
	Stream   = "stream"   // long answers
)

// Run does what s says.
func Run(s Spec) (Result, error) {
	switch s.Protocol {
	case "redis-pair":
		return runRedisPair(s)
	case "redis-ping":
		return runRedisPing(s)
	}
	p, ok := protocols[s.Protocol]
	if !ok {
		return Result{}, fmt.Errorf("load: unknown protocol %q", s.Protocol)
	}
	switch s.Kind {
	case Requests:
		if s.TLS {
			return runRequestsTLS(s, p(s))
		}
		return runRequests(s, p(s))
	case FanOut:
		return runFanOut(s, p(s))
	case Idle:
		return runIdle(s, p(s))
	case Connects:
		return runConnects(s, p(s))
	case Publish:
		return runPublish(s, p(s))
	case Recover, Return:
		r, ok := p(s).(recoverer)
		if !ok {
			return Result{}, fmt.Errorf("load: no recovery for the protocol %q", s.Protocol)
		}
		if s.Kind == Return {
			return runReturn(s, r)
		}
		return runRecover(s, r)
	case Stream:
		r, ok := p(s).(streamer)
		if !ok {
			return Result{}, fmt.Errorf("load: no long answers for the protocol %q", s.Protocol)
		}
		return runStreams(s, r)
	case Mixed:
		m, ok := p(s).(mixer)
		if !ok {
			return Result{}, fmt.Errorf("load: no mixed load for the protocol %q", s.Protocol)
		}
		return runMixed(s, m)
	}
	return Result{}, fmt.Errorf("load: unknown kind of load %q", s.Kind)
}

// protocols makes the client's side of each protocol for a run.
var protocols = map[string]func(Spec) protocol{
	"echo":                newEcho,
	"juggler":             newJuggler,
	"centrifuge":          newCentrifuge,
	"centrifuge-protobuf": newCentrifugeProtobuf,
	"nats":                newNATS,
	"nats-ws":             newNATSWebSocket,
}
