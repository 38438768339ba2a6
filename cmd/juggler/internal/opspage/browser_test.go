//go:build long

package opspage

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os/exec"
	"testing"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/waiting"
)

// What people see of the page, in a real browser: testdata/browser.mjs looks at it while
// clients with hostile names are there.
func TestBrowser(t *testing.T) {
	p := newPage(t)
	page := httptest.NewServer(p.Serve())
	defer page.Close()
	c := p.dial(t, hostileName)
	ctx, cancel := context.WithTimeout(t.Context(), waiting.Most)
	defer cancel()
	if _, err := c.SubscribeFunc(ctx, hostileName, func(*client.Subscription, client.Event) {}); err != nil {
		t.Fatal(err)
	}
	callee, err := p.Engine.Memory.OpenCallee(ctx, []string{"served " + hostileName}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer callee.Close()
	busy, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		pace := time.NewTicker(200 * time.Millisecond) // a thousand messages end what follows them
		defer pace.Stop()
		for busy.Err() == nil {
			<-pace.C
			_ = c.Call(busy, "echo", hostileName, nil)
			_ = c.Call(busy, hostileName, 1, nil) // nobody answers it
			_ = c.Publish(busy, hostileName, hostileName)
		}
	}()
	defer func() { stop(); <-done }()

	var out bytes.Buffer
	browser := exec.CommandContext(ctx, "node", "testdata/browser.mjs", page.URL, hostileName)
	browser.Stdout, browser.Stderr = &out, &out
	if err := browser.Run(); err != nil {
		t.Errorf("%v:\n%s", err, &out)
	}
}
