package calleekit_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/option/optiontest"
)

func TestOptions(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	try := func(o calleekit.Option) error {
		_, err := calleekit.New(b, o)
		return err
	}
	optiontest.Range(t, option.CalleeConcurrency, func(n int) calleekit.Option { return calleekit.WithConcurrency(n) }, try)
	optiontest.Range(t, option.CalleeDrainTimeout, calleekit.WithDrainTimeout, try)
	if err := try(calleekit.WithObserver(outcome{})); err != nil {
		t.Error(err)
	}
	for want, o := range map[string]calleekit.Option{
		"calleekit: WithLogger(nil): want a logger":                   calleekit.WithLogger(nil),
		"WithObserver(int): want a StartObserver or an EndObserver":   calleekit.WithObserver(3),
		"WithObserver(<nil>): want a StartObserver or an EndObserver": calleekit.WithObserver(nil),
		"calleekit: New(nil): want an Option":                         nil,
	} {
		optiontest.Refused(t, want, try(o))
	}
}

func TestNewReportsAllOptions(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	_, err = calleekit.New(b, calleekit.WithConcurrency(-1), calleekit.WithLogger(nil))
	for _, want := range []string{"WithConcurrency(-1)", "WithLogger(nil)"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want %s in it", err, want)
		}
	}
	if _, err := calleekit.New(nil); err == nil {
		t.Error("New accepts a nil broker")
	}
}

func TestSetUpPanics(t *testing.T) {
	f := func(context.Context, *calleekit.Call) (any, error) { return nil, nil }
	for _, tt := range []struct {
		want string
		do   func(c *calleekit.Callee)
	}{
		{`Handle with an empty URI`, func(c *calleekit.Callee) { c.Handle("", f) }},
		{`Handle("f") with a nil function`, func(c *calleekit.Callee) { c.Handle("f", nil) }},
		{`Handle("g.f") twice`, func(c *calleekit.Callee) { c.Handle("g.f", f); c.Group("g.").Handle("f", f) }},
		{`Handle("f") with WithConcurrency(0): want 1 to 8, the callee's`, func(c *calleekit.Callee) { c.Handle("f", f, calleekit.WithConcurrency(0)) }},
		{`Handle("f") with WithConcurrency(9): want 1 to 8, the callee's`, func(c *calleekit.Callee) { c.Handle("f", f, calleekit.WithConcurrency(9)) }},
		{`Handle("f") after the callee was started`, func(c *calleekit.Callee) { c.Close(); c.Handle("f", f) }},
		{`Use after the callee was started`, func(c *calleekit.Callee) { c.Close(); c.Use() }},
		{`Typed(nil)`, func(*calleekit.Callee) { calleekit.Typed[int, int](nil) }},
	} {
		s := newSystem(t)
		c := s.callee(nil, calleekit.WithConcurrency(8))
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); got != "calleekit: "+tt.want {
					t.Errorf("panic is %q, want %q", got, tt.want)
				}
			}()
			tt.do(c)
		}()
	}
}

func TestLimitsThatDoNotFit(t *testing.T) {
	f := func(context.Context, *calleekit.Call) (any, error) { return nil, nil }
	for _, tt := range []struct {
		name   string
		limits []int // 0: none of its own
		ok     bool
	}{
		{"no function", nil, false},
		{"all for one", []int{4}, true},
		{"shared out", []int{2, 2}, true},
		{"too many", []int{2, 3}, false},
		{"some left", []int{3, 0, 0}, true},
		{"none left", []int{2, 2, 0}, false},
	} {
		s := newSystem(t)
		c := s.callee(nil, calleekit.WithConcurrency(4))
		for i, limit := range tt.limits {
			uri := fmt.Sprint("f", i)
			if limit == 0 {
				c.Handle(uri, f)
			} else {
				c.Handle(uri, f, calleekit.WithConcurrency(limit))
			}
		}
		if err := c.Start(t.Context()); (err == nil) != tt.ok {
			t.Errorf("%s: Start: %v", tt.name, err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: Close: %v", tt.name, err)
		}
	}
}
