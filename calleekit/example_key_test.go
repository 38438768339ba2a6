package calleekit_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/juggler-go/juggler/calleekit"
)

// A function whose effect happens once for each key. A database keeps the key in the same
// transaction as the effect, with a unique index on it.
func ExampleCall_Key() {
	balance, paid := 100, map[string]bool{} // tables of a database

	pay := calleekit.Typed(func(ctx context.Context, amount int) (int, error) {
		key := calleekit.CallFrom(ctx).Key()
		if key == "" {
			return 0, calleekit.Errorf(calleekit.CodeBadRequest, "a payment needs a key")
		}
		// BEGIN; INSERT INTO paid …
		if !paid[key] {
			paid[key] = true
			balance -= amount
		}
		// COMMIT
		return balance, nil
	})

	r := calleekit.Recorder{Key: "7cVfsRfTo9yC5b1RcDRQlQ"} // as the broker names the call
	for range 2 {
		left, err := r.Serve(context.Background(), pay, &calleekit.Call{Args: json.RawMessage("30")})
		fmt.Println(string(left), err)
	}
	_, err := new(calleekit.Recorder).Serve(context.Background(), pay, &calleekit.Call{Args: json.RawMessage("30")})
	fmt.Println(err)
	// Output:
	// 70 <nil>
	// 70 <nil>
	// a payment needs a key (400)
}
