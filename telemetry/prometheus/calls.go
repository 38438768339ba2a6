package jugglerprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/telemetry"
)

// A CallObserver has histograms of how long calls take, by URI: from CALL to its end; of
// that how long the function of the callee ran; and how long the rest took, which are
// queues and ways. Give its Observe to [juggler.WithCallObserver], and register it.
//
// Calls that were refused are in no histogram. Those of whose function nobody
// knows how long it ran, as after 408, are in the first only.
type CallObserver struct {
	total, wait, run *prometheus.HistogramVec
	perURI           *telemetry.Bounded[string, histograms]
}

// histograms are those of a URI.
type histograms struct{ total, wait, run prometheus.Observer }

// NewCallObserver returns an observer for so many URIs, the first of which a call
// ends that was accepted; the others have the name "" together. So clients cannot fill
// the metrics with URIs that nobody answers. A URI has 57 time series and takes about
// 4 KiB. With 0 or less all calls are together.
func NewCallObserver(uris int) *CallObserver {
	vec := func(h telemetry.Histogram) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: h.Name, Help: h.Help, Buckets: telemetry.Buckets(),
		}, []string{"uri"})
	}
	o := &CallObserver{total: vec(telemetry.CallDuration), wait: vec(telemetry.CallWait), run: vec(telemetry.CallRun)}
	of := func(uri string) histograms {
		return histograms{o.total.WithLabelValues(uri), o.wait.WithLabelValues(uri), o.run.WithLabelValues(uri)}
	}
	o.perURI = telemetry.NewBounded(uris, of, of(""))
	return o
}

// Observe takes note of the end of a call. It does not wait, and allocates nothing but
// for a new URI.
func (o *CallObserver) Observe(e juggler.CallEnd) {
	if e.Refused {
		return
	}
	h := o.perURI.Of(e.URI)
	h.total.Observe(e.Total.Seconds())
	if wait, known := telemetry.Wait(&e); known {
		h.wait.Observe(wait.Seconds())
		h.run.Observe(e.Ran.Seconds())
	}
}

// Describe implements [prometheus.Collector].
func (o *CallObserver) Describe(ch chan<- *prometheus.Desc) {
	o.total.Describe(ch)
	o.wait.Describe(ch)
	o.run.Describe(ch)
}

// Collect implements [prometheus.Collector].
func (o *CallObserver) Collect(ch chan<- prometheus.Metric) {
	o.total.Collect(ch)
	o.wait.Collect(ch)
	o.run.Collect(ch)
}
