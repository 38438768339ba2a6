// Command server is what the integration tests of the TypeScript client talk
// to: real nodes on one embedded broker, callees, and a few HTTP paths with
// which a test makes things happen. It prints its URL and runs until its
// standard input ends, so that it never outlives the tests.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`address` to listen on")
	dist := flag.String("dist", "", "`folder` of the built package, served under /dist/")
	flag.Parse()
	if err := run(*listen, *dist); err != nil {
		log.Fatal(err)
	}
}

func run(listen, dist string) error {
	b, err := memory.New(memory.WithHistory(
		broker.HistoryRule{Channels: "kept.*", Events: 1000, For: time.Minute},
		broker.HistoryRule{Channels: juggler.User("kept.*"), Events: 1000, For: time.Minute},
	))
	if err != nil {
		return err
	}
	defer b.Close()
	callee, err := calleekit.New(b, calleekit.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	counters := register(callee)
	if err := callee.Start(context.Background()); err != nil {
		return err
	}
	defer callee.Close()

	mux := http.NewServeMux()
	nodes, err := mount(mux, b)
	if err != nil {
		return err
	}
	control(mux, nodes, counters)
	mux.Handle("/dist/", http.StripPrefix("/dist/", http.FileServer(http.Dir(dist))))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!doctype html><title>juggler</title>")
	})

	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", l.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		bufio.NewReader(os.Stdin).WriteTo(io.Discard) // ends with the tests
		server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return nodes.shutdown(ctx)
}

// newNode makes a node on b that any page may use.
func newNode(b *memory.Broker, opts ...juggler.Option) (*juggler.Handler, error) {
	return juggler.New(append([]juggler.Option{
		juggler.WithBroker(b),
		juggler.WithLogger(slog.New(slog.DiscardHandler)),
		juggler.WithCompression(juggler.Compression{}),
		juggler.WithOriginCheck(func(*http.Request) bool { return true }),
		juggler.WithKeyScope(func(juggler.Session) string { return "all" }),
		juggler.WithPresence(juggler.PresenceRule{Channels: "room.*", Info: func(s juggler.Session, _ string) any {
			return map[string]string{"name": strings.ToUpper(s.User())}
		}}),
		juggler.WithPresenceGrace(300 * time.Millisecond),
		juggler.WithMaxPresent(20),
		juggler.WithAuthorizer(juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
			if r.Channel() == "secret" || r.URI() == "secret" {
				return juggler.ErrForbidden
			}
			r.AllowPattern()
			return nil
		})),
	}, opts...)...)
}
