package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

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

// One process is node, broker and callee, has metrics of all three, and ends in order.
func TestOneProcess(t *testing.T) {
	s := settings{role: "all", listen: freeAddress(t), metrics: freeAddress(t), db: filepath.Join(t.TempDir(), "chat.db"), web: "web"}
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
	waiting.Until(t, "it serves", func() bool {
		answer, err := http.Get("http://" + s.listen + "/me")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	stop()
	if err := waiting.Receive(t, "the end", ended); err != nil {
		t.Error(err)
	}
}
