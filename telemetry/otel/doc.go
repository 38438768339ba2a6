// Package jugglerotel has what juggler does seen by OpenTelemetry. It is a module
// of its own, so that the library does not require OpenTelemetry.
//
// # Traces
//
// One option each has the node, callees, Go clients and callers traced: [Handler],
// [Callee], [Client] and [Caller]. A call is one trace then, from who makes it through the
// node and the broker to the callee's function and whatever that asks of others with its
// context:
//
//	h, err := juggler.New(jugglerotel.Handler(), …)
//	callee, err := calleekit.New(b, jugglerotel.Callee(), …)
//	c, err := client.Dial(ctx, url, jugglerotel.Client(), …)
//
// The context travels in the headers of calls and publications: traceparent and
// tracestate, unless [WithPropagator] or the global propagator says otherwise. Subscribers
// find it by [EventContext]; what a program publishes by itself gets it from [Headers].
//
// Without these options nothing is traced, and nothing is paid. What is not sampled costs
// a few allocations. Nothing here waits, if the span processors of the provider do not:
// use a batcher.
//
// # Metrics
//
// [ObserveHandler], [ObserveCallee], [ObserveMemory] and [ObserveRedis] have the counts of
// each observed, [CallObserver] has histograms of calls. Package telemetry has the names.
//
//	stop, err := jugglerotel.ObserveHandler(h)
package jugglerotel
