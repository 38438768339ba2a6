package calleekit_test

import (
	"context"
	"iter"
	"reflect"
	"testing"

	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
)

type sum struct{ Sum int }

func add(_ context.Context, in [2]int) (sum, error) { return sum{in[0] + in[1]}, nil }

func words(context.Context, string) iter.Seq2[rune, error] { return func(func(rune, error) bool) {} }

// A callee tells the types of what Typed and Stream have made, and what was said of
// functions. It calls none of them for that.
func TestFunctions(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, err := calleekit.New(b)
	if err != nil {
		t.Fatal(err)
	}
	own := func(context.Context, *calleekit.Call) (any, error) {
		t.Error("a function was called for its types")
		return nil, nil
	}
	// A function around one of Typed is not it.
	around := func(f calleekit.HandlerFunc) calleekit.HandlerFunc {
		return func(ctx context.Context, call *calleekit.Call) (any, error) {
			t.Error("a function was called for its types")
			return f(ctx, call)
		}
	}
	c.Handle("own", own)
	c.Handle("around", around(calleekit.Typed(add)))
	c.Handle("add", calleekit.Typed(add), calleekit.WithDoc("Adds."), calleekit.WithDeprecated("use math.add"),
		calleekit.WithErrorCode(422, "too large"), calleekit.WithErrorCode(423, "too odd"), calleekit.WithStrictArgs(true))
	c.Group("ai.").Handle("words", calleekit.Stream(words))
	c.Handle("report", own, calleekit.WithArgs[string](), calleekit.WithResult[sum](), calleekit.WithParts[float64]())
	c.Handle("ended", calleekit.Stream(words), calleekit.WithResult[int]())

	want := []calleekit.Function{
		{URI: "own"},
		{URI: "around"},
		{
			URI: "add", Args: reflect.TypeFor[[2]int](), Result: reflect.TypeFor[sum](),
			Doc: "Adds.", Deprecated: "use math.add", StrictArgs: true,
			Errors: map[frame.Code]string{422: "too large", 423: "too odd"},
		},
		{URI: "ai.words", Args: reflect.TypeFor[string](), Null: true, Part: reflect.TypeFor[rune]()},
		{URI: "report", Args: reflect.TypeFor[string](), Result: reflect.TypeFor[sum](), Part: reflect.TypeFor[float64]()},
		{URI: "ended", Args: reflect.TypeFor[string](), Result: reflect.TypeFor[int](), Part: reflect.TypeFor[rune]()},
	}
	if got := c.Functions(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
