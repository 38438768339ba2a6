package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/juggler-go/juggler"
)

// startNode serves until shutdown is called, or fails.
func startNode(b engine, s settings, failed chan<- error) (shutdown func(context.Context) error, err error) {
	l := newLogin(s.secret)
	h, err := juggler.New(append(nodeOptions(l), juggler.WithBroker(b))...)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: routes(h, l, s.web), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	go func() { failed <- server.Serve(listener) }()
	slog.Info("serving", "url", "http://"+listener.Addr().String())
	return func(ctx context.Context) error { return h.ShutdownWith(ctx, server) }, nil
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
		juggler.WithCallStats(64),
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
