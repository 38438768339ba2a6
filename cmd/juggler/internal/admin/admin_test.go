package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
)

// TestServer is one test, since expvar takes each name once a process.
func TestServer(t *testing.T) {
	var down error
	timed := false
	sessions := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sessions", Help: "Sessions."}, func() float64 { return 7 })
	s := New([]prometheus.Collector{sessions}, func() any { return map[string]int{"Calls": 9} }, func(ctx context.Context) error {
		_, timed = ctx.Deadline()
		return down
	})
	expect := func(method, path string, status int, want ...string) {
		t.Helper()
		w := httptest.NewRecorder()
		s.server.Handler.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		for _, text := range want {
			if w.Code != status || !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s %s: %d, want %d and %q in:\n%s", method, path, w.Code, status, text, w.Body)
			}
		}
	}
	expect("GET", "/metrics", 200, "\nsessions 7\n", "\ngo_goroutines ", "\nprocess_open_fds ")
	expect("GET", "/debug/vars", 200, `"juggler": {"Calls":9}`)
	expect("GET", "/debug/pprof/", 200, "goroutine")
	expect("POST", "/healthz", 405, "")
	expect("GET", "/", 404, "")

	expect("GET", "/readyz", 200, "ok")
	if !timed {
		t.Error("the broker has for ever to answer")
	}
	down = errors.New("redis a:1: gone")
	expect("GET", "/readyz", 503, "redis a:1: gone")
	expect("GET", "/healthz", 200, "ok") // a restart would not help
	down = nil
	expect("GET", "/readyz", 200, "ok")
	s.Drain()
	expect("GET", "/readyz", 503, "draining")
	expect("GET", "/healthz", 200, "ok")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }() // ends with Close
	response, err := http.Get("http://" + l.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || string(text) != "ok\n" {
		t.Errorf("%q, %v", text, err)
	}
	if err := errors.Join(s.Close(), <-served); err != nil {
		t.Errorf("the end by Close is an error: %v", err)
	}
}

func TestFlags(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct{ address, check, start string }{
		{"", "", ""}, // nowhere
		{"9090", `--admin-listen "9090": want HOST:PORT or :PORT`, ""},
		{"127.0.0.1:99999", "want HOST:PORT or :PORT", ""},
		{taken.Addr().String(), "", "address already in use; choose another address with --admin-listen"},
	} {
		var f Flags
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.Bind(flags)
		if err := flags.Parse([]string{"--admin-listen", tt.address}); err != nil {
			t.Fatal(err)
		}
		err := f.Check()
		if !says(err, tt.check) {
			t.Errorf("%q: Check says %v, want %q", tt.address, err, tt.check)
		}
		if err == nil {
			if err := f.Start(nil, slog.New(slog.DiscardHandler)); !says(err, tt.start) {
				t.Errorf("%q: Start says %v, want %q", tt.address, err, tt.start)
			}
		}
	}
}

// says reports whether an error says something, or is nil if that is nothing.
func says(err error, text string) bool {
	return (err == nil) == (text == "") && (err == nil || strings.Contains(err.Error(), text))
}
