// Package testcallees has the functions that juggler's demo, load tester and tests call.
// Programs made for the first implementation's test server expect the first three:
//
//   - test.echo returns its arguments, any JSON, byte for byte;
//   - test.reverse returns a string, reversed by characters (code points);
//   - test.delay waits for a number of milliseconds, given as a number or as a
//     string of decimal digits, and returns the number. It heeds cancellation;
//   - test.count answers in parts: the numbers from 1 to its argument, which it returns.
//
// Other arguments get an error with code 400.
package testcallees

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/juggler-go/juggler/calleekit"
)

// The URIs of the functions.
const (
	EchoURI    = "test.echo"
	ReverseURI = "test.reverse"
	DelayURI   = "test.delay"
	CountURI   = "test.count"
)

// URIs are those of all functions.
var URIs = []string{EchoURI, ReverseURI, DelayURI, CountURI}

// Register registers all functions.
func Register(c *calleekit.Callee) {
	c.Handle(EchoURI, Echo)
	c.Handle(ReverseURI, Reverse)
	c.Handle(DelayURI, Delay)
	c.Handle(CountURI, Count)
}

// Echo is test.echo.
func Echo(_ context.Context, c *calleekit.Call) (any, error) { return &c.Args, nil }

// Reverse is test.reverse.
func Reverse(_ context.Context, c *calleekit.Call) (any, error) {
	var s *string
	if err := c.Decode(&s); err != nil {
		return nil, err
	}
	if s == nil {
		return nil, calleekit.Errorf(calleekit.CodeBadRequest, "args: want a string")
	}
	runes := []rune(*s)
	slices.Reverse(runes)
	return string(runes), nil
}

// Count is test.count.
func Count(ctx context.Context, c *calleekit.Call) (any, error) {
	var last *uint64
	if err := c.Decode(&last); err != nil {
		return nil, err
	}
	if last == nil {
		return nil, calleekit.Errorf(calleekit.CodeBadRequest, "args: want a number from 0 on")
	}
	var part []byte
	for n := uint64(1); n <= *last && c.Streaming(); n++ {
		part = strconv.AppendUint(part[:0], n, 10)
		if err := c.Send(ctx, json.RawMessage(part)); err != nil {
			return nil, err
		}
	}
	return *last, nil
}

// maxDelay is the longest delay in milliseconds: more does not fit a
// time.Duration.
const maxDelay = float64((1<<63 - 1) / int64(time.Millisecond))

// Delay is test.delay.
func Delay(ctx context.Context, c *calleekit.Call) (any, error) {
	ms, err := milliseconds(c.Args)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(time.Duration(ms * float64(time.Millisecond)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ms, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func milliseconds(args json.RawMessage) (float64, error) {
	var v any
	if len(args) > 0 {
		if err := json.Unmarshal(args, &v); err != nil {
			return 0, calleekit.Errorf(calleekit.CodeBadRequest, "args: want milliseconds in range: %w", err)
		}
	}
	var ms float64
	switch v := v.(type) {
	case float64:
		ms = v
	case string:
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil {
			return 0, calleekit.Errorf(calleekit.CodeBadRequest, "args: want milliseconds, got the string %q", v)
		}
		ms = float64(n)
	default:
		return 0, calleekit.Errorf(calleekit.CodeBadRequest, "args: want milliseconds as a number or a string of digits")
	}
	if ms < 0 || ms > maxDelay {
		return 0, calleekit.Errorf(calleekit.CodeBadRequest, "args: want 0 to %.0f milliseconds", maxDelay)
	}
	return ms, nil
}
