package jugglerotel

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/telemetry"
)

// maxCodes is how many codes of a URI have a name of their own: callees choose them.
const maxCodes = 64

// A CallObserver has histograms of how long calls take, by URI and code: from CALL to
// its end; of that how long the function of the callee ran; and how long the rest took,
// which are queues and ways. Give its Observe to [juggler.WithCallObserver].
//
// Calls that were refused are in no histogram. Those of whose function nobody
// knows how long it ran, as after 408, are in the first only. Names and attributes are
// those of OpenTelemetry's conventions for RPC, as far as there are any.
type CallObserver struct {
	total, wait, run metric.Float64Histogram
	perURI           *telemetry.Bounded[string, *telemetry.Bounded[int, []metric.RecordOption]]
}

// NewCallObserver returns an observer for so many URIs, the first of which a call ends
// that was accepted; the others have the name _OTHER together. So clients cannot fill
// the metrics with URIs that nobody answers. With 0 or less all calls are together.
func NewCallObserver(uris int, options ...MetricOption) (*CallObserver, error) {
	c := newMetricConfig(options)
	o := &CallObserver{perURI: telemetry.NewBounded(uris, c.perCode, c.perCode(methodOther))}
	for _, h := range []struct {
		made *metric.Float64Histogram
		as   telemetry.Histogram
	}{{&o.total, telemetry.CallDuration}, {&o.wait, telemetry.CallWait}, {&o.run, telemetry.CallRun}} {
		var err error
		*h.made, err = c.meter().Float64Histogram(h.as.OTelName, metric.WithDescription(h.as.Help), metric.WithUnit(h.as.Unit),
			metric.WithExplicitBucketBoundaries(telemetry.Buckets()...))
		if err != nil {
			return nil, fmt.Errorf("jugglerotel: metric %s: %w", h.as.OTelName, err)
		}
	}
	return o, nil
}

// perCode returns the attributes of the calls of a URI, made once for each code.
func (c *metricConfig) perCode(uri string) *telemetry.Bounded[int, []metric.RecordOption] {
	of := func(attributes ...attribute.KeyValue) []metric.RecordOption {
		all := append(c.attributes[:len(c.attributes):len(c.attributes)],
			keySystem.String(system), keyMethod.String(uri))
		return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(append(all, attributes...)...))}
	}
	return telemetry.NewBounded(maxCodes, func(code int) []metric.RecordOption {
		status := keyStatus.String(codeText(code))
		if code == 0 {
			return of(status)
		}
		return of(status, keyErrorType.String(codeText(code)))
	}, of(keyErrorType.String(methodOther)))
}

// Observe takes note of the end of a call. It does not wait, and allocates nothing but
// for a new URI or code.
func (o *CallObserver) Observe(e juggler.CallEnd) {
	if e.Refused {
		return
	}
	ctx, attributes := context.Background(), o.perURI.Of(e.URI).Of(e.Code)
	o.total.Record(ctx, e.Total.Seconds(), attributes...)
	if wait, known := telemetry.Wait(&e); known {
		o.wait.Record(ctx, wait.Seconds(), attributes...)
		o.run.Record(ctx, e.Ran.Seconds(), attributes...)
	}
}
