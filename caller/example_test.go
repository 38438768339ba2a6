package caller_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/caller"
)

// A program calls what a callee answers, with nothing but a broker between them. With
// broker/redis they may be on two machines.
func Example() {
	b, err := memory.New()
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	callee, err := calleekit.New(b)
	if err != nil {
		log.Fatal(err)
	}
	callee.Handle("math.add", calleekit.Typed(func(_ context.Context, in [2]int) (int, error) {
		return in[0] + in[1], nil
	}))
	if err := callee.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	defer callee.Close()

	calls, err := caller.New(b)
	if err != nil {
		log.Fatal(err)
	}
	defer calls.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var sum int
	if err := calls.Call(ctx, "math.add", []int{1, 2}, &sum); err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum)

	add := caller.Typed[[2]int, int](calls, "math.add")
	sum, err = add(ctx, [2]int{20, 22})
	fmt.Println(sum, err)

	err = calls.Call(ctx, "math.sub", nil, nil)
	var failure *caller.Error
	if errors.As(err, &failure) {
		fmt.Println(int(failure.Code), failure.Message)
	}
	// Output:
	// 3
	// 42 <nil>
	// 404 no callee for this URI
}
