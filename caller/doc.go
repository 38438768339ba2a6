// Package caller calls URIs from a Go program that is on the broker itself: a worker, a
// cron job, a callee that needs another one. It needs neither a server nor a WebSocket;
// programs that are elsewhere use package client.
//
//	c, err := caller.New(b) // b is a broker.Caller
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	var sum int
//	err = c.Call(ctx, "math.add", []int{1, 2}, &sum)
//
// # What is promised
//
// A call has one outcome: its result, or one error.
//
//   - An [Error] is what the callee, or the broker in its place, answered: the callee's
//     own, 404 when the call waited until its URI had had no callee for the whole grace,
//     502 when the callee that had taken it died. Its time is over by the caller's own
//     clock: that is 408, whoever is to blame, and is [context.DeadlineExceeded], too. It
//     wraps what the broker has said of the call, such as [broker.ErrUnknownOutcome].
//   - An Error with Refused set says that the call was certainly not queued: 404 for a
//     URI without a callee, 503 when its queue is full or the broker out of reach, with
//     the time after which a retry is worth it; 400 and 413 for what no server would take
//     of a client, such as an empty URI. What the broker has refused wraps its own error
//     as well, [broker.ErrNoCallee] and the like.
//   - [context.Canceled] says that the context was cancelled. So is the call, at its
//     callee, too.
//   - [ErrClosed], of this package, says that the caller was closed, and
//     [broker.ErrClosed] that the broker was. A call that was under way then may have
//     been done.
//   - What is none of these is an error of encoding/json, of args or result.
//
// A call runs at most once. Nothing is retried here: whoever retries after 408, 500, 502
// or a closed broker may have it done twice.
//
// # A call within a call
//
// The function of a callee may call others, with its own context: it then ends with its
// own call. An Error that it returns reaches its own caller as it is.
package caller
