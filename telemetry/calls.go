package telemetry

import (
	"time"

	"github.com/juggler-go/juggler"
)

// A Histogram is one of how long calls take, by URI.
type Histogram struct {
	Name     string // in Prometheus
	OTelName string
	Unit     string // by UCUM
	Help     string
}

// The histograms of calls, as a handler's [juggler.WithCallObserver] sees them end.
// The name of the first in OpenTelemetry is that of its conventions for RPC.
var (
	CallDuration = Histogram{"juggler_call_duration_seconds", "rpc.server.call.duration", "s",
		"Time from a CALL to its end, unless it was refused."}
	CallWait = Histogram{"juggler_call_wait_seconds", "juggler.call.wait", "s",
		"Of that, in queues and on ways; only where the time of the function is known."}
	CallRun = Histogram{"juggler_call_run_seconds", "juggler.call.run", "s",
		"Of that, in which the callee's function ran; only where it is known."}
)

// Buckets returns the upper bounds of their buckets, in seconds: from the time of an
// idle system to a long call.
func Buckets() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
}

// Wait returns how much of a call's time went into queues and ways, and whether that is
// known. The callee's clock is another one, so the difference may seem to be negative: then
// it is 0.
func Wait(e *juggler.CallEnd) (wait time.Duration, known bool) {
	return max(e.Total-e.Ran, 0), e.Ran > 0
}
