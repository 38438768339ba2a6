package main_test

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	collectormetricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/juggler-go/juggler/internal/waiting"
)

// A collector takes spans and metrics by OTLP over HTTP.
type collector struct {
	t       *testing.T
	url     string
	refuses atomic.Bool // all that comes

	mu      sync.Mutex
	spans   []exported
	metrics map[string]*serviceMetrics // by the service
}

// An exported span, with the name of its service.
type exported struct {
	*tracepb.Span
	service string
}

// serviceMetrics are the metrics that a service has sent last.
type serviceMetrics struct {
	instance string
	byName   map[string]*metricspb.Metric
}

func newCollector(t *testing.T) *collector {
	c := &collector{t: t, metrics: make(map[string]*serviceMetrics)}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c.refuses.Load() {
		http.Error(w, "not now", http.StatusBadRequest)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		switch r.URL.Path {
		case "/v1/traces":
			err = c.takeSpans(body)
		case "/v1/metrics":
			err = c.takeMetrics(body)
		default:
			err = http.ErrNotSupported
		}
	}
	if err != nil {
		c.t.Errorf("%s: %v", r.URL, err)
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *collector) takeSpans(body []byte) error {
	var request collectortracepb.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range request.ResourceSpans {
		for _, scope := range r.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, exported{s, resourceText(r.Resource, "service.name")})
			}
		}
	}
	return nil
}

func (c *collector) takeMetrics(body []byte) error {
	var request collectormetricspb.ExportMetricsServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range request.ResourceMetrics {
		s := &serviceMetrics{resourceText(r.Resource, "service.instance.id"), make(map[string]*metricspb.Metric)}
		for _, scope := range r.ScopeMetrics {
			for _, m := range scope.Metrics {
				s.byName[m.Name] = m
			}
		}
		c.metrics[resourceText(r.Resource, "service.name")] = s
	}
	return nil
}

func resourceText(r *resourcepb.Resource, key string) string { return text(r.GetAttributes(), key) }

// text returns an attribute that is a text.
func text(attributes []*commonpb.KeyValue, key string) string {
	for _, a := range attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// await waits for n spans and returns them, those that began first first.
func (c *collector) await(n int) []exported {
	c.t.Helper()
	var spans []exported
	waiting.Until(c.t, fmt.Sprintf("%d spans", n), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		spans = slices.Clone(c.spans)
		return len(spans) >= n
	})
	slices.SortFunc(spans, func(a, b exported) int { return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano) })
	return spans
}

// of returns the metrics that a service has sent last, which may be none.
func (c *collector) of(service string) *serviceMetrics {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.metrics[service]; s != nil {
		return s
	}
	return &serviceMetrics{}
}

// points returns the values of a metric that is no histogram.
func (s *serviceMetrics) points(name string) []*metricspb.NumberDataPoint {
	m := s.byName[name]
	return append(m.GetSum().GetDataPoints(), m.GetGauge().GetDataPoints()...)
}

// sum returns the sum of the values of a metric that is no histogram.
func (s *serviceMetrics) sum(name string) (sum float64) {
	for _, p := range s.points(name) {
		sum += p.GetAsDouble() + float64(p.GetAsInt())
	}
	return sum
}
