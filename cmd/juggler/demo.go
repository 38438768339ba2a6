package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/listen"
	"github.com/juggler-go/juggler/cmd/juggler/internal/logs"
	"github.com/juggler-go/juggler/cmd/juggler/internal/otlp"
	"github.com/juggler-go/juggler/cmd/juggler/internal/playground"
	"github.com/juggler-go/juggler/internal/testcallees"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// stopTime is how long the demo takes at most to stop cleanly.
const stopTime = 10 * time.Second

func newDemo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a server with callees, to play with",
		Long: `demo runs a server on an embedded broker, with the callees

  test.echo     returns its arguments, any JSON
  test.reverse  returns a string, reversed by characters
  test.delay    waits for a number of milliseconds and returns it
  test.count    answers in parts: the numbers up to the one that it returns

It keeps the newest 100 events of channels that begin with "room.", for an hour, and knows
who is in them: who connects to its URL with ?user=NAME behind it is NAME.
It prints the URL of its WebSocket on the first line, and on the second that of a
playground: a web page to call, subscribe and publish, and to watch the frames. It
lets in everybody, from any web page: it is not for production.`,
		Example: `  juggler demo
  juggler demo --listen 127.0.0.1:0    # on a free port`,
		Args: exactArgs(0, ""),
	}
	address := cmd.Flags().String("listen", "127.0.0.1:8080", "`address` to listen on; port 0 takes a free one")
	var logging logs.Flags
	logging.Bind(cmd.Flags())
	configurable(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := configure(cmd); err != nil {
			return err
		}
		if err := listen.Check(*address); err != nil {
			return usageError(cmd, fmt.Errorf("--listen %w", err))
		}
		p := newProcess(cmd, &logging)
		defer p.limit.Close()
		if onlyCheck(cmd) {
			return nil
		}
		return demo(cmd.Context(), *address, p, cmd.OutOrStdout())
	}
	return cmd
}

// demoUser believes who a client says that it is. One that says nothing is nobody.
func demoUser(r *http.Request) (*juggler.Identity, error) {
	if user := r.URL.Query().Get("user"); user != "" {
		return &juggler.Identity{User: user}, nil
	}
	return nil, nil
}

// demoPages serves the playground beside h, to which also who opens the server's bare
// address in a browser is sent.
func demoPages(h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(playground.Path, playground.New(playground.Config{
		WebSocket: "/?user=ann", // somebody, so that there are members and keys
		URIs:      testcallees.URIs,
		Channels:  []string{"room.7", "news.go"},
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		asks := r.Method == http.MethodGet || r.Method == http.MethodHead
		if r.URL.Path == "/" && asks && r.Header.Get("Upgrade") == "" {
			http.Redirect(w, r, playground.Path, http.StatusFound)
			return
		}
		h.ServeHTTP(w, r)
	})
	return mux
}

// demo serves everything in one process until ctx ends.
func demo(ctx context.Context, address string, p *process, out io.Writer) error {
	export, err := otlp.Open(otlp.Process{Service: "juggler-demo", Version: versionText(), Log: p.log})
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	defer export.Close()
	b, err := memory.New(memory.WithHistory(broker.HistoryRule{Channels: "room.*", Events: 100, For: time.Hour}))
	if err != nil {
		return err
	}
	defer b.Close()
	forCallee := []calleekit.Option{calleekit.WithLogger(p.logs)}
	forHandler := []juggler.Option{
		juggler.WithBroker(b),
		juggler.WithLogger(p.logs),
		juggler.WithAuthorizer(juggler.AllowAll()),
		juggler.WithAuthenticator(demoUser),
		juggler.WithPresence(juggler.PresenceRule{Channels: "room.*"}),
		juggler.WithKeyScope(func(juggler.Session) string { return "everybody" }), // as nobody signs in
		juggler.WithOriginCheck(func(*http.Request) bool { return true }),         // a demo: any page may try it
	}
	if export.Traces != nil {
		forCallee = append(forCallee, jugglerotel.Callee(export.Traces.Options()...))
		forHandler = append(forHandler, jugglerotel.Handler(export.Traces.Options()...))
	}
	callee, err := calleekit.New(b, forCallee...)
	if err != nil {
		return err
	}
	testcallees.Register(callee)
	h, err := juggler.New(forHandler...)
	if err != nil {
		return err
	}
	if err := exportDemo(export.Metrics, h, callee, b); err != nil {
		return err
	}
	l, err := listen.Open(address, 0o660)
	if err != nil {
		return err
	}
	if err := callee.Start(ctx); err != nil {
		return errors.Join(err, l.Close())
	}

	fmt.Fprintln(out, listen.URL(l, "/", false))
	printPlayground(out, l, false)
	server := &http.Server{Handler: demoPages(h), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }() // ends with Shutdown, below
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	// The callee comes last: the sessions wait for their calls.
	return errors.Join(err, h.ShutdownWith(stop, server), callee.Shutdown(stop))
}
