package memory_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
)

// A node calls, a callee answers. Usually juggler.Handler and calleekit do this.
func Example_call() {
	b, err := memory.New()
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()

	node := broker.ID{1}
	caller, err := b.OpenCaller(ctx, node, func(results []broker.Result) {
		for _, r := range results {
			fmt.Printf("call %d: %s\n", r.To.Ref[0], r.Args)
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	callee, err := b.OpenCallee(ctx, []string{"text.greet"}, nil)
	if err != nil {
		log.Fatal(err)
	}

	err = caller.Call(ctx, &broker.Call{
		URI:     "text.greet",
		ReplyTo: broker.Address{Node: node, Ref: [16]byte{7}},
		Timeout: time.Second,
		Args:    []byte(`"World"`),
	})
	if err != nil {
		log.Fatal(err)
	}

	calls := make([]broker.Call, 8)
	n, err := callee.Take(ctx, calls)
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range calls[:n] {
		answer := fmt.Appendf(nil, "[%q,%s]", "Hello", c.Args)
		if err := callee.Reply(ctx, []broker.Result{{To: c.ReplyTo, Args: answer}}); err != nil {
			log.Fatal(err)
		}
	}
	// Output: call 7: ["Hello","World"]
}

// An event arrives once for each topic that it matches.
func Example_publish() {
	b, err := memory.New()
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()

	subscriber, err := b.OpenSubscriber(ctx, func(batch []broker.Delivery) {
		for _, d := range batch {
			fmt.Printf("for %s: %s %s\n", d.Topic.Name, d.Event.Channel, d.Event.Args)
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range []broker.Topic{{Name: "news.go"}, {Name: "news.*", Pattern: true}} {
		if err := subscriber.Subscribe(ctx, t); err != nil {
			log.Fatal(err)
		}
	}

	for _, channel := range []string{"news.go", "news.js", "weather"} {
		if err := b.Publish(ctx, &broker.Event{Channel: channel, Args: []byte(`"!"`)}); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// for news.go: news.go "!"
	// for news.*: news.go "!"
	// for news.*: news.js "!"
}

func ExampleNew() {
	b, err := memory.New(
		memory.WithQueueCapacity(4096),
		memory.WithCalleeGrace(10*time.Second),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	_, err = memory.New(memory.WithQueueCapacity(0))
	fmt.Println(err)
	// Output: memory: WithQueueCapacity(0): want 1 to 16777216: invalid option
}

// Who has the position of an event reads what came after it, and is told whether that is
// all.
func Example_history() {
	b, err := memory.New(memory.WithHistory(broker.HistoryRule{Channels: "room.*", Events: 3, For: time.Hour}))
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()

	var seen broker.Position
	conn, err := b.OpenSubscriber(ctx, func(batch []broker.Delivery) {
		for _, d := range batch {
			fmt.Printf("live: %s\n", d.Event.Args)
			seen = d.Pos
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	if seen, err = conn.(broker.HistorySubscriber).SubscribeKept(ctx, "room.7"); err != nil {
		log.Fatal(err)
	}
	say := func(words ...string) {
		for _, w := range words {
			if err := broker.Publish(ctx, b, "room.7", w, nil); err != nil {
				log.Fatal(err)
			}
		}
	}
	catchUp := func() {
		pages := make([]broker.Page, 1)
		b.ReadKept(ctx, []broker.Read{{Channel: "room.7", After: seen}}, pages)
		fmt.Println("all that was missed:", pages[0].Proven)
		for _, e := range pages[0].Events {
			fmt.Printf("missed: %s\n", e.Event.Args)
			seen = e.Pos
		}
	}

	say("one")
	if err := conn.Unsubscribe(ctx, broker.Topic{Name: "room.7"}); err != nil { // a tunnel
		log.Fatal(err)
	}
	say("two", "three")
	catchUp()
	say("four", "five", "six", "seven") // four is not kept any more
	catchUp()
	// Output:
	// live: "one"
	// all that was missed: true
	// missed: "two"
	// missed: "three"
	// all that was missed: false
}

// With a key a publication can be repeated where its outcome is not known.
func ExampleBroker_PublishKept() {
	b, err := memory.New(memory.WithHistory(broker.HistoryRule{Channels: "room.*", Events: 100, For: time.Hour}))
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	e, err := broker.NewEvent("room.7", "hello", nil)
	if err != nil {
		log.Fatal(err)
	}
	done := make([]broker.Published, 1)
	for range 2 {
		b.PublishKept(context.Background(), []broker.Publication{{Event: e, Key: "user 12, message 7"}}, done)
		fmt.Println("repeated:", done[0].Repeated, done[0].Err)
	}
	// Output:
	// repeated: false <nil>
	// repeated: true <nil>
}
