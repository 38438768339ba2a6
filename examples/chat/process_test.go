package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/juggler-go/juggler/internal/waiting"
)

// freeAddress returns one for a server that cannot say which it has taken.
func freeAddress(t *testing.T) string {
	port, release, err := freeport.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// One process is node, broker and callee, has metrics of all three, traces calls, and ends in
// order.
func TestOneProcess(t *testing.T) {
	registry := prometheus.NewRegistry() // the test may run again in this process
	prometheus.DefaultRegisterer, prometheus.DefaultGatherer = registry, registry
	spans := make(chan string, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		spans <- string(text)
	}))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	s := settings{role: "all", listen: freeAddress(t), metrics: freeAddress(t), db: filepath.Join(t.TempDir(), "chat.db"),
		web: "web", secret: "a secret of 32 bytes or of more..."}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, s) }()
	waiting.Until(t, "metrics of all three", func() bool {
		answer, err := http.Get("http://" + s.metrics)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return err == nil && strings.Contains(string(text), "juggler_sessions") &&
			strings.Contains(string(text), "juggler_callee_") && strings.Contains(string(text), "juggler_embedded_")
	})
	c, err := client.Dial(t.Context(), "ws://"+s.listen+"/ws", client.WithHTTPHeader(cookieOf(t, newLogin(s.secret), "ann")))
	if err == nil {
		err = errors.Join(c.Call(t.Context(), "room.general.history", nil, nil), c.Close())
	}
	if err != nil {
		t.Error(err)
	}
	stop()
	if err := waiting.Receive(t, "the end", ended); err != nil {
		t.Error(err)
	}
	if sent := waiting.Receive(t, "spans", spans); !strings.Contains(sent, "room.general.history") {
		t.Errorf("spans of something else: %q", sent)
	}
}
