package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/access"
	"github.com/juggler-go/juggler/cmd/juggler/internal/admin"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/listen"
	"github.com/juggler-go/juggler/cmd/juggler/internal/opspage"
	"github.com/juggler-go/juggler/cmd/juggler/internal/otlp"
	"github.com/juggler-go/juggler/cmd/juggler/internal/playground"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
	jugglerprom "github.com/juggler-go/juggler/telemetry/prometheus"
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

--rules says who may call, subscribe and publish what. Without it everybody may do
everything, so the server listens on this machine only, unless --open says that
this is meant.

SIGTERM drains: clients are asked to go elsewhere and calls come to their end.
SIGHUP reads certificates, passwords, rules, keys and the log level again.

` + engine.AddressHelp,
		Example: `  juggler serve --redis redis://127.0.0.1:6379
  juggler serve --listen :8443 --tls-cert chain.pem --tls-key key.pem --rules rules.yaml \
    --redis redis://10.0.0.1:6379,10.0.0.2:6379 --admin-listen 127.0.0.1:9090
  JUGGLER_REDIS=redis://cache/2 juggler serve --config juggler.yaml`,
		Args: exactArgs(0, ""),
	}
	f.bind(cmd.Flags())
	configurable(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := configure(cmd); err != nil {
			return err
		}
		s := &server{process: newProcess(cmd, &f.logs), flags: &f}
		return s.run(cmd.Context())
	}
	return cmd
}

// A server is a running node.
type server struct {
	*process
	flags   *serveFlags
	engine  *engine.Engine
	access  *access.Control
	handler *juggler.Handler
	admin   *admin.Server
	export  otlp.Export

	callTimes *jugglerprom.CallObserver // nil: --call-stats 0

	socketMode fs.FileMode
	encryption *tls.Config // nil: none
	http       http.Handler
	elsewhere  elsewhere
}

// run runs a node until ctx ends, then drains it.
func (s *server) run(ctx context.Context) error {
	defer s.limit.Close()
	var err error
	if s.engine, err = s.flags.engine.Open(s.logs); err != nil {
		return err
	}
	defer s.engine.Close()
	s.onReload("passwords and certificates of Redis", s.engine.Reload)
	// What fetches keys ends with the node.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer func() { s.export.Close() }()
	if err := s.prepare(ctx); err != nil {
		return exit.With(exit.Usage, err)
	}
	if onlyCheck(s.cmd) {
		return nil
	}
	defer s.watch()()
	if err := s.exportMetrics(); err != nil {
		return err
	}
	if err := s.engine.Await(ctx, s.flags.startTimeout); err != nil || ctx.Err() != nil {
		return err
	}
	listeners, err := s.open()
	if err != nil {
		return err
	}
	s.admin = admin.New(s.metrics(), s.vars, s.ready)
	s.admin.Handle("/", s.opsPage())
	defer s.admin.Close()
	if err := s.flags.admin.Start(s.admin, s.log); err != nil {
		return errors.Join(err, closeAll(listeners))
	}
	for _, l := range listeners {
		fmt.Fprintln(s.cmd.OutOrStdout(), listen.URL(l, s.flags.path, s.encryption != nil))
		if s.flags.playground {
			printPlayground(s.cmd.OutOrStdout(), l, s.encryption != nil)
		}
	}
	if s.inCluster() {
		_ = s.handler.Ready(ctx) // it takes part from now on; if it cannot, with its first session
	}
	if s.flags.access.Unguarded() {
		s.log.Warn("every client may call, publish and subscribe to everything: give --rules, or --open if that is meant")
	}
	if s.flags.playground && slices.ContainsFunc(s.flags.listen, func(a string) bool { return !listen.IsLocal(a) }) {
		s.log.Warn("everybody who can reach this server can open the playground: leave out --playground if that is not meant")
	}
	s.log.Info("serving", "node", s.handler.Node())
	return s.serve(ctx, listeners)
}

// reloadRules reads the rules again, and ends the subscriptions that they no longer allow.
func (s *server) reloadRules() error {
	if err := s.access.ReloadRules(); err != nil {
		return err
	}
	before := s.handler.Stats().TakenAway
	if err := s.handler.Reauthorize(s.cmd.Context()); err != nil {
		return err
	}
	if n := s.handler.Stats().TakenAway - before; n > 0 {
		s.log.Info("ended subscriptions that the rules no longer allow", "subscriptions", n)
	}
	return nil
}

// opsPage returns the page for operators.
func (s *server) opsPage() http.Handler {
	page := &opspage.Page{Handler: s.handler, Engine: s.engine, Ready: s.ready, InCluster: s.inCluster(), Hosts: s.flags.adminHosts, Log: s.log}
	return page.Serve()
}

// inCluster reports whether the node acts together with others.
func (s *server) inCluster() bool { return s.flags.cluster && len(s.flags.engine.RPC) > 0 }

// ready reports whether clients should come here.
func (s *server) ready(ctx context.Context) error {
	return errors.Join(s.handler.Ready(ctx), s.access.Ready())
}

// prepare makes everything that flags and files can get wrong.
func (s *server) prepare(ctx context.Context) error {
	f := s.flags
	control, err := f.access.Open(ctx, onlyCheck(s.cmd), s.log)
	if err != nil {
		return err
	}
	s.access = control
	s.onReload("rules", s.reloadRules)
	s.onReload("keys of tokens", func() error { return control.ReloadKeys(ctx) })
	options := append(f.limits.List(),
		juggler.WithCaller(s.engine.Caller), juggler.WithPubSub(s.engine.PubSub),
		juggler.WithLogger(s.logs), originOption(f.origins))
	if s.inCluster() {
		options = append(options, juggler.WithCluster())
	}
	if f.admin.On() && f.top > 0 {
		options = append(options, juggler.WithTop(f.top)) // for the page
	}
	if s.export, err = otlp.Open(otlp.Process{Service: "juggler-serve", Version: versionText(), Log: s.log}); err != nil {
		return err
	}
	if err := settings.Needs(s.cmd.Flags(), s.export.Traces != nil, "OTEL_EXPORTER_OTLP_ENDPOINT", "trace-client-rate"); err != nil {
		return err
	}
	if s.export.Traces != nil {
		options = append(options, jugglerotel.Handler(append(s.export.Traces.Options(), jugglerotel.WithClientRate(f.traceClientRate))...))
	}
	if len(f.proxies) > 0 {
		options = append(options, juggler.WithTrustedProxies()) // the handler sees the addresses of clients
	}
	callStats, err := s.callStats()
	if err != nil {
		return err
	}
	options = append(options, callStats...)
	if s.handler, err = juggler.New(append(options, control.Options()...)...); err != nil {
		return errors.New(inFlags(err.Error()))
	}
	if err := s.prepareTLS(); err != nil {
		return err
	}
	proxies, err := listen.ParseProxies(f.proxies)
	if err != nil {
		return fmt.Errorf("--trusted-proxies: %w", err)
	}
	mode, err := strconv.ParseUint(f.socketMode, 8, 32)
	if err != nil || mode > 0o777 {
		return fmt.Errorf("--socket-mode %q: want permissions in octal, such as 0660", f.socketMode)
	}
	s.socketMode = fs.FileMode(mode)
	// Braces and spaces mean something to a ServeMux, and it finds clean paths only.
	clean := strings.TrimSuffix(f.path, "/") == strings.TrimSuffix(path.Clean(f.path), "/")
	if !clean || !strings.HasPrefix(f.path, "/") || strings.ContainsAny(f.path, "{}?# \t") {
		return fmt.Errorf("--path %q: want a path that begins with /, such as /ws", f.path)
	}
	if f.playground && strings.HasPrefix(f.path+"/", playground.Path) {
		return fmt.Errorf("--path %q: --playground has its page there", f.path)
	}
	for _, address := range f.listen {
		if err := listen.Check(address); err != nil {
			return fmt.Errorf("--listen %w", err)
		}
	}
	if err := errors.Join(f.admin.Check(), f.access.Check(f.listen), f.checkEffect(s.cmd.Flags(), s.export.Metrics != nil)); err != nil {
		return err
	}
	mux := http.NewServeMux()
	if bare := strings.TrimSuffix(f.path, "/"); bare == "" {
		mux.Handle("/", s.handler)
	} else { // both forms: clients do not follow a redirect from one to the other
		mux.Handle(bare, s.handler)
		mux.Handle(bare+"/{$}", s.handler)
		s.elsewhere.path, s.elsewhere.log = f.path, s.limit.Plain()
		mux.Handle("/", &s.elsewhere)
	}
	if f.playground {
		mux.Handle(playground.Path, playground.New(playground.Config{WebSocket: f.path}))
	}
	s.http = proxies.Handler(s.logged(mux))
	return nil
}

func (s *server) prepareTLS() error {
	f := s.flags
	switch {
	case f.cert == "" && f.key == "" && f.clientCA == "":
		return nil
	case f.cert == "" || f.key == "":
		return errors.New("TLS needs both --tls-cert and --tls-key")
	}
	certificate, err := listen.ReadCertificate(f.cert, f.key, f.clientCA)
	if err != nil {
		return err
	}
	s.onReload("certificates", certificate.Reload)
	s.encryption = certificate.Config()
	return nil
}

// logged logs requests, at the level debug.
func (s *server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.log.Debug("request", "remote", r.RemoteAddr, "method", r.Method, "path", r.URL.Path,
			"protocols", r.Header.Get("Sec-WebSocket-Protocol"), "origin", r.Header.Get("Origin"))
		next.ServeHTTP(w, r)
	})
}

// originOption says which web pages may connect.
func originOption(origins []string) juggler.Option {
	if slices.Contains(origins, "*") {
		return juggler.WithOriginCheck(func(*http.Request) bool { return true })
	}
	return juggler.WithOrigins(origins...)
}

// open opens all listeners, or none.
func (s *server) open() ([]net.Listener, error) {
	var listeners []net.Listener
	for _, address := range s.flags.listen {
		l, err := listen.Open(address, s.socketMode)
		if err != nil {
			return nil, errors.Join(err, closeAll(listeners))
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// serve serves until ctx ends or a listener fails, then drains.
func (s *server) serve(ctx context.Context, listeners []net.Listener) error {
	web := &http.Server{
		Handler:           s.http,
		Protocols:         new(http.Protocols), // HTTP/1.1 alone, below: there are no WebSockets over HTTP/2
		TLSConfig:         s.encryption,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // what scanners of ports cause
	}
	web.Protocols.SetHTTP1(true)
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		l = listen.Watch(l, s.log)
		go func() { // ends with Shutdown, in drain
			if s.encryption != nil {
				served <- web.ServeTLS(l, "", "")
			} else {
				served <- web.Serve(l)
			}
		}()
	}
	select {
	case err := <-served:
		return errors.Join(err, s.drain(web))
	case <-ctx.Done():
		return s.drain(web)
	}
}

// drain tells load balancers first, then asks clients to go elsewhere.
func (s *server) drain(web *http.Server) error {
	s.admin.Drain()
	s.log.Info("draining", "sessions", s.handler.NumSessions())
	delay := time.NewTimer(s.flags.drainDelay)
	defer delay.Stop()
	<-delay.C
	stop, cancel := context.WithTimeout(context.Background(), s.flags.drainTimeout)
	defer cancel()
	accepting := make(chan struct{})
	go func() { // ends with Close
		defer close(accepting)
		_ = web.Shutdown(stop) // what it waits for has no session, and would get none
	}()
	err := s.handler.Shutdown(stop)
	_ = web.Close()
	<-accepting
	if err != nil {
		return fmt.Errorf("draining took longer than --drain-timeout; the sessions that were left were cut off: %w", err)
	}
	s.log.Info("stopped")
	return nil
}
