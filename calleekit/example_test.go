package calleekit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
)

// The broker of the examples; a program of many processes uses broker/redis.
func newBroker() *memory.Broker {
	b, err := memory.New()
	if err != nil {
		log.Fatal(err)
	}
	return b
}

// printCall makes one call, as a node does for a client, and prints its result.
func printCall(b *memory.Broker, uri, args, headers string) {
	ctx := context.Background()
	node := broker.ID{1}
	results := make(chan string, 1)
	conn, err := b.OpenCaller(ctx, node, func(rs []broker.Result) {
		for _, r := range rs {
			switch {
			case r.Err == nil:
				results <- string(r.Args)
			case r.Err.Data == nil:
				results <- fmt.Sprintf("error %d: %s", r.Err.Code, r.Err.Message)
			default:
				results <- fmt.Sprintf("error %d: %s, data %s", r.Err.Code, r.Err.Message, r.Err.Data)
			}
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	err = conn.Call(ctx, &broker.Call{
		URI:     uri,
		Args:    []byte(args),
		Headers: []byte(headers),
		Timeout: time.Second,
		ReplyTo: broker.Address{Node: node},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-results)
}

func Example() {
	b := newBroker()
	defer b.Close()
	c, err := calleekit.New(b)
	if err != nil {
		log.Fatal(err)
	}
	c.Handle("math.add", calleekit.Typed(func(_ context.Context, in [2]int) (int, error) {
		return in[0] + in[1], nil
	}))
	// A program whose only task this is calls Run instead, which blocks.
	if err := c.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	defer c.Shutdown(context.Background())

	printCall(b, "math.add", `[1,2]`, "")
	printCall(b, "math.add", `["1",2]`, "")
	// Output:
	// 3
	// error 400: args: want an integer, got a string
}

func ExampleCallee_Handle() {
	b := newBroker()
	defer b.Close()
	c, err := calleekit.New(b, calleekit.WithConcurrency(100))
	if err != nil {
		log.Fatal(err)
	}
	// Arguments and result as they stand in the messages, without decoding.
	c.Handle("echo", func(_ context.Context, call *calleekit.Call) (any, error) {
		return call.Args, nil
	})
	// At most 4 of the 100 calls at a time.
	c.Handle("whoami", func(_ context.Context, call *calleekit.Call) (any, error) {
		return call.Header("user"), nil
	}, calleekit.WithConcurrency(4))
	if err := c.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	defer c.Shutdown(context.Background())

	printCall(b, "echo", `{"a": [1, 2]}`, "")
	printCall(b, "whoami", `null`, `{"user":"ada"}`)
	// Output:
	// {"a": [1, 2]}
	// "ada"
}

func ExampleTyped() {
	b := newBroker()
	defer b.Close()
	c, err := calleekit.New(b)
	if err != nil {
		log.Fatal(err)
	}
	type order struct {
		Item  string `json:"item"`
		Count int    `json:"count"`
	}
	type receipt struct {
		Customer string `json:"customer"`
		Total    int    `json:"total"`
	}
	c.Handle("shop.order", calleekit.Typed(func(ctx context.Context, o order) (receipt, error) {
		if o.Count < 1 {
			return receipt{}, calleekit.Errorf(422, "an order of %d", o.Count)
		}
		customer := calleekit.CallFrom(ctx).Header("user")
		return receipt{Customer: customer, Total: 3 * o.Count}, nil
	}))
	if err := c.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	defer c.Shutdown(context.Background())

	printCall(b, "shop.order", `{"item":"tea","count":2}`, `{"user":"ada"}`)
	printCall(b, "shop.order", `{"item":"tea"}`, "")
	printCall(b, "shop.order", `{"item":5}`, "")
	// Output:
	// {"customer":"ada","total":6}
	// error 422: an order of 0
	// error 400: args, "item" at byte 9: want a string, got a number
}

func ExampleCallee_Use() {
	b := newBroker()
	defer b.Close()
	c, err := calleekit.New(b)
	if err != nil {
		log.Fatal(err)
	}
	onlyUsers := func(next calleekit.Handler) calleekit.Handler {
		return calleekit.HandlerFunc(func(ctx context.Context, call *calleekit.Call) (any, error) {
			if call.Header("user") == "" {
				return nil, calleekit.Errorf(403, "%s is for users", call.URI)
			}
			return next.ServeCall(ctx, call)
		})
	}
	trace := func(next calleekit.Handler) calleekit.Handler {
		return calleekit.HandlerFunc(func(ctx context.Context, call *calleekit.Call) (any, error) {
			fmt.Println("call of", call.URI)
			return next.ServeCall(ctx, call)
		})
	}
	c.Use(trace) // around every function
	hello := func(context.Context, *calleekit.Call) (any, error) { return "hello", nil }
	c.Handle("hello", hello)
	private := c.Group("private.", onlyUsers)
	private.Handle("hello", hello)
	if err := c.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	defer c.Shutdown(context.Background())

	printCall(b, "hello", "", "")
	printCall(b, "private.hello", "", "")
	printCall(b, "private.hello", "", `{"user":"ada"}`)
	// Output:
	// call of hello
	// "hello"
	// call of private.hello
	// error 403: private.hello is for users
	// call of private.hello
	// "hello"
}

func ExampleError() {
	b := newBroker()
	defer b.Close()
	c, err := calleekit.New(b)
	if err != nil {
		log.Fatal(err)
	}
	errSoldOut := calleekit.Errorf(409, "sold out").WithData(map[string]string{"next": "Monday"})
	c.Handle("buy", func(context.Context, *calleekit.Call) (any, error) {
		// What wraps an Error stays here, for logs and errors.Is.
		return nil, fmt.Errorf("shelf 7: %w", errSoldOut)
	})
	c.Handle("sell", func(context.Context, *calleekit.Call) (any, error) {
		return nil, errors.New("no market today")
	})
	c.Handle("steal", func(context.Context, *calleekit.Call) (any, error) {
		return nil, calleekit.Errorf(403, "not here")
	})
	if err := c.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	defer c.Shutdown(context.Background())

	printCall(b, "buy", "", "")
	printCall(b, "sell", "", "")
	printCall(b, "steal", "", "")
	// Output:
	// error 409: sold out, data {"next":"Monday"}
	// error 500: internal error
	// error 403: not here
}

func ExampleCallee_Run() {
	b := newBroker()
	defer b.Close()
	c, err := calleekit.New(b, calleekit.WithDrainTimeout(5*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	c.Handle("hello", func(context.Context, *calleekit.Call) (any, error) { return "hello", nil })

	// In a program: signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer stop()
	fmt.Println(c.Run(ctx))
	// Output: <nil>
}
