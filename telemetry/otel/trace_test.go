package jugglerotel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/caller"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/race"
	"github.com/juggler-go/juggler/jugglertest"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

type testContext struct {
	context.Context
	trace.Span
}

// system is a client, a node and a callee, all traced.
func system(t *testing.T, r *recording, functions map[string]calleekit.HandlerFunc, opts ...jugglerotel.TraceOption) *jugglertest.Server {
	srv := jugglertest.New(t, jugglerotel.Handler(append(opts, r.on())...))
	callee := srv.NewCallee(jugglerotel.Callee(r.on()))
	for uri, f := range functions {
		callee.Handle(uri, f)
	}
	srv.Start(callee)
	return srv
}

// A call, what its callee calls in turn, and a stream are one trace each, which tells the
// time of the function from that of the ways.
func TestCallIsOneTrace(t *testing.T) {
	r := record(t)
	var inner *caller.Caller
	const took = 20 * time.Millisecond
	srv := system(t, r, map[string]calleekit.HandlerFunc{
		"order.place": func(ctx context.Context, c *calleekit.Call) (any, error) {
			return nil, inner.Call(ctx, "stock.take", nil, nil)
		},
		"stock.take": func(ctx context.Context, c *calleekit.Call) (any, error) {
			slow := time.NewTimer(took)
			defer slow.Stop()
			<-slow.C
			return nil, nil
		},
	})
	inner, err := caller.New(srv.Broker, jugglerotel.Caller(r.on()))
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	c := srv.Client(jugglerotel.Client(r.on()))

	click := r.start("click")
	if err := c.Call(click, "order.place", nil, nil); err != nil {
		t.Fatal(err)
	}
	click.End()
	spans := r.await(6)
	want(t, spans, "internal click",
		"  client order.place rpc.method=order.place",
		"    server order.place rpc.method=order.place",
		"      server order.place rpc.method=order.place",
		"        client stock.take rpc.method=stock.take",
		"          server stock.take rpc.method=stock.take")
	for _, s := range spans {
		if s.SpanContext().TraceID() != click.SpanContext().TraceID() {
			t.Errorf("%s is of another trace", line(s))
		}
	}
	run, ok := number(spans[2], "juggler.call.run_time")
	wait, both := number(spans[2], "juggler.call.wait_time")
	whole := spans[2].EndTime().Sub(spans[2].StartTime()).Seconds()
	if !ok || !both || run < took.Seconds() || wait < 0 || run+wait > whole+1 {
		t.Errorf("the call ran for %v s and waited for %v s, of %v s", run, wait, whole)
	}
}

func TestStreamIsTraced(t *testing.T) {
	r := record(t)
	srv := system(t, r, map[string]calleekit.HandlerFunc{
		"count": func(ctx context.Context, c *calleekit.Call) (any, error) {
			for n := range 3 {
				if err := c.Send(ctx, n); err != nil {
					return nil, err
				}
			}
			return nil, nil
		},
	})
	s, err := srv.Client(jugglerotel.Client(r.on())).Stream(t.Context(), "count", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Result(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	want(t, r.await(3), "client count juggler.call.parts=3 juggler.call.stream=true rpc.method=count",
		"  server count juggler.call.parts=3 rpc.method=count",
		"    server count juggler.call.parts=3 rpc.method=count")
}

// Of a call with a key the callee's span says which attempt it is.
func TestKeyedCallIsTraced(t *testing.T) {
	r := record(t)
	everybody := juggler.WithKeyScope(func(juggler.Session) string { return "everybody" })
	srv := jugglertest.New(t, everybody)
	callee := srv.NewCallee(jugglerotel.Callee(r.on()))
	callee.Handle("pay", func(context.Context, *calleekit.Call) (any, error) { return nil, nil })
	srv.Start(callee)
	if err := srv.Client().Call(t.Context(), "pay", nil, nil, client.Key("k7")); err != nil {
		t.Fatal(err)
	}
	want(t, r.await(1), "server pay juggler.call.attempt=1 rpc.method=pay")
}

// A subscriber finds the publication, and so does one that reads what the program published
// by itself.
func TestPublicationIsTraced(t *testing.T) {
	r := record(t)
	srv := system(t, r, map[string]calleekit.HandlerFunc{"unused": func(context.Context, *calleekit.Call) (any, error) { return nil, nil }})
	c := srv.Client(jugglerotel.Client(r.on()))
	sub, err := c.Subscribe(t.Context(), "room.7")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context(), "room.7", 1); err != nil {
		t.Fatal(err)
	}
	e, err := sub.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tracer := r.provider.Tracer("test")
	_, reading := tracer.Start(jugglerotel.EventContext(t.Context(), e.Headers), "read")
	reading.End()
	want(t, r.await(3), "producer publish messaging.destination.name=room.7",
		"  producer publish messaging.destination.name=room.7",
		"    internal read")

	timer := r.start("timer")
	if err := srv.Handler.Publish(timer, "room.7", 2, jugglerotel.Headers(timer)); err != nil {
		t.Fatal(err)
	}
	timer.End()
	e, err = sub.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := trace.SpanContextFromContext(jugglerotel.EventContext(t.Context(), e.Headers))
	if got.SpanID() != timer.SpanContext().SpanID() || !got.IsRemote() {
		t.Errorf("the event's context is %v", got)
	}
}

// What goes wrong is in the spans, and what strangers make up names none.
func TestFailuresInSpans(t *testing.T) {
	r := record(t)
	srv := jugglertest.New(t, jugglerotel.Handler(r.on()), juggler.WithAuthorizer(juggler.AuthorizerFunc(func(ctx context.Context, req *juggler.Request) error {
		if got := trace.SpanContextFromContext(jugglerotel.RequestContext(ctx, req)); !got.IsSampled() {
			t.Errorf("the authorizer's context is %v", got)
		}
		if strings.HasPrefix(req.URI()+req.Channel(), "secret") {
			return juggler.ErrForbidden
		}
		return nil
	})))
	callee := srv.NewCallee(jugglerotel.Callee(r.on()), calleekit.WithMiddleware(quiet))
	callee.Handle("wrong", func(context.Context, *calleekit.Call) (any, error) { return nil, calleekit.Errorf(422, "not a number") })
	callee.Handle("own", func(context.Context, *calleekit.Call) (any, error) { return nil, calleekit.Errorf(7, "seven") })
	callee.Handle("broken", func(context.Context, *calleekit.Call) (any, error) { return nil, fmt.Errorf("disk full") })
	callee.Handle("panic", func(context.Context, *calleekit.Call) (any, error) { panic("no") })
	callee.Handle("slow", func(ctx context.Context, _ *calleekit.Call) (any, error) { <-ctx.Done(); return nil, ctx.Err() })
	srv.Start(callee)
	c := srv.Client(jugglerotel.Client(r.on()))
	long := "secret" + strings.Repeat("ü", 300)

	tests := []struct {
		uri   string
		opts  []client.CallOption
		spans []string
	}{
		{"wrong", nil, []string{
			"client wrong ERROR(not a number (422)) error.type=422 rpc.method=wrong rpc.response.status_code=422",
			"  server wrong error.type=422 rpc.method=wrong rpc.response.status_code=422",
			"    server wrong error.type=422 rpc.method=wrong rpc.response.status_code=422"}},
		{"own", nil, []string{
			"client own ERROR(seven (7)) error.type=7 rpc.method=own rpc.response.status_code=7",
			"  server own ERROR error.type=7 rpc.method=own rpc.response.status_code=7",
			"    server own ERROR(seven (7)) error.type=7 rpc.method=own rpc.response.status_code=7"}},
		{"broken", nil, []string{
			"client broken ERROR(internal error (500)) error.type=500 rpc.method=broken rpc.response.status_code=500",
			"  server broken ERROR error.type=500 rpc.method=broken rpc.response.status_code=500",
			"    server broken ERROR(disk full) error.type=500 rpc.method=broken rpc.response.status_code=500"}},
		{"panic", nil, []string{
			"client panic ERROR(internal error (500)) error.type=500 rpc.method=panic rpc.response.status_code=500",
			"  server panic ERROR error.type=500 rpc.method=panic rpc.response.status_code=500",
			"    server panic ERROR(the function panicked, or ended its goroutine) error.type=500 rpc.method=panic rpc.response.status_code=500"}},
		{long, nil, []string{
			"client " + long[:256] + " ERROR(not allowed (403)) error.type=403 rpc.method=" + long[:256] + " rpc.response.status_code=403",
			"  server CALL error.type=403 juggler.call.refused=true rpc.method=_OTHER rpc.method_original=" + long[:256] + " rpc.response.status_code=403"}},
		{"nobody", nil, []string{
			"client nobody ERROR(no callee for this URI (404)) error.type=404 rpc.method=nobody rpc.response.status_code=404",
			"  server CALL error.type=404 juggler.call.refused=true rpc.method=_OTHER rpc.method_original=nobody rpc.response.status_code=404"}},
	}
	for _, test := range tests {
		r.Reset()
		if err := c.Call(t.Context(), test.uri, nil, nil, test.opts...); err == nil {
			t.Errorf("%s: no error", test.uri)
		}
		want(t, r.await(len(test.spans)), test.spans...)
	}

	r.Reset()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := c.Start(ctx, "slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	srv.Wait("the function", func() bool { return callee.Stats().Running == 1 })
	cancel()
	<-p.Done()
	want(t, r.await(3), "client slow ERROR(context canceled) error.type=cancelled rpc.method=slow",
		"  server slow error.type=499 rpc.method=slow rpc.response.status_code=499",
		"    server slow error.type=499 rpc.method=slow rpc.response.status_code=499")

	r.Reset()
	gone := srv.Client()
	if _, err := gone.Start(t.Context(), "slow", nil); err != nil {
		t.Fatal(err)
	}
	srv.Wait("the function", func() bool { return callee.Stats().Running == 1 })
	gone.Close()
	want(t, r.await(2), "server slow error.type=499 juggler.call.untold=true rpc.method=slow rpc.response.status_code=499",
		"  server slow error.type=499 rpc.method=slow rpc.response.status_code=499")

	r.Reset()
	_ = c.Publish(t.Context(), "secret", nil)
	want(t, r.await(2), "producer publish ERROR(not allowed (403)) error.type=403 messaging.destination.name=secret rpc.response.status_code=403",
		"  producer publish error.type=403 messaging.destination.name=secret rpc.response.status_code=403")
}

// quiet is middleware that does nothing: that of the option Callee is not the only one.
func quiet(next calleekit.Handler) calleekit.Handler { return next }

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	sampled = "00-" + traceID + "-00f067aa0ba902b7-01"
	plain   = "00-" + traceID + "-00f067aa0ba902b7-00"
)

// header answers with all headers of a call.
func headers(_ context.Context, c *calleekit.Call) (any, error) {
	return maps.Collect(c.Headers()), nil
}

// What clients send for the context of a trace is gone on in if it is one, and passed on in
// no case.
func TestHostileTraceparent(t *testing.T) {
	r := record(t)
	srv := jugglertest.New(t, jugglerotel.Handler(r.on()))
	srv.Handle("headers", headers)
	c := srv.Client()
	for name, test := range map[string]struct {
		headers map[string]string
		goesOn  bool
	}{
		"none":                   {map[string]string{}, false},
		"valid":                  {map[string]string{"traceparent": sampled}, true},
		"a later version":        {map[string]string{"traceparent": "cc" + sampled[2:] + "-what-the-future-will-be"}, true},
		"text":                   {map[string]string{"traceparent": "yes"}, false},
		"empty":                  {map[string]string{"traceparent": "", "tracestate": "a=b"}, false},
		"zeros":                  {map[string]string{"traceparent": "00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01"}, false},
		"capitals":               {map[string]string{"traceparent": strings.ToUpper(sampled)}, false},
		"a version that is none": {map[string]string{"traceparent": "ff" + sampled[2:]}, false},
		"huge":                   {map[string]string{"traceparent": sampled + strings.Repeat("-00", 1000)}, false},
		"NUL":                    {map[string]string{"traceparent": sampled[:40] + "\x00" + sampled[41:]}, false},
		"doubled":                {map[string]string{"traceparent": sampled, "Traceparent": "evil", "TRACEPARENT": plain}, true},
		"other case only":        {map[string]string{"TraceParent": sampled, "TraceState": "a=b"}, false},
		"state":                  {map[string]string{"traceparent": sampled, "tracestate": "a=b"}, true},
		"state that is none":     {map[string]string{"traceparent": sampled, "tracestate": strings.Repeat(",;=", 500)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r.Reset()
			test.headers["own"] = "x"
			var got map[string]string
			if err := c.Call(t.Context(), "headers", nil, &got, client.WithHeaders(test.headers)); err != nil {
				t.Fatal(err)
			}
			r.t = t
			span := r.await(1)[0]
			id := span.SpanContext().TraceID().String()
			if (id == traceID) != test.goesOn {
				t.Errorf("the trace is %s", id)
			}
			mine := map[string]string{"own": "x", "traceparent": fmt.Sprintf("00-%s-%s-%s", id, span.SpanContext().SpanID(), span.SpanContext().TraceFlags())}
			if name == "state" {
				mine["tracestate"] = "a=b"
			}
			if !maps.Equal(got, mine) {
				t.Errorf("the callee got %q, want %q", got, mine)
			}
		})
	}
}

// A trace that its client has not sampled goes on as it is, past the node and the callee.
func TestUnsampledParent(t *testing.T) {
	r := record(t)
	srv := system(t, r, map[string]calleekit.HandlerFunc{"headers": func(ctx context.Context, c *calleekit.Call) (any, error) {
		if got := trace.SpanContextFromContext(ctx); got.TraceID().String() != traceID || got.IsSampled() {
			t.Errorf("the function's context is %v", got)
		}
		return headers(ctx, c)
	}})
	given := map[string]string{"traceparent": plain, "Traceparent": "evil"}
	var got map[string]string
	if err := srv.Client().Call(t.Context(), "headers", nil, &got, client.WithHeaders(given)); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"traceparent": plain}; !maps.Equal(got, want) || len(r.Started()) > 0 {
		t.Errorf("the callee got %q, want %q; %d spans", got, want, len(r.Started()))
	}
}

// Subscribers get no context of a publication that is not sampled.
func TestUnsampledPublication(t *testing.T) {
	never := record(t, sdktrace.WithSampler(sdktrace.NeverSample()))
	srv := jugglertest.New(t, jugglerotel.Handler(never.on()))
	c := srv.Client()
	sub, err := c.Subscribe(t.Context(), "news")
	if err != nil {
		t.Fatal(err)
	}
	for _, given := range []map[string]string{{"own": "x"}, {"own": "x", "traceparent": plain}, {"own": "x", "traceparent": sampled}} {
		if err := c.Publish(t.Context(), "news", 1, client.WithHeaders(given)); err != nil {
			t.Fatal(err)
		}
		e, err := sub.Next(t.Context())
		if want := map[string]string{"own": "x"}; err != nil || !maps.Equal(e.Headers, want) {
			t.Errorf("%v has become %v (%v)", given, e.Headers, err)
		}
	}
}

// A node without a provider passes on what is valid, and nothing else.
func TestWithoutProvider(t *testing.T) {
	srv := jugglertest.New(t, jugglerotel.Handler())
	srv.Handle("headers", headers)
	c := srv.Client()
	for given, want := range map[string]string{sampled: sampled, plain: plain, "evil": ""} {
		var got map[string]string
		if err := c.Call(t.Context(), "headers", nil, &got, client.WithHeaders(map[string]string{"traceparent": given})); err != nil {
			t.Fatal(err)
		}
		if got["traceparent"] != want {
			t.Errorf("%q has become %q", given, got)
		}
	}
}

// Clients do not decide what the collector takes.
func TestClientRate(t *testing.T) {
	for rate, want := range map[int]int{0: 0, 3: 3, -1: 10} {
		r := record(t)
		srv := jugglertest.New(t, jugglerotel.Handler(r.on(), jugglerotel.WithClientRate(rate)))
		var mu sync.Mutex
		got := 0
		srv.Handle("f", func(_ context.Context, c *calleekit.Call) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			if h := c.Header("traceparent"); strings.HasPrefix(h, "00-"+traceID) && strings.HasSuffix(h, "-01") {
				got++
			}
			return nil, nil
		})
		c := srv.Client()
		start := time.Now()
		for range 10 {
			if err := c.Call(t.Context(), "f", nil, nil, client.WithHeaders(map[string]string{"traceparent": sampled})); err != nil {
				t.Fatal(err)
			}
		}
		more := 0 // on a machine that is busy, the ten take time in which more are allowed
		if rate > 0 {
			more = int(time.Since(start).Seconds() * float64(rate))
		}
		if got < want || got > want+more || len(r.Started()) != got {
			t.Errorf("rate %d: the callee was told of %d sampled calls, %d spans, want %d", rate, got, len(r.Started()), want)
		}
	}
}

// A call whose trace is not sampled costs the server a bounded number of allocations.
func TestUnsampledAllocations(t *testing.T) {
	if race.Enabled {
		t.Log("not counted under the race detector, which makes sync.Pool forget at random")
		return
	}
	never := record(t, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	count := func(opts ...juggler.Option) float64 {
		srv := jugglertest.New(t, opts...)
		srv.Handle("echo", func(_ context.Context, c *calleekit.Call) (any, error) { return c.Args, nil })
		c := srv.Client()
		args := json.RawMessage(`{"n":1}`)
		return testing.AllocsPerRun(1000, func() {
			if err := c.Call(t.Context(), "echo", args, nil); err != nil {
				t.Error(err)
			}
		})
	}
	off, on := count(), count(jugglerotel.Handler(never.on()))
	t.Logf("%v allocations a call without, %v with traces that are not sampled", off, on)
	if more := on - off; more > 8 {
		t.Errorf("%v allocations more a call", more)
	}
}
