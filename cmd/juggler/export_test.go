package main_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
	"github.com/juggler-go/juggler/telemetry"
)

// exporting returns the program with arguments and variables, started.
func exporting(t *testing.T, variables string, args ...string) *process {
	cmd := command(t, args...)
	cmd.Env = append(cmd.Env, strings.Fields(variables)...)
	return startCommand(t, cmd)
}

// missing returns the metrics of a table that s lacks, but for those with labels, which have no
// value until something has happened.
func missing[S any](s *serviceMetrics, table []telemetry.Metric[S]) (names []string) {
	for i := range table {
		if len(table[i].Labels) == 0 && len(s.points(table[i].OTelName())) == 0 {
			names = append(names, table[i].OTelName())
		}
	}
	return names
}

// A server and a callee on Redis export all that /metrics has of them, while they run.
func TestMetricsAreExported(t *testing.T) {
	redis := redistest.Start(t)
	address := "redis://" + redis.Addr
	c := newCollector(t)
	often := "OTEL_METRIC_EXPORT_INTERVAL=20 OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url
	callee := exporting(t, often, "callee", "--redis", address)
	callee.stderr.await(t, "answering calls")
	server := exporting(t, often, "serve", "--redis", address, "--listen", "127.0.0.1:0", "--call-stats", "5")
	url := server.stdout.await(t, "ws://")
	if got := run(t, "", "client", url, "call", "test.echo", "1"); got.code != 0 {
		t.Fatalf("the call: %+v", got)
	}
	waiting.Until(t, "metrics of the call", func() bool {
		return c.of("juggler-serve").sum("juggler.calls") == 1 && c.of("juggler-callee").sum("juggler.callee.calls") == 1
	})
	serve, answers := c.of("juggler-serve"), c.of("juggler-callee")
	if names := append(missing(serve, telemetry.Handler), missing(serve, telemetry.Redis)...); len(names) > 0 {
		t.Errorf("the server lacks %v", names)
	}
	if names := append(missing(answers, telemetry.Callee), missing(answers, telemetry.Redis)...); len(names) > 0 {
		t.Errorf("the callee lacks %v", names)
	}
	if serve.instance == "" || serve.instance == answers.instance {
		t.Errorf("two processes are the instances %q and %q", serve.instance, answers.instance)
	}
	if len(serve.points("juggler.accept_failures")) != 1 {
		t.Error("the server does not count failures to accept")
	}
	for _, p := range serve.points("juggler.redis.commands") {
		if text(p.Attributes, "redis") != "1" {
			t.Errorf("a value of Redis has the attributes %v", p.Attributes)
		}
	}
	times := serve.byName["rpc.server.call.duration"].GetHistogram().GetDataPoints()
	if len(times) != 1 || times[0].Count != 1 || text(times[0].Attributes, "rpc.method") != "test.echo" {
		t.Errorf("the times of calls are %v", times)
	}
	if len(c.await(0)) > 0 {
		t.Error("there are traces")
	}
	server.stop()
	callee.stop()
}

// What happened since the last export, here since the start, is exported at the end.
func TestMetricsOfTheEnd(t *testing.T) {
	c := newCollector(t)
	demo := exporting(t, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="+c.url+"/v1/metrics", "demo", "--listen", "127.0.0.1:0")
	url := demo.stdout.await(t, "ws://")
	if got := run(t, "", "client", url, "call", "test.echo", "1"); got.code != 0 {
		t.Fatalf("the call: %+v", got)
	}
	demo.stop()
	got := c.of("juggler-demo")
	if connects, calls := got.sum("juggler.connects"), got.sum("juggler.callee.calls"); connects != 1 || calls != 1 {
		t.Errorf("%v sessions and %v calls, want 1 and 1", connects, calls)
	}
	if names := missing(got, telemetry.Memory); len(names) > 0 {
		t.Errorf("the embedded broker lacks %v", names)
	}
	if len(c.await(0)) > 0 {
		t.Error("there are traces")
	}
}

// That a collector takes what it did not take before is logged once, too.
func TestCollectorComesBack(t *testing.T) {
	c := newCollector(t)
	c.refuses.Store(true)
	demo := exporting(t, "OTEL_METRIC_EXPORT_INTERVAL=20 OTEL_BSP_SCHEDULE_DELAY=20 OTEL_EXPORTER_OTLP_ENDPOINT="+c.url,
		"demo", "--listen", "127.0.0.1:0", "--log-format", "json")
	url := demo.stdout.await(t, "ws://")
	call := func() {
		t.Helper()
		if got := run(t, "", "client", url, "call", "test.echo", "1"); got.code != 0 {
			t.Errorf("a call: %+v", got)
		}
	}
	call()
	demo.stderr.await(t, "the collector of traces takes none")
	demo.stderr.await(t, "the collector of metrics takes none")
	c.refuses.Store(false)
	call()
	demo.stderr.await(t, "the collector of traces takes them again")
	demo.stderr.await(t, "the collector of metrics takes them again")
	c.await(1)
	demo.stop()
	if n := strings.Count(demo.stderr.String(), "collector"); n != 4 {
		t.Errorf("%d lines about the collector, want 4", n)
	}
}

func TestMetricVariables(t *testing.T) {
	asked := make(chan string, 100)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	defer web.Close()
	endpoint := "OTEL_EXPORTER_OTLP_ENDPOINT=" + web.URL
	for variables, want := range map[string]string{
		endpoint: "",
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=ftp://user:secret@collector": "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: want http://HOST:PORT",
		"OTEL_METRICS_EXPORTER=otlp":                                      "",
		"OTEL_METRICS_EXPORTER=prometheus":                                "OTEL_METRICS_EXPORTER=prometheus: want otlp or none",
		endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=http/json":               "",
		endpoint + " OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/json":       "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/json: want http/protobuf",
		endpoint + " OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=grpc":            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=grpc: want http/protobuf",
		endpoint + " OTEL_METRIC_EXPORT_INTERVAL=1s":                      "OTEL_METRIC_EXPORT_INTERVAL=1s: want milliseconds, 1 to 86400000",
		endpoint + " OTEL_METRIC_EXPORT_INTERVAL=0":                       "OTEL_METRIC_EXPORT_INTERVAL=0: want milliseconds",
		endpoint + " OTEL_METRIC_EXPORT_TIMEOUT=86400001":                 "OTEL_METRIC_EXPORT_TIMEOUT=86400001: want milliseconds",
		"OTEL_METRIC_EXPORT_INTERVAL=0":                                   "--call-stats goes with --admin-listen or OTEL_EXPORTER_OTLP_ENDPOINT only",
		endpoint + " OTEL_METRICS_EXPORTER=none":                          "--call-stats goes with --admin-listen or OTEL_EXPORTER_OTLP_ENDPOINT only",
		endpoint + " OTEL_SDK_DISABLED=true":                              "--call-stats goes with --admin-listen or OTEL_EXPORTER_OTLP_ENDPOINT only",
	} {
		cmd := command(t, "serve", "--check", "--call-stats", "5")
		cmd.Env = append(cmd.Env, strings.Fields(variables)...)
		got := finish(t, cmd, "")
		if (got.code == 0) != (want == "") || !strings.Contains(got.stderr, want) || strings.Contains(got.stderr, "secret") {
			t.Errorf("with %q: code %d, %q, want %q", variables, got.code, got.stderr, want)
		}
	}
	if len(asked) > 0 {
		t.Errorf("--check has exported to %s", <-asked)
	}
}
