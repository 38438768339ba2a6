// Server is a whole program around juggler, in one process: the embedded broker, a callee,
// the handler on an http.Server, and the order in which they stop.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/rules"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "`address` to serve")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, stop, *listen)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx ends, then stops everything. stop has a second signal end the
// process.
func run(ctx context.Context, stop func(), listen string) error {
	b, err := memory.New()
	if err != nil {
		return err
	}
	callee, err := calleekit.New(b)
	if err != nil {
		return err
	}
	register(callee)
	may, err := rules.Compile(rules.Rule{Who: []string{rules.Everyone}, Call: []string{"report.make"}})
	if err != nil {
		return err
	}
	h, err := juggler.New(juggler.WithBroker(b), juggler.WithAuthorizer(may))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	// Not ctx: the callee stops last, as sessions wait for its answers.
	if err := callee.Start(context.Background()); err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	log.Printf("serving ws://%s/ws", l.Addr())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stop()

	grace, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return errors.Join(h.ShutdownWith(grace, server), callee.Shutdown(grace), b.Close())
}

// register says what can be called. contract.json is made of this, by the test.
func register(c *calleekit.Callee) {
	c.Handle("report.make", calleekit.Typed(makeReport),
		calleekit.WithDoc("Makes a report, which takes so many seconds."),
		calleekit.WithErrorCode(calleekit.CodeBadRequest, "no report takes less than no time"))
}

// makeReport takes as long as it is asked to, in seconds.
func makeReport(ctx context.Context, seconds float64) (string, error) {
	if seconds < 0 {
		return "", calleekit.Errorf(calleekit.CodeBadRequest, "a report of %v seconds", seconds)
	}
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
		return fmt.Sprintf("a report of %v seconds", seconds), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
