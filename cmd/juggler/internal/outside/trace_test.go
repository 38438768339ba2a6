package outside_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/outside"
)

// Programs and web servers go on in the trace of a call that has one.
func TestTraceOfCall(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(r.Header.Get("traceparent"))
	}))
	defer web.Close()
	hook, err := outside.NewWebhook(web.URL, limits)
	if err != nil {
		t.Fatal(err)
	}
	program, err := outside.NewProgram(`sh -c 'printf "\"%s\"" "$TRACEPARENT"'`, limits, silent)
	if err != nil {
		t.Fatal(err)
	}
	in := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	}))
	for _, f := range []calleekit.HandlerFunc{program.Answer, hook.Answer} {
		for ctx, want := range map[context.Context]string{
			t.Context(): `""`,
			in:          `"00-01000000000000000000000000000000-0200000000000000-01"`,
		} {
			var r calleekit.Recorder
			if got, err := r.Serve(ctx, f, &calleekit.Call{URI: "u"}); err != nil || string(got) != want {
				t.Errorf("%s, %v; want %s", got, err, want)
			}
		}
	}
}
