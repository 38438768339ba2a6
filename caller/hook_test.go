package caller_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/caller"
)

func TestCallHook(t *testing.T) {
	b := newBroker(t)
	var got map[string]string
	serve(t, b, map[string]calleekit.HandlerFunc{"math.add": func(_ context.Context, c *calleekit.Call) (any, error) {
		got = maps.Collect(c.Headers())
		return nil, calleekit.Errorf(422, "not a number")
	}})
	var told []string
	hook := func(name string, headers map[string]string) caller.Option {
		return caller.WithCallHook(func(_ context.Context, uri string) (map[string]string, func(error)) {
			told = append(told, name+" "+uri)
			return headers, func(err error) {
				var e *caller.Error
				if errors.As(err, &e) && e.Code == 422 {
					told = append(told, name+" ended")
				}
			}
		})
	}
	c := newCaller(t, b, hook("first", map[string]string{"k": "hooked"}), hook("second", nil))
	given := map[string]string{"K": "other case", "a": "b"}
	err := c.Call(t.Context(), "math.add", nil, nil, caller.WithHeaders(given))
	if err == nil {
		t.Error("no error")
	}
	if want := map[string]string{"k": "hooked", "a": "b"}; !maps.Equal(got, want) {
		t.Errorf("the callee got %v, want %v", got, want)
	}
	if len(given) != 2 || given["k"] != "" {
		t.Errorf("the headers that were given have become %v", given)
	}
	if want := []string{"first math.add", "second math.add", "second ended", "first ended"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
