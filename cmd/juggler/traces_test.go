package main_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
)

// tree writes spans as lines, each below its parent, with its time in milliseconds; of a
// call, how much of it the function ran and how much was waited.
func tree(spans []exported) string {
	var b strings.Builder
	var write func(parent []byte, depth int)
	write = func(parent []byte, depth int) {
		for _, s := range spans {
			if string(s.ParentSpanId) != string(parent) {
				continue
			}
			kind := strings.ToLower(strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_"))
			name := strings.Repeat("  ", depth) + s.service
			fmt.Fprintf(&b, "%-20s %-8s %-12s %6.1f ms", name, kind, s.Name, float64(s.EndTimeUnixNano-s.StartTimeUnixNano)/1e6)
			for _, key := range []string{"run", "wait"} {
				for _, a := range s.Attributes {
					if a.Key == "juggler.call."+key+"_time" {
						fmt.Fprintf(&b, "  %s %.1f ms", key, a.Value.GetDoubleValue()*1e3)
					}
				}
			}
			b.WriteByte('\n')
			write(s.SpanId, depth+1)
		}
	}
	write(spans[0].ParentSpanId, 0)
	return b.String()
}

// traced returns the program with arguments and the settings of an exporter to url.
func traced(t *testing.T, url string, args ...string) *process {
	cmd := command(t, args...)
	cmd.Env = append(cmd.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+url, "OTEL_BSP_SCHEDULE_DELAY=20")
	return startCommand(t, cmd)
}

const (
	clickTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	clickSpan  = "00f067aa0ba902b7"
)

// One call of a shell is one trace, through the client, the server, Redis and the callee to
// the web server that answers, and tells queues from functions.
func TestOneTraceThroughAllProcesses(t *testing.T) {
	redis := redistest.Start(t)
	address := "redis://" + redis.Addr
	c := newCollector(t)
	parents := make(chan string, 1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parents <- r.Header.Get("traceparent")
		wait := time.NewTimer(20 * time.Millisecond)
		defer wait.Stop()
		<-wait.C
		io.WriteString(w, `"a page"`) //nolint:errcheck // the call would fail
	}))
	defer web.Close()
	callee := traced(t, c.url, "callee", "--redis", address, "--http", "web.page="+web.URL)
	callee.stderr.await(t, "answering calls")
	server := traced(t, c.url, "serve", "--redis", address, "--listen", "127.0.0.1:0")
	url := server.stdout.await(t, "ws://")

	cmd := command(t, "client", url, "call", "web.page")
	cmd.Env = append(cmd.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.url, "TRACEPARENT=00-"+clickTrace+"-"+clickSpan+"-01")
	if got := finish(t, cmd, ""); got.stdout != "\"a page\"\n" || got.stderr != "" {
		t.Fatalf("the call: %+v", got)
	}
	spans := c.await(3)
	for _, s := range spans {
		if hex.EncodeToString(s.TraceId) != clickTrace {
			t.Errorf("%s: trace %x", s.service, s.TraceId)
		}
	}
	if hex.EncodeToString(spans[0].ParentSpanId) != clickSpan {
		t.Errorf("the parent of the first is %x", spans[0].ParentSpanId)
	}
	if got, want := waiting.Receive(t, "the web server", parents), fmt.Sprintf("00-%s-%x-01", clickTrace, spans[2].SpanId); got != want {
		t.Errorf("the web server got %q, want %q", got, want)
	}
	text := tree(spans)
	t.Logf("the trace:\n%s", text)
	guide, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	numbers := regexp.MustCompile(` *\d+\.\d`)
	if shown := numbers.ReplaceAllString(string(guide), " N"); !strings.Contains(shown, numbers.ReplaceAllString(text, " N")) {
		t.Errorf("docs/operations.md does not show this trace:\n%s", text)
	}
	server.stop()
	callee.stop()
}

// A collector that is gone, or that takes everything and never answers, holds up no call,
// and no end of the process; it is logged once.
func TestCollectorFails(t *testing.T) {
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer hanging.Close()
	defer close(release)

	gone := httptest.NewServer(nil)
	gone.Close()

	for _, endpoint := range []string{hanging.URL, gone.URL} {
		cmd := command(t, "demo", "--listen", "127.0.0.1:0", "--log-format", "json")
		cmd.Env = append(cmd.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_BSP_SCHEDULE_DELAY=20",
			"OTEL_BSP_EXPORT_TIMEOUT=100", "OTEL_BSP_MAX_QUEUE_SIZE=64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=16",
			"OTEL_METRIC_EXPORT_INTERVAL=20", "OTEL_METRIC_EXPORT_TIMEOUT=100")
		demo := startCommand(t, cmd)
		url := demo.stdout.await(t, "ws://")
		calls := strings.Repeat("call test.echo 1\n", 200)
		if got := run(t, calls, "client", url); got.code != 0 || strings.Count(got.stdout, "RES 1") != 200 {
			t.Errorf("calls: %+v", got)
		}
		demo.stderr.await(t, "the collector of traces takes none")
		demo.stderr.await(t, "the collector of metrics takes none")
		if got := run(t, calls, "client", url); got.code != 0 {
			t.Errorf("calls: %+v", got)
		}
		demo.stop()
		if n := strings.Count(demo.stderr.String(), "collector"); n != 2 {
			t.Errorf("%d lines about the collector, want one of traces and one of metrics", n)
		}
	}

	// The exporters alone would wait for an hour.
	cmd := command(t, "demo", "--listen", "127.0.0.1:0")
	cmd.Env = append(cmd.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+hanging.URL, "OTEL_EXPORTER_OTLP_TIMEOUT=3600000", "OTEL_BSP_EXPORT_TIMEOUT=3600000",
		"OTEL_METRIC_EXPORT_INTERVAL=20", "OTEL_METRIC_EXPORT_TIMEOUT=3600000")
	demo := startCommand(t, cmd)
	url := demo.stdout.await(t, "ws://")
	if got := run(t, "", "client", url, "call", "test.echo", "1"); got.code != 0 {
		t.Errorf("a call: %+v", got)
	}
	demo.stop()
}

func TestTraceVariables(t *testing.T) {
	if got := run(t, "", "serve", "--check", "--trace-client-rate", "5"); !strings.Contains(got.stderr, "--trace-client-rate goes with OTEL_EXPORTER_OTLP_ENDPOINT only") {
		t.Errorf("a rate of nothing: %+v", got)
	}
	endpoint := "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"
	for variables, want := range map[string]string{
		"":       "",
		endpoint: "",
		"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318":                               "OTEL_EXPORTER_OTLP_ENDPOINT: want http://HOST:PORT or https://HOST:PORT",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=ftp://user:secret@collector":           "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: want http://HOST:PORT",
		"OTEL_TRACES_EXPORTER=jaeger":                                              "OTEL_TRACES_EXPORTER=jaeger: want otlp or none",
		"OTEL_TRACES_EXPORTER=none OTEL_METRICS_EXPORTER=none " + endpoint + "x:y": "",
		"OTEL_SDK_DISABLED=true OTEL_EXPORTER_OTLP_ENDPOINT=nonsense":              "",
		endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc":                             "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: want http/protobuf or http/json",
		endpoint + " OTEL_PROPAGATORS=b3":                                          "OTEL_PROPAGATORS=b3: want tracecontext, baggage or both",
		endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=http/json":                        "",
		"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=http/json":          "",
	} {
		for _, verb := range []string{"serve", "client"} {
			cmd := command(t, verb, "--check")
			cmd.Env = append(cmd.Env, strings.Fields(variables)...)
			got := finish(t, cmd, "")
			if (got.code == 0) != (want == "") || !strings.Contains(got.stderr, want) || strings.Contains(got.stderr, "secret") {
				t.Errorf("%s with %q: code %d, %q, want %q", verb, variables, got.code, got.stderr, want)
			}
		}
	}
}
