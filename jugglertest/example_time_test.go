package jugglertest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

// A call that takes longer than it may, in a bubble: the minute passes at once.
func Example_time() {
	_ = testSlow // func TestSlow(t *testing.T)
}

func testSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t)
		srv.Handle("slow", calleekit.Typed(func(ctx context.Context, _ any) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		err := srv.Client().Call(t.Context(), "slow", nil, nil, client.WithTimeout(time.Minute))
		if !errors.Is(err, client.CodeExpired) {
			t.Errorf("got %v", err)
		}
	})
}
