package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/juggler-go/juggler"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
	jugglerprom "github.com/juggler-go/juggler/telemetry/prometheus"
)

// serve is a node until ctx ends.
func serve(ctx context.Context, b engine, s settings) error {
	l := newLogin(s.secret)
	h, err := juggler.New(append(nodeOptions(l), juggler.WithBroker(b))...)
	if err != nil {
		return err
	}
	prometheus.MustRegister(jugglerprom.NewHandlerCollector(h))
	server := &http.Server{Addr: s.listen, Handler: routes(h, l, s.web), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	slog.Info("serving", "url", "http://"+s.listen)
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(err, h.ShutdownWith(grace, server)) // sessions move to other nodes
}

// nodeOptions are who comes in, what they may do, and how often.
func nodeOptions(l login) []juggler.Option {
	return []juggler.Option{
		juggler.WithAuthenticator(l.authenticate),
		juggler.WithAuthorizer(rights),
		juggler.WithUserHeader("user"), // callees trust it
		juggler.WithPresence(juggler.PresenceRule{Channels: "here.*"}),
		juggler.WithOutcomes(juggler.OutcomeRule{URIs: "me.answer"}), // kept for 10 minutes
		juggler.WithMaxUserSessions(50),
		juggler.WithUserRates(juggler.Rates{
			Messages:     juggler.Rate{PerSecond: 100, Burst: 500},
			Calls:        juggler.Rate{PerSecond: 20, Burst: 100},
			Publications: juggler.Rate{PerSecond: 5, Burst: 20},
		}),
		juggler.WithCallStats(64), // metrics by URI
		jugglerotel.Handler(),     // a span for each call and publication
	}
}

// routes are the pages, signing in, and the WebSocket. Pages of other origins can do nothing here.
func routes(h *juggler.Handler, l login, web string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /ws", h)
	mux.HandleFunc("GET /me", l.me)
	mux.HandleFunc("POST /login", l.signIn)
	mux.HandleFunc("POST /logout", l.signOut)
	mux.Handle("GET /", http.FileServer(http.Dir(web)))
	protected := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
		protected.ServeHTTP(w, r)
	})
}
