//go:build long

package juggler_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
)

// browserTime is how long the browser may take for everything.
const browserTime = 2 * time.Minute

// A page in a real browser runs its checks against handlers that are set up
// in different ways, and posts what it found.
func TestBrowser(t *testing.T) {
	handlers := browserHandlers(t)
	results := make(chan []browserCheck, 1)
	mux := http.NewServeMux()
	for path, h := range handlers {
		mux.Handle(path, h)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, "testdata/browser/page.html")
	})
	mux.HandleFunc("POST /results", func(w http.ResponseWriter, r *http.Request) {
		var checks []browserCheck
		if err := json.NewDecoder(r.Body).Decode(&checks); err != nil {
			t.Errorf("the page posted what is no list of checks: %v", err)
		}
		results <- checks
	})
	front := httptest.NewServer(mux)
	defer front.Close()

	checks := openInBrowser(t, front.URL, results)
	if len(checks) < 20 {
		t.Errorf("the page ran %d checks only", len(checks))
	}
	for _, c := range checks {
		if c.Got != c.Want {
			t.Errorf("%s: got %s, want %s", c.Name, c.Got, c.Want)
		}
	}
	// What the page cannot tell from a server that is not there.
	if n := handlers["/open"].Stats().Refused; n != 3 {
		t.Errorf("%d handshakes were refused with a status, want 3", n)
	}
}

// browserCheck is what the page found in one respect, as JSON.
type browserCheck struct{ Name, Got, Want string }

// browserHandlers are the handlers that the page expects, by path.
func browserHandlers(t *testing.T) map[string]*juggler.Handler {
	refuse := func(err error) juggler.Option {
		return juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) { return nil, err })
	}
	open := newServer(t, juggler.WithLogger(quiet))
	open.handle("echo", echo)
	open.handle("parts", inParts(new(atomic.Int64), 0))
	open.handle("disconnect", func(_ context.Context, c *calleeCall) (any, error) {
		var session string
		err := json.Unmarshal(c.Args, &session)
		if err == nil && !open.h.Disconnect(session, 4100, "bye") {
			err = juggler.ErrForbidden
		}
		return nil, err
	})
	full := newServer(t, juggler.WithMaxSessions(1), juggler.WithLogger(quiet))
	full.dial("juggler.1")
	return map[string]*juggler.Handler{
		"/open":            open.h,
		"/pings":           newServer(t, juggler.WithPing(time.Second), juggler.WithLogger(quiet)).h,
		"/auth":            newServer(t, juggler.WithDeferredAuth(tokens, time.Minute)).h,
		"/auth-soon":       newServer(t, juggler.WithDeferredAuth(tokens, 100*time.Millisecond), juggler.WithLogger(quiet)).h,
		"/unauthenticated": newServer(t, refuse(juggler.ErrUnauthenticated)).h,
		"/forbidden":       newServer(t, refuse(juggler.ErrForbidden)).h,
		"/overloaded":      full.h,
	}
}

// openInBrowser shows url in headless Chromium until its page has posted.
func openInBrowser(t *testing.T, url string, results <-chan []browserCheck) []browserCheck {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: install it with: apt-get update && apt-get install -y chromium", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), browserTime)
	defer cancel()
	browser := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+t.TempDir(), url)
	var stderr bytes.Buffer
	browser.Stderr = &stderr
	browser.Cancel = func() error { return browser.Process.Signal(os.Interrupt) } // it ends its other processes
	browser.WaitDelay = 20 * time.Second
	if err := browser.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with cancel, or before if the browser cannot run
		browser.Wait() // what it was told to do by a signal is no failure
		close(ended)
	}()
	var checks []browserCheck
	select {
	case checks = <-results:
	case <-ended:
	}
	cancel()
	<-ended
	if checks == nil {
		t.Fatalf("the page posted nothing; the browser's output:\n%s", &stderr)
	}
	return checks
}
