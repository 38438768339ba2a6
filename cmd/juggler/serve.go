package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/listen"
)

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a server",
		Long: `serve runs a node: it takes the connections of clients and passes their calls
and events to the broker. Any number of nodes and callees work together on one
Redis. Without --redis the broker is embedded: events then reach the clients of
this node, and calls find no callee.

` + engine.AddressHelp,
		Example: `  juggler serve --redis redis://127.0.0.1:6379
  juggler serve --listen :8443 --redis redis://10.0.0.1:6379,10.0.0.2:6379
  JUGGLER_REDIS=redis://cache/2 juggler serve --config juggler.yaml`,
		Args: exactArgs(0, ""),
	}
	f.bind(cmd.Flags())
	configurable(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := configure(cmd); err != nil {
			return err
		}
		level := new(slog.LevelVar)
		level.Set(f.logs.Level())
		log := f.logs.New(cmd.ErrOrStderr(), level)
		warnMisspelt(cmd, log)
		return serve(cmd.Context(), &f, log, cmd.OutOrStdout())
	}
	return cmd
}

// serve runs a node until ctx ends, then drains it.
func serve(ctx context.Context, f *serveFlags, log *slog.Logger, out io.Writer) error {
	e, err := f.engine.Open(log)
	if err != nil {
		return err
	}
	defer e.Close()
	options := append(f.limits.options(),
		juggler.WithCaller(e.Caller), juggler.WithPubSub(e.PubSub),
		juggler.WithLogger(log), originOption(f.origins))
	h, err := juggler.New(options...)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	if err := e.Await(ctx, f.startTimeout); err != nil {
		return err
	}
	listeners, err := f.open()
	if err != nil {
		return err
	}
	for _, l := range listeners {
		fmt.Fprintln(out, listen.URL(l, f.path, false))
	}
	log.Info("serving", "node", h.Node())
	return f.run(ctx, h, listeners, log)
}

// originOption says which web pages may connect.
func originOption(origins []string) juggler.Option {
	if slices.Contains(origins, "*") {
		return juggler.WithOriginCheck(func(*http.Request) bool { return true })
	}
	return juggler.WithOrigins(origins...)
}

// open opens all listeners, or none.
func (f *serveFlags) open() ([]net.Listener, error) {
	var listeners []net.Listener
	for _, address := range f.listen {
		l, err := listen.Open(address, 0o660)
		if err != nil {
			for _, l := range listeners {
				err = errors.Join(err, l.Close())
			}
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// run serves h until ctx ends or a listener fails, then drains.
func (f *serveFlags) run(ctx context.Context, h *juggler.Handler, listeners []net.Listener, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle(f.path, h)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what scanners of ports cause
	}
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { served <- server.Serve(l) }() // ends with Shutdown, below
	}
	var failure error
	select {
	case failure = <-served:
	case <-ctx.Done():
		log.Info("draining", "sessions", h.NumSessions())
		delay := time.NewTimer(f.drainDelay)
		defer delay.Stop()
		<-delay.C
	}
	stop, cancel := context.WithTimeout(context.Background(), f.drainTimeout)
	defer cancel()
	if err := errors.Join(server.Shutdown(stop), h.Shutdown(stop)); err != nil {
		failure = errors.Join(failure, fmt.Errorf("draining took longer than --drain-timeout; the sessions that were left were cut off: %w", err))
	}
	log.Info("stopped")
	return failure
}
