package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
)

// exampleServer starts a server with the callee math.div, and returns its URL
// and what stops it.
func exampleServer() (url string, stop func()) {
	b, err := memory.New()
	if err != nil {
		panic(err)
	}
	h, err := juggler.New(juggler.WithBroker(b))
	if err != nil {
		panic(err)
	}
	callee, err := calleekit.New(b)
	if err != nil {
		panic(err)
	}
	callee.Handle("math.div", calleekit.Typed(func(_ context.Context, in [2]int) (int, error) {
		if in[1] == 0 {
			return 0, calleekit.Errorf(422, "division by zero")
		}
		return in[0] / in[1], nil
	}))
	if err := callee.Start(context.Background()); err != nil {
		panic(err)
	}
	s := httptest.NewServer(h)
	return s.URL, func() {
		callee.Close()
		h.Shutdown(context.Background())
		s.Close()
		b.Close()
	}
}

func ExampleClient_Call() {
	url, stop := exampleServer()
	defer stop()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	var quotient int
	err = c.Call(ctx, "math.div", []int{42, 6}, &quotient)
	fmt.Println(quotient, err)

	err = c.Call(ctx, "math.div", []int{1, 0}, &quotient)
	var failure *client.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Code, failure.Message)
	}
	err = c.Call(ctx, "math.mod", nil, nil)
	fmt.Println(errors.Is(err, client.CodeNoCallee))
	// Output:
	// 7 <nil>
	// code 422 division by zero
	// true
}

func ExampleClient_Start() {
	url, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	var calls []*client.PendingCall
	for i := range 3 {
		call, err := c.Start(ctx, "math.div", []int{100, i + 1}, client.Idempotent())
		if err != nil {
			fmt.Println(err)
			return
		}
		calls = append(calls, call)
	}
	for _, call := range calls {
		var n int
		err := call.Result(ctx, &n)
		fmt.Println(n, err)
	}
	// Output:
	// 100 <nil>
	// 50 <nil>
	// 33 <nil>
}

func ExampleClient_Subscribe() {
	url, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	sub, err := c.Subscribe(ctx, "news.*", client.Pattern())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, title := range []string{"one", "two"} {
		if err := c.Publish(ctx, "news.go", map[string]string{"title": title}); err != nil {
			fmt.Println(err)
		}
	}
	seen := 0
	for event, err := range sub.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if event.Gap {
			// Something may have been missed: read the state anew.
			continue
		}
		fmt.Println(event.Channel, string(event.Args))
		if seen++; seen == 2 {
			sub.Unsubscribe() // ends the loop
		}
	}
	// Output:
	// news.go {"title":"one"}
	// news.go {"title":"two"}
}

func ExampleNew() {
	// A client of a service that runs for long: it connects when it is first
	// used, signs in, and says what becomes of its connection.
	c, err := client.New("wss://rt.example.com/ws",
		client.WithToken(func(context.Context) (string, error) { return "secret", nil }),
		client.WithStateHook(func(s client.StateChange) { fmt.Println(s.State, s.Err) }),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.State())
	c.Close()
	// Output:
	// idle
	// closed client closed
}

func ExampleClient_Call_raw() {
	url, stop := exampleServer()
	defer stop()
	c, err := client.New(url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	var result json.RawMessage
	err = c.Call(context.Background(), "math.div", json.RawMessage(`[7, 2]`), &result,
		client.WithTimeout(time.Second), client.WithHeaders(map[string]string{"tenant": "acme"}))
	fmt.Println(string(result), err)
	// Output: 3 <nil>
}

func ExampleClient_SubscribeFunc() {
	url, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	done := make(chan struct{})
	_, err = c.SubscribeFunc(ctx, "jobs", func(sub *client.Subscription, e client.Event) {
		var job struct{ Divide [2]int }
		if e.Gap || e.Decode(&job) != nil {
			return
		}
		var quotient int
		err := c.Call(ctx, "math.div", job.Divide, &quotient) // a handler may call
		fmt.Println(sub.Channel(), quotient, err)
		close(done)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Publish(ctx, "jobs", map[string][]int{"Divide": {42, 6}}); err != nil {
		fmt.Println(err)
	}
	<-done
	// Output: jobs 7 <nil>
}
