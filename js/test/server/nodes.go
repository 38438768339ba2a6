package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/frame"
)

// nodes are the nodes behind /ws, as behind a load balancer: new connections
// go to the newest.
type nodes struct {
	broker *memory.Broker

	mu      sync.Mutex
	current *juggler.Handler // guarded by mu
	all     []*juggler.Handler
}

// mount makes the nodes and their paths:
//
//	/ws             the balanced nodes; ?user= is who connects, see identify
//	/auth           sign-in by AUTH; see signIn
//	/refuse/{code}  an authenticator that always refuses
//	/small          small limits, and no keys of calls
//	/busy           five publications and calls each 100 ms, all together; see putOff
//	/strict         the default check of Origin
func mount(mux *http.ServeMux, b *memory.Broker) (*nodes, error) {
	n := &nodes{broker: b}
	if err := n.replace(); err != nil {
		return nil, err
	}
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) { n.newest().ServeHTTP(w, r) })

	refuse := func(code frame.Code) juggler.Option {
		return juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) {
			return nil, &juggler.Error{Code: code, Message: fmt.Sprintf("refused with %d", code)}
		})
	}
	for path, opts := range map[string][]juggler.Option{
		"/auth":       {juggler.WithDeferredAuth(signIn, 500*time.Millisecond), juggler.WithPing(time.Second)},
		"/refuse/401": {refuse(juggler.CodeUnauthenticated)},
		"/refuse/403": {refuse(juggler.CodeForbidden)},
		"/refuse/503": {refuse(juggler.CodeUnavailable)},
		"/small":      {juggler.WithKeyScope(func(juggler.Session) string { return "" }), juggler.WithMaxCalls(2), juggler.WithMaxMessageBytes(2048), juggler.WithMaxSubscriptions(2), juggler.WithPing(time.Second)},
		"/busy":       {juggler.WithNonBlockingMiddleware(putOff())},
		"/strict":     {juggler.WithOrigins()},
	} {
		h, err := newNode(b, opts...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		n.all = append(n.all, h)
		mux.Handle(path, h)
	}
	return n, nil
}

// putOff returns middleware that answers 429 to what exceeds a rate.
func putOff() juggler.NonBlockingMiddleware {
	const pause = 100 * time.Millisecond
	var mu sync.Mutex
	var since time.Time
	var n int
	exceeded := func() bool {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(since) > pause {
			since, n = now, 0
		}
		n++
		return n > 5
	}
	return func(_ context.Context, r *juggler.Request) (func(error) error, error) {
		if (r.Type() == frame.Pub || r.Type() == frame.Call) && exceeded() {
			return nil, &juggler.Error{Code: juggler.CodeLimit, Message: "slow down", RetryAfter: pause}
		}
		return nil, nil
	}
}

// signIn takes the tokens "forever", and "for N" for N milliseconds. It hands
// the session the user "u".
func signIn(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
	id := &juggler.Identity{User: "u"}
	if token == "forever" {
		return id, nil
	}
	text, ok := strings.CutPrefix(token, "for ")
	ms, err := strconv.Atoi(text)
	if !ok || err != nil {
		return nil, juggler.ErrUnauthenticated
	}
	id.Expires = time.Now().Add(time.Duration(ms) * time.Millisecond)
	return id, nil
}

// identify takes the user that the URL names, and has the server subscribe to a channel of
// that user's own. Who names none is nobody.
func identify(r *http.Request) (*juggler.Identity, error) {
	user := r.URL.Query().Get("user")
	if user == "" {
		return nil, nil
	}
	return &juggler.Identity{User: user, Channels: []string{juggler.User(user)}}, nil
}

func (n *nodes) newest() *juggler.Handler {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.current
}

// replace puts a new node before the others.
func (n *nodes) replace() error {
	h, err := newNode(n.broker, juggler.WithAuthenticator(identify))
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.current = h
	n.all = append(n.all, h)
	return nil
}

// drain replaces the newest node, and shuts it down as a deploy would.
func (n *nodes) drain(ctx context.Context) error {
	old := n.newest()
	return errors.Join(n.replace(), old.Shutdown(ctx))
}

func (n *nodes) shutdown(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, h := range n.all {
		errs = append(errs, h.Shutdown(ctx))
	}
	return errors.Join(errs...)
}
