package prober_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/cmd/juggler/internal/prober"
)

// A command is what the prober tells a program.
type command struct {
	N, Of   int
	Do      string
	URI     string
	Channel string
	Args    json.RawMessage
	Timeout int
	Parts   int
	Pattern bool
	Here    bool
	Key     string
}

// goClient is a program with the Go client.
type goClient struct {
	client *client.Client

	mu    sync.Mutex
	out   *json.Encoder
	stops map[int]context.CancelFunc
	subs  map[int]*client.Subscription
}

// serveProber does what its standard input says with a client of url, and tells out.
func serveProber(url string, out io.Writer) error {
	opts := []client.Option{client.WithLogger(slog.New(slog.DiscardHandler))}
	if token := os.Getenv(prober.TokenVariable); token != "" {
		opts = append(opts, client.WithToken(func(context.Context) (string, error) { return token, nil }))
	}
	c, err := client.New(url, opts...)
	if err != nil {
		return err
	}
	defer c.Close()
	go c.Connect(context.Background()) //nolint:errcheck // what is asked of the client tells
	g := &goClient{
		client: c, out: json.NewEncoder(out),
		stops: make(map[int]context.CancelFunc), subs: make(map[int]*client.Subscription),
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var do command
		if err := json.Unmarshal(in.Bytes(), &do); err != nil {
			return err
		}
		ctx, stop := context.WithCancel(context.Background())
		g.mu.Lock()
		g.stops[do.N] = stop
		g.mu.Unlock()
		go g.do(ctx, do)
	}
	return in.Err()
}

func (g *goClient) do(ctx context.Context, do command) {
	switch do.Do {
	case "call":
		var opts []client.CallOption
		if do.Timeout > 0 {
			opts = append(opts, client.WithTimeout(time.Duration(do.Timeout)*time.Millisecond))
		}
		if do.Key != "" {
			opts = append(opts, client.Key(do.Key))
		}
		var result json.RawMessage
		err := g.client.Call(ctx, do.URI, do.Args, &result, opts...)
		g.outcome(do.N, result, err)
	case "stream":
		g.stream(ctx, do)
	case "cancel":
		g.mu.Lock()
		defer g.mu.Unlock()
		g.stops[do.Of]()
	case "publish":
		g.outcome(do.N, nil, g.client.Publish(ctx, do.Channel, do.Args))
	case "subscribe":
		g.subscribe(ctx, do)
	case "unsubscribe":
		g.mu.Lock()
		sub := g.subs[do.Of]
		g.mu.Unlock()
		sub.Unsubscribe()
		g.outcome(do.N, nil, nil)
	}
}

func (g *goClient) stream(ctx context.Context, do command) {
	s, err := g.client.Stream(ctx, do.URI, do.Args, client.Window(do.Parts))
	if err != nil {
		g.outcome(do.N, nil, err)
		return
	}
	for part, err := range s.Parts() {
		if err != nil {
			break
		}
		g.tell(map[string]any{"n": do.N, "part": part})
	}
	var result json.RawMessage
	err = s.Result(context.Background(), &result)
	g.outcome(do.N, result, err)
}

func (g *goClient) subscribe(ctx context.Context, do command) {
	var opts []client.SubscribeOption
	if do.Pattern {
		opts = append(opts, client.Pattern())
	}
	if do.Here {
		opts = append(opts, client.WithHere())
	}
	sub, err := g.client.Subscribe(ctx, do.Channel, opts...)
	g.outcome(do.N, nil, err)
	if err != nil {
		return
	}
	g.mu.Lock()
	g.subs[do.N] = sub
	g.mu.Unlock()
	if do.Here {
		go g.here(ctx, do.N, sub)
	}
	for event, err := range sub.Events(ctx) {
		var failed *client.Error
		switch {
		case errors.As(err, &failed):
			g.outcome(do.N, nil, err)
		case err != nil:
		case event.Gap:
			g.tell(map[string]any{"n": do.N, "gap": true})
		default:
			g.tell(map[string]any{"n": do.N, "channel": event.Channel, "event": event.Args})
		}
	}
}

func (g *goClient) here(ctx context.Context, n int, sub *client.Subscription) {
	for here, err := range sub.HereChanges(ctx) {
		if err != nil {
			return
		}
		var users []string
		if here.Members != nil {
			users = []string{}
		}
		for _, m := range here.Members {
			users = append(users, m.User)
		}
		slices.Sort(users)
		g.tell(map[string]any{"n": n, "here": users, "count": here.Count})
	}
}

// outcome tells how a command ended.
func (g *goClient) outcome(n int, result json.RawMessage, err error) {
	if err == nil {
		g.tell(map[string]any{"n": n, "result": result})
		return
	}
	told := map[string]any{"code": 0, "message": err.Error()}
	var failed *client.Error
	switch {
	case errors.As(err, &failed):
		told = map[string]any{"code": failed.Code, "message": failed.Message}
	case errors.Is(err, context.DeadlineExceeded):
		told["code"] = client.CodeExpired
	case errors.Is(err, context.Canceled):
		told["code"] = client.CodeCancelled
	}
	g.tell(map[string]any{"n": n, "error": told})
}

func (g *goClient) tell(line any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.out.Encode(line) //nolint:errcheck // the prober sees that nothing comes
}
