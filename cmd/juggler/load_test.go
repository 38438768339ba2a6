package main_test

import (
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/juggler-go/juggler/internal/redistest"
)

// loadReport is what the tests look at.
type loadReport struct {
	Calls, Pubs, Events uint64
	Lost, Unexpected    uint64
	BytesSent           uint64 `json:"bytes_sent"`
	BytesReceived       uint64 `json:"bytes_received"`
	Parts               uint64
	PartsWrong          uint64 `json:"parts_wrong"`
	EventsLost          uint64 `json:"events_lost"`
	EventsDoubled       uint64 `json:"events_doubled"`
	EventsDisorder      uint64 `json:"events_out_of_order"`
	LostConnections     uint64 `json:"lost_connections"`
	Drops, Recovered    uint64
	NotRecovered        uint64 `json:"not_recovered"`
	Errors              map[string]uint64
	CallLatency         struct{ Count, P50, P99, Max float64 } `json:"call_latency_ms"`
	EventLatency        struct{ Count float64 }                `json:"event_latency_ms"`
	Seconds             []struct{ At float64 }
}

func parseReport(t testing.TB, got outcome) loadReport {
	t.Helper()
	var r loadReport
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatalf("%+v: %v", got, err)
	}
	return r
}

// Clients drop their connections and come back, which is no loss, and tells nothing of the
// server.
func TestLoadDrops(t *testing.T) {
	t.Parallel() // it mostly waits
	_, url := startDemo(t)
	got := run(t, "", "load", "--clients", "6", "--channels", "2", "--publish", "100", "--rate", "200",
		"--duration", "1s", "--drop-every", "150ms", "--json", url)
	r := parseReport(t, got)
	if got.code != 0 || r.Pubs == 0 || r.Drops == 0 || r.LostConnections != 0 || r.Recovered+r.NotRecovered != 0 {
		t.Errorf("code %d, %s%s", got.code, got.stdout, got.stderr)
	}
	if got := run(t, "", "load", "--drop-every", "1s", url); got.code != 2 || !strings.Contains(got.stderr, "--drop-every goes with --publish only") {
		t.Errorf("without publications: %+v", got)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel() // it mostly waits
	redis := redistest.Start(t)
	startCallee(t, "--redis", "redis://"+redis.Addr)
	// In a closed loop a client that gets the processors sends more than is allowed by default.
	_, url := startServe(t, "--redis", "redis://"+redis.Addr, "--session-rates", "none", "--address-rates", "none")
	for _, protocol := range protocols {
		for _, loop := range [][]string{{"--in-flight", "4"}, {"--rate", "500"}} {
			args := append([]string{"load", "--protocol", protocol, "--clients", "6", "--channels", "2", "--publish", "30",
				"--duration", "1s", "--ramp", "50ms", "--json", url}, loop...)
			got := run(t, "", args...)
			r := parseReport(t, got)
			if got.code != 0 || r.Calls == 0 || r.Pubs == 0 || len(r.Errors) != 0 || len(r.Seconds) == 0 || r.LostConnections != 0 {
				t.Errorf("%v: code %d, %s%s", args, got.code, got.stdout, got.stderr)
			}
			// Three clients have each channel, and all get each publication.
			if r.Events < 3*r.Pubs-30 || r.EventLatency.Count != float64(r.Events) || r.CallLatency.Count != float64(r.Calls) {
				t.Errorf("%v: %d events of %d publications, %v calls", args, r.Events, r.Pubs, r.CallLatency)
			}
			if r.CallLatency.P50 <= 0 || r.CallLatency.P50 > r.CallLatency.P99 || r.CallLatency.P99 > r.CallLatency.Max {
				t.Errorf("%v: latencies %+v", args, r.CallLatency)
			}
		}
	}
}

func TestLoadCountsErrors(t *testing.T) {
	_, url := startDemo(t)
	got := run(t, "", "load", "--uri", "test.nope", "--clients", "2", "--duration", "100ms", "--json", url)
	if r := parseReport(t, got); got.code != 0 || r.Calls != 0 || r.Errors["404"] == 0 || r.Lost != 0 {
		t.Errorf("calls nobody answers: %+v", got)
	}
	got = run(t, "", "load", "--uri", "test.delay", "--args", "60000", "--call-timeout", "50ms", "--clients", "2", "--duration", "100ms", url)
	if got.code != 0 || !strings.Contains(got.stdout, "error 408:") {
		t.Errorf("calls that expire: %+v", got)
	}
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"ws://" + freeport.Address(t) + "/", 3, "connection refused"},
		{"http://127.0.0.1/", 2, "want ws://"},
		{"--clients 0 ws://127.0.0.1/", 2, "want a number, 1 to 1000000"},
		{"--args {a} ws://127.0.0.1/", 2, "want JSON"},
		{"--rate -1 ws://127.0.0.1/", 2, "want a number, 0 to 10000000"},
		{"", 2, "the URL of a server is missing"},
	} {
		if got := run(t, "", append([]string{"load"}, strings.Fields(tt.args)...)...); got.code != tt.code || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: %+v", tt.args, got)
		}
	}
}

// Interrupting a run ends it early, with the report of what was measured; a run
// that is still connecting has none.
func TestLoadInterrupted(t *testing.T) {
	_, url := startDemo(t)
	for _, loop := range [][]string{{"--in-flight", "4"}, {"--rate", "500"}} {
		l := start(t, append([]string{"load", "--clients", "3", "--duration", "1h", "--json", url}, loop...)...)
		l.stderr.await(t, "measuring")
		l.signal(syscall.SIGINT)
		if code := l.wait(); code != 130 || !strings.Contains(l.stderr.String(), "interrupted: the report is about the time until then") {
			t.Errorf("%v: code %d", loop, code)
		}
		if r := parseReport(t, outcome{stdout: l.stdout.String()}); r.Lost != 0 || r.Calls == 0 && loop[0] == "--in-flight" {
			t.Errorf("%v: %+v", loop, r)
		}
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	l := start(t, "load", "--clients", "1", "ws://"+mute.Addr().String()+"/")
	if _, err := mute.Accept(); err != nil { // its handshake is not answered
		t.Fatal(err)
	}
	l.signal(syscall.SIGINT)
	if code := l.wait(); code != 130 || l.stderr.String() != "juggler: interrupted" {
		t.Errorf("while connecting: code %d", code)
	}
}

// A page that cannot be written does not take the report with it.
func TestLoadPageCannotBeWritten(t *testing.T) {
	_, url := startDemo(t)
	got := run(t, "", "load", "--clients", "1", "--duration", "10ms", "--json", "--html", "/nowhere/report.html", url)
	if got.code != 1 || !strings.Contains(got.stderr, "/nowhere/report.html") {
		t.Errorf("%+v", got)
	}
	parseReport(t, got)
}

// A server that dies takes connections with it, and nothing is counted as lost
// that the protocol does not promise.
func TestLoadSurvivesAServer(t *testing.T) {
	t.Parallel() // it mostly waits
	redis := redistest.Start(t)
	startCallee(t, "--redis", "redis://"+redis.Addr)
	address := freeport.Address(t)
	p, url := startServe(t, "--redis", "redis://"+redis.Addr, "--listen", address)
	l := start(t, "load", "--rate", "200", "--clients", "4", "--publish", "20", "--duration", "4s", "--json", url)
	l.stderr.await(t, "4 clients connected")
	p.signal(9)
	p.wait()
	startServe(t, "--redis", "redis://"+redis.Addr, "--listen", address)
	code := l.wait()
	var r loadReport
	if err := json.Unmarshal([]byte(l.stdout.String()), &r); err != nil {
		t.Fatal(err)
	}
	if code != 0 || r.LostConnections != 4 || r.Calls == 0 || r.Lost != 0 {
		t.Errorf("code %d: %+v", code, r)
	}
}

// The page is complete, and its policy lets it ask nobody for anything: what
// breaks that is an error in the console.
func TestLoadPageInChromium(t *testing.T) {
	t.Parallel() // it mostly waits
	_, url := startDemo(t)
	page := filepath.Join(t.TempDir(), "report.html")
	if got := run(t, "", "load", "--clients", "4", "--publish", "20", "--duration", "2s", "--html", page, url+"?access=hush"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	cmd := exec.CommandContext(t.Context(), "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
		"--user-data-dir="+t.TempDir(), "--dump-dom", "file://"+page)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	dom, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, stderr.String())
	}
	for _, want := range []string{"<h1>juggler load ws://", "Throughput", "Latency over time", "Latency by percentile", "publications"} {
		if !strings.Contains(string(dom), want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if strings.Contains(string(dom), "hush") {
		t.Error("the page shows the token of the URL")
	}
	if n := strings.Count(string(dom), "<polyline"); n != 9 {
		t.Errorf("%d lines in the plots, want 9", n)
	}
	if strings.Contains(string(dom), "NaN") || strings.Contains(stderr.String(), "CONSOLE") {
		t.Errorf("errors: %s", stderr.String())
	}
}
