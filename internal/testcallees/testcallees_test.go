package testcallees_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/testcallees"
)

func call(ctx context.Context, f calleekit.HandlerFunc, args string) (string, error) {
	v, err := f(ctx, &calleekit.Call{Args: json.RawMessage(args)})
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(v)
	return string(b), err
}

func TestReverse(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{`"abc"`, `"cba"`},
		{`""`, `""`},
		{`"aé€😀"`, `"😀€éa"`},
		{`"\u00e9\n"`, `"\né"`},
		{`null`, ""},
		{``, ""},
		{`1`, ""},
		{`["a"]`, ""},
	} {
		got, err := call(t.Context(), testcallees.Reverse, tt.args)
		if got != tt.want || (tt.want == "") != is400(err) {
			t.Errorf("reverse of %s is %s, %v; want %s", tt.args, got, err, tt.want)
		}
	}
}

func TestEcho(t *testing.T) {
	const args = `{ "a" :[1, 2.50e1 ]}`
	v, err := testcallees.Echo(t.Context(), &calleekit.Call{Args: json.RawMessage(args)})
	if raw, ok := v.(*json.RawMessage); err != nil || !ok || string(*raw) != args {
		t.Errorf("got %v, %v", v, err)
	}
}

func TestDelay(t *testing.T) {
	for _, tt := range []struct {
		args string
		took time.Duration
		want string // "": an error
	}{
		{`250`, 250 * time.Millisecond, `250`},
		{`"250"`, 250 * time.Millisecond, `250`},
		{`0`, 0, `0`},
		{`1.5`, 1500 * time.Microsecond, `1.5`},
		{`3600000`, time.Hour, `3600000`},
		{`"abc"`, 0, ""},
		{`"1.5"`, 0, ""},
		{`"-1"`, 0, ""},
		{`""`, 0, ""},
		{`-1`, 0, ""},
		{`1e300`, 0, ""},
		{`1e999`, 0, ""},
		{`9223372036855`, 0, ""},
		{`"9223372036854775807"`, 0, ""},
		{`null`, 0, ""},
		{``, 0, ""},
		{`[1]`, 0, ""},
		{`true`, 0, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			got, err := call(t.Context(), testcallees.Delay, tt.args)
			if took := time.Since(start); got != tt.want || (tt.want == "") != is400(err) || took != tt.took {
				t.Errorf("delay of %s is %s, %v after %v; want %s after %v", tt.args, got, err, took, tt.want, tt.took)
			}
		})
	}
}

func TestDelayHeedsCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := call(ctx, testcallees.Delay, "60000")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func is400(err error) bool {
	var e *calleekit.Error
	return errors.As(err, &e) && e.Code == 400
}

func TestCount(t *testing.T) {
	for _, test := range []struct {
		args, parts, result string
		code                frame.Code
	}{
		{"3", "1 2 3 ", "3", 0},
		{"0", "", "0", 0},
		{"", "", "", calleekit.CodeBadRequest},
		{"null", "", "", calleekit.CodeBadRequest},
		{"-1", "", "", calleekit.CodeBadRequest},
		{`"x"`, "", "", calleekit.CodeBadRequest},
	} {
		var r calleekit.Recorder
		result, err := r.Serve(t.Context(), testcallees.Count, &calleekit.Call{Args: json.RawMessage(test.args)})
		parts := ""
		for _, part := range r.Parts {
			parts += string(part) + " "
		}
		if string(result) != test.result || parts != test.parts || (test.code == 0) != (err == nil) || test.code != 0 && !errors.Is(err, test.code) {
			t.Errorf("%s: %s, %s, %v", test.args, parts, result, err)
		}
	}
	huge := &calleekit.Call{Args: json.RawMessage("18446744073709551615")}
	if result, err := testcallees.Count(t.Context(), huge); err != nil || result != uint64(math.MaxUint64) {
		t.Errorf("for a caller that wants no parts: %v, %v", result, err)
	}
}
