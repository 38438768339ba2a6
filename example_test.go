package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
	"github.com/juggler-go/juggler/rules"
)

// Calls that take long, with the time that they waited for a callee and the time that
// its function ran.
func ExampleWithCallObserver() {
	slow := func(e juggler.CallEnd) {
		if e.Total > time.Second {
			log.Println(e.URI, "waited", e.Total-e.Ran, "and ran", e.Ran, "code", e.Code)
		}
	}
	handler, err := juggler.New(juggler.WithCallObserver(slow), juggler.WithCallStats(100))
	if err != nil {
		log.Fatal(err)
	}
	defer handler.Shutdown(context.Background())
	for _, c := range handler.Stats().Calls {
		fmt.Println(c.URI, c.Code, c.Count, c.Total/time.Duration(c.Count))
	}
}

// Who is in a chat's rooms, with their names, and a hook that says who comes first and leaves
// last.
func ExampleWithPresence() {
	handler, err := juggler.New(
		juggler.WithPresence(juggler.PresenceRule{
			Channels: "room.*",
			Info: func(s juggler.Session, channel string) any {
				name, _ := s.Attribute("name")
				return map[string]string{"name": name}
			},
		}),
		juggler.WithHooks(juggler.Hooks{
			OnFirstIn: func(_ context.Context, channel string, m broker.Member) { log.Println(m.User, "is in", channel) },
			OnLastOut: func(_ context.Context, channel, user string) { log.Println(user, "has left", channel) },
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer handler.Shutdown(context.Background())
	here, err := handler.Here(context.Background(), "room.7")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(here.Count, "are there")
	// Output: 0 are there
}

// A worker that empties an outbox of the application's database. It may be killed after it
// has published and before it has noted that: the key of the entry keeps the event from
// being delivered twice.
func ExampleHandler_PublishKeyed() {
	kept, err := memory.New(memory.WithHistory(broker.HistoryRule{Channels: "orders.*", Events: 100, For: time.Hour}))
	if err != nil {
		log.Fatal(err)
	}
	defer kept.Close()
	handler, err := juggler.New(juggler.WithBroker(kept))
	if err != nil {
		log.Fatal(err)
	}
	defer handler.Shutdown(context.Background())

	for range 2 {
		p, err := handler.PublishKeyed(context.Background(), "outbox-4711", "orders.ann", "shipped", nil)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("published before:", p.Repeated)
	}
	// Output:
	// published before: false
	// published before: true
}

// Middleware that has a span end when its call does, not when the call is accepted.
func ExampleRequest_OnCallEnd() {
	trace := func(_ context.Context, r *juggler.Request) (func(error) error, error) {
		if parent := r.Header("traceparent"); parent != "" {
			start := time.Now()
			r.OnCallEnd(func(e juggler.CallEnd) { log.Println(parent, e.URI, start, e.Total, e.Ran, e.Code) })
		}
		return nil, nil
	}
	handler, err := juggler.New(juggler.WithNonBlockingMiddleware(trace))
	if err != nil {
		log.Fatal(err)
	}
	defer handler.Shutdown(context.Background())
}

// A handler on a mux, for users whom the application knows by a cookie, who
// may only publish and subscribe on channels of their own.
func Example_authentication() {
	own := []string{"user.{user}.*"}
	may, err := rules.Compile(rules.Rule{Who: []string{rules.Authenticated}, Publish: own, Subscribe: own})
	if err != nil {
		log.Fatal(err)
	}
	handler, err := juggler.New(
		juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
			cookie, err := r.Cookie("user")
			if err != nil {
				return nil, juggler.ErrUnauthenticated
			}
			return &juggler.Identity{User: cookie.Value}, nil
		}),
		juggler.WithAuthorizer(may),
	)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	server := httptest.NewServer(mux)
	defer server.Close()
	defer handler.Shutdown(context.Background())

	ctx := context.Background()
	_, err = client.Dial(ctx, server.URL+"/ws")
	fmt.Println("without a cookie:", err != nil)

	header := http.Header{"Cookie": {"user=ann"}}
	c, err := client.Dial(ctx, server.URL+"/ws", client.WithHTTPHeader(header))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println("her own channel:", c.Publish(ctx, "user.ann.mood", "fine"))
	err = c.Publish(ctx, "user.bob.mood", "fine")
	fmt.Println("his channel:", errors.Is(err, client.CodeForbidden))
	// Output:
	// without a cookie: true
	// her own channel: <nil>
	// his channel: true
}

// A server with a callee in the same process, and a client that calls it.
func Example() {
	b, err := memory.New()
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	handler, err := juggler.New(juggler.WithBroker(b))
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	defer handler.Shutdown(context.Background())

	callee, err := calleekit.New(b)
	if err != nil {
		log.Fatal(err)
	}
	callee.Handle("math.add", calleekit.Typed(func(_ context.Context, in [2]int) (int, error) {
		return in[0] + in[1], nil
	}))
	ctx := context.Background()
	if err := callee.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer callee.Shutdown(ctx)

	c, err := client.Dial(ctx, server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	var sum int
	if err := c.Call(ctx, "math.add", []int{1, 2}, &sum); err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum)
	// Output: 3
}

// A channel of the user, and a room that the user is removed from while the session goes on.
func ExampleUser() {
	handler, err := juggler.New(juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
		user := r.Header.Get("User") // of a session of the application
		return &juggler.Identity{User: user, Channels: []string{"room.7", juggler.User(user)}}, nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	ctx := context.Background()
	defer handler.Shutdown(ctx)

	done := make(chan struct{}, 2)
	c, err := client.Dial(ctx, server.URL, client.WithHTTPHeader(http.Header{"User": {"ann"}}),
		client.WithServerSubscriptions(func(sub *client.Subscription) {
			defer func() { done <- struct{}{} }()
			event, err := sub.Next(ctx)
			if sub.Own() {
				fmt.Printf("to %s: %s\n", sub.Channel(), event.Args)
				return
			}
			fmt.Printf("%s has ended: %v\n", sub.Channel(), err)
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := handler.Publish(ctx, juggler.User("ann"), "you have mail", nil); err != nil {
		log.Fatal(err)
	}
	<-done
	for s := range handler.SessionsOf("ann") {
		if err := s.Unsubscribe(ctx, broker.Topic{Name: "room.7"}, juggler.Errorf(403, "removed from the room")); err != nil {
			log.Fatal(err)
		}
	}
	<-done
	// Output:
	// to user:ann: "you have mail"
	// room.7 has ended: juggler: subscription to room.7: removed from the room (403)
}

// Server code publishes to whoever is subscribed.
func ExampleHandler_Publish() {
	handler, err := juggler.New()
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	ctx := context.Background()
	defer handler.Shutdown(ctx)

	c, err := client.Dial(ctx, server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	news, err := c.Subscribe(ctx, "news.*", client.Pattern())
	if err != nil {
		log.Fatal(err)
	}
	if err := handler.Publish(ctx, "news.go", map[string]string{"title": "Go 1.26"}, nil); err != nil {
		log.Fatal(err)
	}
	event, err := news.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", event.Channel, event.Args)
	// Output: news.go: {"title":"Go 1.26"}
}

// Callees learn who calls from headers that no client can send.
func ExampleWithUserHeader() {
	_ = func(t *testing.T) { // func TestWhoCalls(t *testing.T)
		srv := jugglertest.New(t,
			juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) {
				return &juggler.Identity{User: "ann", Attributes: []juggler.Attribute{{Name: "tenant", Value: "acme"}}}, nil
			}),
			juggler.WithUserHeader("user"), juggler.WithAttributeHeader("tenant", "tenant"))
		srv.Handle("whoami", calleekit.Typed(func(ctx context.Context, _ any) (string, error) {
			call := calleekit.CallFrom(ctx)
			return call.Header("user") + " of " + call.Header("tenant"), nil
		}))
		var got string
		if err := srv.Client().Call(t.Context(), "whoami", nil, &got); err != nil || got != "ann of acme" {
			t.Error(got, err)
		}
	}
}

// Middleware that may block notes what was asked, and how it went.
func ExampleWithMiddleware() {
	audit := func(next juggler.RequestHandler) juggler.RequestHandler {
		return func(ctx context.Context, r *juggler.Request) error {
			start := time.Now()
			err := next(ctx, r)
			log.Printf("%v %s%s by %s: %v in %v", r.Type(), r.URI(), r.Channel(), r.Session().User(), err, time.Since(start))
			return err
		}
	}
	handler, err := juggler.New(juggler.WithMiddleware(audit))
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/ws", handler)
}

// The handler and the http.Server are shut down together.
func ExampleHandler_ShutdownWith() {
	handler, err := juggler.New()
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: handler, Addr: "127.0.0.1:0",
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := handler.ShutdownWith(ctx, server); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-served)
	// Output: http: Server closed
}

// A test of an application: the whole system in one process.
func Example_unitTest() {
	_ = func(t *testing.T) { // func TestGreeting(t *testing.T)
		srv := jugglertest.New(t)
		srv.Handle("greet", calleekit.Typed(func(_ context.Context, name string) (string, error) {
			return "Hello, " + name, nil
		}))
		var greeting string
		if err := srv.Client().Call(t.Context(), "greet", "Ann", &greeting); err != nil || greeting != "Hello, Ann" {
			t.Errorf("got %q, %v", greeting, err)
		}
	}
}

// A user is logged out on all nodes: here there is one, on the embedded broker.
func ExampleCluster_Revoke() {
	h, err := juggler.New(
		juggler.WithCluster(),
		juggler.WithAuthorizer(juggler.AllowAll()),
		juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
			// What the token says, which is checked here.
			return &juggler.Identity{User: "ann", Issued: time.Now().Add(-time.Hour)}, nil
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Shutdown(context.Background())
	if err := h.Ready(context.Background()); err != nil { // the node takes part from now on
		log.Fatal(err)
	}

	report, err := h.Cluster().Revoke(context.Background(), "ann", time.Now(), 24*time.Hour)
	if err != nil {
		log.Print(err) // it names the nodes that have not done it
	}
	fmt.Println(len(report.Nodes), "node,", report.Sessions(), "sessions ended")
	// Output: 1 node, 0 sessions ended
}
