// Package calleekit builds callees: processes that answer calls to URIs. A
// callee knows a broker and nothing of the clients, nodes and connections
// that the calls come from.
//
//	c, err := calleekit.New(b) // b is a broker.Callee
//	if err != nil {
//		return err
//	}
//	c.Handle("math.add", calleekit.Typed(func(ctx context.Context, in [2]int) (int, error) {
//		return in[0] + in[1], nil
//	}))
//	return c.Run(ctx) // until ctx ends, then drains
//
// # Functions
//
// A function gets a context and a [Call], and returns a value that becomes
// JSON, or an error. [Typed] wraps one that has Go types for both. What a
// function may count on:
//
//   - It may block without holding up other calls, up to the limit of calls
//     that run at a time ([WithConcurrency]).
//   - Its context ends at the call's deadline ([context.DeadlineExceeded]),
//     when the caller cancels or goes away ([context.Canceled], with the cause
//     [ErrCancelled]), when the callee stops (cause [ErrStopped]), and when
//     the function returns. [context.Cause] tells them apart.
//   - The Call and what its slices point to are valid until it returns: then
//     they are used for other calls. Its context may be kept.
//   - A panic ends its call with code 500 and a message that says nothing of
//     the inside; the log has the value and the stack. So does runtime.Goexit.
//
// # Results
//
// A result is encoded with encoding/json. A [json.RawMessage], such as
// [Call.Args], or a pointer to one is sent byte for byte, and belongs to the
// kit from the moment the function returns it. One that is not valid JSON, and
// a value that encoding/json refuses, end the call with code 500 and are
// logged.
//
// # Answers in parts
//
// A caller may take the answer in parts, before the result: the progress of a job, the
// words of a text as they come. [Call.Send] sends one, and waits while the caller takes no
// more, so that a function never runs far ahead of who reads. [Stream] makes a function of
// an iterator. For callers that want no parts, which [Call.Streaming] tells, neither does
// anything. A [Recorder] is the caller in a function's test.
//
// # Calls with a key
//
// A call whose caller has given it a key outlives the caller's connection: its context ends
// at its deadline or when somebody stops it for all, and nobody has its function wait in
// [Call.Send]. The broker runs it once, but one that loses data may run it again.
// [Call.Key] is the same then, and the way to effects that happen once.
//
// # Errors
//
// An [Error] in an error's chain travels with its code, message, data and
// RetryAfter; the text of what wraps it stays here. It may come from anywhere:
// juggler.ErrForbidden, and what a client got as the answer to a call of its
// own, are of this type. Any other error becomes code 500, "internal error",
// and a line of the log with its text; [WithErrorTexts] shows texts while you
// develop. A context's error, returned after the call's own context ended,
// becomes 408 (expired) or 499 (cancelled). The guide (docs/guide.md, "Errors")
// has a table of it all.
//
// Callees may use any code above 0. A caller cannot tell who sent a code, and
// clients retry after 503, taking the call as certainly not done: send those of
// docs/protocol.md only with the meaning that they have there, and take 409, 422
// or numbers from 1000 on for what is your own.
//
// # Taking calls
//
// A callee takes no more calls from the broker than it can start at that
// moment; the rest wait in the broker, where other callees of the same URI
// find them. The same is true of a URI with a limit of its own.
//
// In the process of a handler, on its embedded broker, functions that took
// microseconds, again and again, are called on the handler's event loops: to wake
// a goroutine would take longer than they do. They may still block: the loop goes
// on without them after a millisecond or two, and calls such a function again only
// once it has been quick a thousand times. Calls may then wait here for a moment,
// up to the limit.
//
// While the broker is out of reach the callee tries again with growing,
// jittered pauses, and keeps the results that it has.
//
// # Stopping
//
// [Callee.Shutdown] drains: it takes no more calls, lets those that run
// finish, stores their results, and withdraws. [Callee.Close] stops: it
// cancels the contexts of the calls that run and withdraws at once; the broker
// answers 502 for what is left. Shutdown turns into Close when its context
// ends. Neither touches the calls that were not taken: they wait in the broker.
// [Callee.Run] drains, for a bounded time, when its context ends.
package calleekit
