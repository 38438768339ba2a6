package load

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/juggler-go/juggler/cmd/juggler/internal/redact"
)

// Report is what a run has shown. Latencies are in milliseconds.
type Report struct {
	Config   map[string]any `json:"config"`
	Duration float64        `json:"duration"` // seconds that were measured

	Calls     uint64  `json:"calls"` // with their result
	Pubs      uint64  `json:"pubs"`  // confirmed
	Events    uint64  `json:"events"`
	CallRate  float64 `json:"calls_per_second"`
	PubRate   float64 `json:"pubs_per_second"`
	EventRate float64 `json:"events_per_second"`
	Parts     uint64  `json:"parts"` // of answers, with --stream
	PartRate  float64 `json:"parts_per_second"`

	BytesSent     uint64 `json:"bytes_sent"` // on the connections, but for handshakes and TLS
	BytesReceived uint64 `json:"bytes_received"`

	Errors map[string]uint64 `json:"errors"` // by code

	CallLatency  Latency `json:"call_latency_ms"`
	PubLatency   Latency `json:"pub_latency_ms"`
	EventLatency Latency `json:"event_latency_ms"`

	Drops           uint64  `json:"drops"`         // connections that --drop-every has dropped
	Recovered       uint64  `json:"recovered"`     // of clients that came back: they got all that they had missed
	NotRecovered    uint64  `json:"not_recovered"` // or were told that some may be missing
	Replayed        uint64  `json:"replayed"`      // events that came before they were up to date
	RecoveryLatency Latency `json:"recovery_latency_ms"`

	Lost            uint64 `json:"lost"`       // requests without any outcome
	Unexpected      uint64 `json:"unexpected"` // second outcomes, answers to nothing
	EventsLost      uint64 `json:"events_lost"`
	EventsDoubled   uint64 `json:"events_doubled"`
	EventsDisorder  uint64 `json:"events_out_of_order"`
	PartsWrong      uint64 `json:"parts_wrong"` // that did not follow the part before
	Gaps            uint64 `json:"gaps"`        // GAP: what a client misses then does not count as lost
	LostConnections uint64 `json:"lost_connections"`
	FailedConnects  uint64 `json:"failed_connects"`
	Unknown         uint64 `json:"unknown"` // requests whose connection was lost
	FirstLoss       string `json:"first_loss,omitempty"`

	CPU       float64  `json:"cpu"`        // of this program: 1 is one processor
	LagP99    float64  `json:"lag_p99_ms"` // how late requests were sent that were due
	Saturated []string `json:"saturated"`  // why figures tell of this program, not of the server

	Seconds []Second `json:"seconds"`

	total *counts
}

// Latency is a distribution.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	P9999 float64 `json:"p9999"`
	Max   float64 `json:"max"`
}

// Second is one interval of a run.
type Second struct {
	At     float64 `json:"at"` // seconds since the start, at its end
	Calls  float64 `json:"calls_per_second"`
	Pubs   float64 `json:"pubs_per_second"`
	Events float64 `json:"events_per_second"`
	Parts  float64 `json:"parts_per_second"`
	Errors uint64  `json:"errors"`
	P50    float64 `json:"p50_ms"` // of calls, or of publications where there are no calls
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

func ms(micros int64) float64 { return float64(micros) / 1000 }

func latencyOf(h *hdrhistogram.Histogram) Latency {
	return Latency{
		Count: h.TotalCount(), Mean: h.Mean() / 1000, P50: ms(h.ValueAtPercentile(50)), P90: ms(h.ValueAtPercentile(90)),
		P99: ms(h.ValueAtPercentile(99)), P999: ms(h.ValueAtPercentile(99.9)), P9999: ms(h.ValueAtPercentile(99.99)), Max: ms(h.Max()),
	}
}

func newSecond(at, took time.Duration, c *counts) Second {
	h := c.calls
	if h.TotalCount() == 0 {
		h = c.pubs
	}
	seconds := took.Seconds()
	return Second{
		At: at.Seconds(), Calls: float64(c.Calls) / seconds, Pubs: float64(c.Pubs) / seconds, Events: float64(c.Events) / seconds, Parts: float64(c.Parts) / seconds,
		Errors: c.failures, P50: ms(h.ValueAtPercentile(50)), P99: ms(h.ValueAtPercentile(99)), Max: ms(h.Max()),
	}
}

func describe(c *Config) map[string]any {
	return map[string]any{
		"url": redact.URL(c.URL), "protocol": fmt.Sprintf("juggler.%d", c.Protocol), "clients": c.Clients, "in_flight": c.InFlight,
		"rate": c.Rate, "ramp_s": c.Ramp.Seconds(), "uri": c.URI, "payload": c.Payload, "publish": c.Publish, "channels": c.Channels, "drop_every_s": c.DropEvery.Seconds(),
		"stream": c.Stream, "compression": c.Compress,
	}
}

// finish fills in what is known at the end.
func (r *run) finish(report *Report) {
	// Outcomes that came while draining count, though not for rates.
	report.CallRate = float64(report.total.Calls) / report.Duration
	report.PubRate = float64(report.total.Pubs) / report.Duration
	report.EventRate = float64(report.total.Events) / report.Duration
	report.PartRate = float64(report.total.Parts) / report.Duration
	report.BytesSent += r.traffic.sent.Load()
	report.BytesReceived += r.traffic.received.Load()
	report.total.add(r.record.take())
	t := report.total
	report.Calls, report.Pubs, report.Events, report.Parts = t.Calls, t.Pubs, t.Events, t.Parts
	report.CallLatency, report.PubLatency, report.EventLatency = latencyOf(t.calls), latencyOf(t.pubs), latencyOf(t.events)
	report.RecoveryLatency = latencyOf(t.recovery)
	report.Recovered = uint64(report.RecoveryLatency.Count)
	report.LagP99 = ms(t.lag.ValueAtPercentile(99))
	report.Errors = make(map[string]uint64)
	for code, n := range t.Errors {
		report.Errors[codeText(code)] = n
	}
	r.record.mu.Lock()
	defer r.record.mu.Unlock()
	report.Unexpected, report.LostConnections = r.record.unexpectedN, r.record.lostConns
	report.PartsWrong = r.record.wrongParts
	report.FailedConnects, report.Unknown = r.record.failedConnects, r.record.unknown
	report.Gaps = r.record.gaps
	report.Drops, report.NotRecovered, report.Replayed = r.record.drops, r.record.notRecoveredN, r.record.replayed
	if r.record.firstLoss != nil {
		report.FirstLoss = r.record.firstLoss.Error()
	}
	r.audit(report)
	report.Saturated = r.saturation(report)
}

func codeText(code int) string {
	switch code {
	case codeWrong:
		return "wrong result"
	case codeError0:
		return "callee's error"
	case codeParts:
		return "result without all parts"
	}
	return fmt.Sprint(code)
}

// audit counts what is missing, doubled and out of order.
func (r *run) audit(report *Report) {
	published := make(map[int]uint64)
	for _, c := range r.clients {
		published[c.index] = c.acked
		report.Lost += uint64(c.open())
	}
	for _, c := range r.clients {
		c.mu.Lock()
		if c.channel != "" && !c.gapped {
			for from := c.index % r.config.Channels; from < len(r.clients); from += r.config.Channels {
				received := uint64(0)
				if p := c.peers[from]; p != nil {
					received = p.received
				}
				if received < published[from] && !r.clients[from].gapped {
					report.EventsLost += published[from] - received
				}
			}
		}
		for _, p := range c.peers {
			report.EventsDoubled += p.duplicates
			report.EventsDisorder += p.disorder
		}
		c.mu.Unlock()
	}
}

// Limits beyond which the figures tell of this program rather than of the
// server: the share of all processors that it used, and how late it sent.
const (
	cpuLimit = 0.85
	lagLimit = 10 // ms, at the 99th percentile
)

func (r *run) saturation(report *Report) []string {
	reasons := []string{}
	if share := report.CPU / processors(); share > cpuLimit {
		reasons = append(reasons, fmt.Sprintf("this program used %.0f %% of the processors", 100*share))
	}
	if r.config.Rate > 0 {
		queued := 0
		for _, c := range r.clients {
			queued += len(c.requests.queue)
		}
		switch {
		case queued > 0:
			reasons = append(reasons, fmt.Sprintf("%d requests that were due were not sent: the clients had --in-flight requests open all the time", queued))
		case report.LagP99 > lagLimit:
			reasons = append(reasons, fmt.Sprintf("1 %% of the requests were sent %.0f ms late or more", report.LagP99))
		}
	}
	return reasons
}

// OK reports whether nothing was lost, doubled, out of order or wrong.
func (r *Report) OK() bool {
	return r.Lost+r.Unexpected+r.EventsLost+r.EventsDoubled+r.EventsDisorder+r.PartsWrong+r.Errors[codeText(codeWrong)]+r.Errors[codeText(codeParts)] == 0
}

// Write writes the report for people.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s %12s %12s %9s %9s %9s %9s %9s %9s\n", "", "count", "a second", "mean ms", "p50", "p90", "p99", "p99.9", "max")
	for _, row := range []struct {
		name  string
		count uint64
		rate  float64
		l     Latency
	}{{"calls", r.Calls, r.CallRate, r.CallLatency}, {"pubs", r.Pubs, r.PubRate, r.PubLatency}, {"events", r.Events, r.EventRate, r.EventLatency}} {
		if row.count > 0 || row.name == "calls" {
			fmt.Fprintf(&b, "%-10s %12d %12.0f %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f\n", row.name, row.count, row.rate,
				row.l.Mean, row.l.P50, row.l.P90, row.l.P99, row.l.P999, row.l.Max)
		}
	}
	if r.Parts > 0 {
		fmt.Fprintf(&b, "%-10s %12d %12.0f\n", "parts", r.Parts, r.PartRate)
	}
	codes := make([]string, 0, len(r.Errors))
	for code := range r.Errors {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	for _, code := range codes {
		fmt.Fprintf(&b, "error %-14s %d\n", code+":", r.Errors[code])
	}
	fmt.Fprintf(&b, "lost %d, unexpected %d, events lost %d, doubled %d, out of order %d\n",
		r.Lost, r.Unexpected, r.EventsLost, r.EventsDoubled, r.EventsDisorder)
	if r.PartsWrong > 0 {
		fmt.Fprintf(&b, "parts that did not follow the one before: %d\n", r.PartsWrong)
	}
	if r.Drops+r.Recovered+r.NotRecovered > 0 {
		l := r.RecoveryLatency
		fmt.Fprintf(&b, "dropped %d, recovered %d (mean %.3f ms, p99 %.3f, max %.3f), not recovered %d, events replayed %d\n",
			r.Drops, r.Recovered, l.Mean, l.P99, l.Max, r.NotRecovered, r.Replayed)
	}
	if r.Gaps > 0 {
		fmt.Fprintf(&b, "gaps %d: events that may be missing, which do not count as lost\n", r.Gaps)
	}
	if r.LostConnections+r.FailedConnects > 0 {
		fmt.Fprintf(&b, "connections lost %d (requests on them %d), attempts that failed %d; the first: %s\n",
			r.LostConnections, r.Unknown, r.FailedConnects, r.FirstLoss)
	}
	fmt.Fprintf(&b, "bytes sent %d, received %d\n", r.BytesSent, r.BytesReceived)
	fmt.Fprintf(&b, "this program used %.2f of %.0f processors\n", r.CPU, processors())
	for _, reason := range r.Saturated {
		fmt.Fprintf(&b, "SATURATED: %s; take fewer clients or another machine\n", reason)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
