// Package client is the Go client of juggler: asynchronous calls and
// publish-subscribe over one WebSocket, which it keeps open.
//
//	c, err := client.Dial(ctx, "ws://localhost:8080/ws")
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//
//	var sum int
//	err = c.Call(ctx, "math.add", []int{1, 2}, &sum)
//
//	sub, err := c.Subscribe(ctx, "news.*", client.Pattern())
//	for event, err := range sub.Events(ctx) {
//		…
//	}
//
// # Contexts and time
//
// Every request has a limited time: until the deadline of its context, or that
// of [WithTimeout] or [WithCallTimeout]. It includes the wait for a
// connection. The server is told the time of a call and ends it with
// [CodeExpired]. If it does not, the client ends the call a few seconds later. When the
// context of a call ends, the call is cancelled, at its callee too.
//
// # Answers in parts
//
// [Client.Stream] is a call whose answer comes in parts before its result, paced by who
// takes them:
//
//	s, err := c.Stream(ctx, "ai.answer", question)
//	if err != nil {
//		return err
//	}
//	for word, err := range client.PartsAs[string](s) {
//		…
//	}
//	err = s.Result(ctx, &usage)
//
// To leave the loop cancels the call. Parts wait in the client for the application, never
// more than [Window] says, and hold up nothing else on the connection.
//
// # Calls with a key
//
// A call with a [Key] is made once, and its outcome is kept by the server: for whoever of the
// same user asks again, after a crash of the application, on another connection, node or
// device.
//
//	err = c.Call(ctx, "order.pay", order, &receipt, client.Key(order.PaymentKey))
//
// Make the key where the order is made, and store it there: one that is made where the call
// is repeated is another one each time. To leave such a call, by its context or a loop, does
// not end it; [Client.Stop] does.
//
// # Lost connections
//
// A connection that is lost is replaced, after a random pause that grows with
// each attempt, unless the server closed it with a code that forbids that
// ([CloseError.Reconnect]) or refused the next one for good
// ([HandshakeError.Reconnect]); then the client ends, and everything fails with an
// error that wraps [ErrClosed] and the reason. What a proxy answers in place of the
// server does not end a client. What happens to
//
//   - requests that were not sent yet: they are sent on the next connection;
//   - calls that were sent: they fail with [ErrUnknownOutcome] and are not
//     repeated, other than with [Idempotent], and never once a part of their
//     answer has come;
//   - calls with a [Key]: they go on, and so do their parts, as the client joins
//     them again;
//   - publications that were sent: they are repeated where the server knows
//     them again ([Client.Publish]); otherwise they fail with [ErrUnknownOutcome];
//   - subscriptions: they are restored. Where the server keeps the events of
//     the channel, those that came meanwhile follow, each once and in order, as
//     if no connection had been lost. Where it keeps none, or cannot prove that
//     nothing is missing, they get an [Event] with Gap set, after which nothing
//     is missing again.
//
// A server that is about to go away says so (GOAWAY). The client then connects
// anew first, moves its subscriptions, without losing or repeating an event, and
// the calls with a key, lets the other calls in flight finish on the old
// connection, and closes that.
//
// # Subscriptions of the server
//
// A server may subscribe the client to channels by itself, such as the one of the user, or
// the rooms that the user is a member of. [WithServerSubscriptions] has a function called for
// each. It may end any subscription, of whichever side: that then ends with the code and the
// reason that the server gives, behind the events before.
//
// # Who is there
//
// Where the server tells who is in a channel, a subscription [WithHere] knows it, and tells of
// changes:
//
//	sub, err := c.Subscribe(ctx, "room.7", client.WithHere())
//	for here, err := range sub.HereChanges(ctx) {
//		…
//	}
//
// # Slow subscribers
//
// Each subscription has a buffer ([WithEventBuffer]). While it is full, the
// client reads nothing more from the connection: TCP slows the server down,
// and results of calls wait too. If that lasts longer than [WithStallTimeout],
// the subscription ends with [ErrSlow] and everything else goes on. Hence a
// handler may make calls with the same client as long as the events that come
// meanwhile fit into its buffer.
//
// # Concurrency
//
// All methods of [Client], [Subscription] and [PendingCall] may be called
// concurrently, and of a [Stream] while one loop takes its parts. What one
// goroutine requests reaches the server in that order, if no connection is lost
// meanwhile. Requests of many goroutines leave in few writes.
package client
