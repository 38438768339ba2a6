// Package broker is the contract between juggler and the engine that carries
// calls, results and events: the embedded one (broker/memory), Redis
// (broker/redis), or one of your own. The only code in it makes what a broker takes, for
// programs that use one by itself ([Publish], [NewEvent], [NewCall]).
//
// An engine fills up to three roles, each an interface of its own, so that
// RPC and pub-sub can live on different engines and a program that needs one
// role asks only for that one:
//
//   - [Caller] queues calls and receives the results for one node;
//   - [Callee] receives the calls to a set of URIs and stores their results;
//   - [PubSub] publishes, subscribes and receives events.
//
// A role opens connections ([CallerConn], [CalleeConn], [SubscriberConn]), one for each
// node, callee or subscriber, which last until their Close.
// An engine may serve any number of them with the same network connections.
//
// A Caller and a Callee may carry answers that come in parts ([StreamCaller],
// [StreamCallee]), and keep the outcomes of calls that have a key ([KeyedCaller]). A Caller
// may tell what waits for which callees ([QueueReader]). A PubSub
// may keep the newest events of channels ([History]), so that who has missed
// some reads them and is told truly whether that is all. It may know who is in channels
// ([Presence]), and keep facts that all nodes share ([Registry]).
//
// # Rules for every method
//
// The package broker/brokertest proves these; its cases carry the numbers.
//
//  1. Methods may be called concurrently unless their comment says otherwise.
//  2. The end of a context makes a waiting method return its error soon. What
//     the method had begun may then have been done or not.
//  3. Slices passed to a method belong to its caller again when it returns:
//     the engine copies what it keeps. Strings may be kept.
//  4. Slices passed to a callback (deliver, cancelled) belong to the engine:
//     the receiver copies what it needs after the callback has returned. Slices
//     of a [Call] that [CalleeConn.Take] filled in are valid until the
//     [CalleeConn.Reply] that answers that call returns.
//  5. Callbacks come from any goroutine and may come concurrently, also
//     before the method that they were passed to returns. A callback may
//     block to slow the engine down (back-pressure), except on a connection
//     that is [Immediate], where it may not wait for anything. It may call
//     methods of the engine, but not Close of its own connection. Nor may it
//     call Subscribe or Unsubscribe of its own SubscriberConn, unless that is
//     Immediate: the confirmation could be queued behind the delivery.
//  6. After Close of a connection its methods return [ErrClosed] and its
//     callbacks come no more, not even one that was about to. Close may be
//     called twice; it returns when nothing of the connection is left.
//  7. Payloads (Args, Headers, Data) are bytes that the engine does not
//     interpret: they arrive as they were sent; nil and empty are the same.
//  8. Errors are, or wrap, the ones of this package. What an engine cannot
//     classify is treated as a failure with unknown outcome.
//
// This contract is unstable until the first release.
package broker

import (
	"context"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// ID is the 16 bytes of a ULID: a node's or a publication's.
type ID [16]byte

// Address says where the result of a call goes. Its caller makes it, and is alone in
// reading Ref. An Address names one call: a caller does not reuse it while the first
// call may still be answered.
type Address struct {
	Node ID       // the node whose CallerConn receives the result
	Ref  [16]byte // with which that node finds session and request
}

// A Call is one RPC request on its way to a callee.
type Call struct {
	URI     string
	ReplyTo Address

	// Timeout is the time left, more than 0 when the call is made. It is a
	// duration because the clocks of machines differ. In a call that
	// [CalleeConn.Take] returns it is the time left at that moment.
	Timeout time.Duration

	// Window, if not zero, says that the answer may come in parts, and how many the caller
	// takes at first. Engines, and callees, that know no parts answer with the Result alone.
	Window Window

	// Key, if not zero, is that of a call whose outcome is kept: see [KeyedCaller]. An engine
	// tells it to the callee. [CallerConn.Call] and CallBatch do not mind it.
	Key CallKey

	// Attempt is how often the call of Key was made, in a call that [CalleeConn.Take]
	// returns: 1, or more with [Attachment].Repeat. 255 is so often or more. What was
	// certainly never taken does not count.
	Attempt uint8

	Headers []byte // a JSON object of strings whose names do not begin with @, or nil
	Args    []byte // any JSON value
}

// A Result is the outcome of a call, as its callee or the engine reports it.
// An engine may report a call more than once, late, or after it was
// cancelled: the node's own table of pending calls decides which one counts.
type Result struct {
	To   Address
	Args []byte // any JSON value; ignored when Err is set
	Err  *Error // nil: the call succeeded

	// Ran is how long the callee's function ran; 0: the callee does not say, or
	// the engine does not carry it. A part of a microsecond may be lost on the way.
	Ran time.Duration

	// Parts is how many parts of the answer came before: see [Part]. Its caller waits for
	// those that the Result has overtaken.
	Parts uint32
}

// An Error is the failure of a call. Its Code, above 0, Message, Data and RetryAfter travel
// in a [Result]; an engine may cut RetryAfter to whole milliseconds.
type Error = frame.Error

// A Topic is what is subscribed to: a channel, or a pattern of channels in
// the glob syntax of Redis (PSUBSCRIBE), matched byte by byte. A pattern matches no
// channel of the server's own: see [OwnChannel].
type Topic struct {
	Name    string // never empty
	Pattern bool
}

// An Event is one publication.
type Event struct {
	ID      ID     // made by the publisher, a new one for each event
	Channel string // never empty
	Headers []byte // a JSON object of strings, or nil
	Args    []byte // any JSON value
}

// A Delivery is one event for one subscription. An event that matches several
// topics of a SubscriberConn arrives once for each.
type Delivery struct {
	Topic Topic

	// Gap says that events of the topic may have been missed before this
	// point, because the engine lost its own connection. Event is then zero.
	Gap bool

	// Pos is the position of an event that is kept, and of a Gap where it goes on: see
	// [History]. It is zero for all others, and for patterns.
	Pos Position

	Event Event
}

// Caller is the role of a node that queues calls.
type Caller interface {
	// OpenCaller begins to receive the results addressed to node, an ID that
	// no other caller uses. When it returns nil, results can arrive: deliver gets
	// them in batches. The context bounds the opening only.
	OpenCaller(ctx context.Context, node ID, deliver func([]Result)) (CallerConn, error)
}

// CallerConn is the connection of one node to a Caller.
type CallerConn interface {
	// Call queues c, whose ReplyTo.Node must be this connection's. nil means
	// that it is queued and ends in at least one Result, unless its time is
	// over first, it is cancelled, or the engine loses data. Calls that one
	// goroutine makes one after the other to one URI are taken in that order.
	//
	// [ErrNoCallee], [ErrQueueFull] and [ErrUnavailable] mean certainly not
	// queued; [ErrUnknownOutcome] that it may be.
	Call(ctx context.Context, c *Call) error

	// Cancel says that the result of a call is not wanted any more. If the call
	// is queued it is never taken; if it was taken, its callee's cancelled
	// callback runs. A call that is unknown or answered is ignored. It is a best
	// effort: an engine may lose a cancellation, and no Result follows from it.
	Cancel(ctx context.Context, uri string, to Address) error

	// Close gives up the node. Results that still arrive are dropped.
	Close() error
}

// Callee is the role of a process that answers calls.
type Callee interface {
	// OpenCallee announces that calls to uris (at least one, no duplicates)
	// are answered here; when it returns nil, calls to them are accepted.
	// Several callees of one URI share its calls fairly: none that waits in
	// Take is left out for ever while another is served. cancelled is told of
	// calls that were taken here, not answered yet, and are not wanted any
	// more; it may be nil. The context bounds the opening only.
	OpenCallee(ctx context.Context, uris []string, cancelled func([]Address)) (CalleeConn, error)
}

// CalleeConn is the connection of one callee to a Callee.
type CalleeConn interface {
	// Take waits until at least one call is there, moves up to len(dst) of
	// them into dst, and returns how many. It never takes a call whose time
	// is over or that was cancelled. A call is taken by one callee only, and
	// once: it runs at most once. Of several URIs with calls none is left out
	// for ever. When ctx ends, nothing has been taken.
	// One goroutine at a time may call Take. Each call taken is answered by
	// one Result, also when it was cancelled meanwhile: that frees its slices.
	//
	// Take returns [ErrUnavailable] when the engine is out of reach and has
	// given up its own retries. The callee calls it again later.
	Take(ctx context.Context, dst []Call) (int, error)

	// Reply stores the results of calls taken here, or takes them over: see
	// [ResultKeeper]. Those already answered, cancelled, past their time or
	// reported lost are ignored without error.
	Reply(ctx context.Context, results []Result) error

	// Close ends the announcement. Calls that were taken and not answered are
	// answered with code 502 at once. A caller's calls to a URI whose last
	// callee has closed are still queued during the engine's grace (a few
	// seconds, so that a deploy fails no calls), then get [ErrNoCallee]. Those
	// that wait in its queue when the grace is over are answered soon, with
	// [ErrUnserved], and never taken.
	Close() error
}

// PubSub is the role of publishers and subscribers.
type PubSub interface {
	// Publish hands e to the engine. nil means that every subscription
	// confirmed before gets it, unless the engine loses its connection, which
	// those subscriptions learn as a Gap. Events that one goroutine publishes
	// on one channel one after the other are delivered in that order to each
	// subscription. [ErrUnavailable] means certainly not published,
	// [ErrUnknownOutcome] that it may have been.
	Publish(ctx context.Context, e *Event) error

	// OpenSubscriber makes a set of subscriptions, empty at first, whose
	// events deliver receives in batches. Deliveries of the events of one
	// publisher on one channel never overlap and keep their order. The
	// context bounds the opening only.
	OpenSubscriber(ctx context.Context, deliver func([]Delivery)) (SubscriberConn, error)
}

// SubscriberConn is the connection of one subscriber to a PubSub: a set of topics. A
// channel and a pattern of the same name are two topics. Methods for one topic are
// called one at a time.
type SubscriberConn interface {
	// Subscribe adds t and returns nil once the engine has confirmed it: no
	// event published afterwards is missed. Adding a topic that is there
	// already is no error.
	Subscribe(ctx context.Context, t Topic) error

	// Unsubscribe removes t: no event published after it has returned is
	// delivered for t. One published before may still be on its way. Removing
	// a topic that is not there is no error.
	Unsubscribe(ctx context.Context, t Topic) error

	// Close removes all topics and ends the deliveries.
	Close() error
}

// Immediate is an optional interface of a CallerConn, a PubSub and a
// SubscriberConn: its methods (except Close) never wait, neither for I/O nor
// for callbacks that may wait. The server calls such a method on the spot, on
// its event loop; others it calls from goroutines that may block.
type Immediate interface {
	// Immediate has no effect; implementing it is the statement.
	Immediate()
}

// ResultKeeper is an optional interface of a CalleeConn whose Reply does not wait
// until all results are stored. Where a part of the engine is slow or out of reach,
// Reply returns nil, and the engine keeps the results for that part until it has
// stored them or the time of their calls is over. They hold up no other calls.
type ResultKeeper interface {
	// Flush returns nil once none of the results that Reply took over is left, or
	// the error of ctx before. After Close none is.
	Flush(ctx context.Context) error

	// Unstored returns how many results Reply was given that are not stored yet.
	// Close waits for them, but not for long: after it has returned they are those
	// that were lost.
	Unstored() int
}

// HealthChecker is an optional interface of a Caller, a Callee and a PubSub.
type HealthChecker interface {
	// Health returns nil while the open connections can do their work, else an
	// error that says which cannot. It neither waits nor sends anything: it says
	// how the last work of the connections went.
	Health() error
}

// Ender is an optional interface of a CallerConn that says when no result comes any more.
// Who waits for one, as package caller does, then need not wait until the time of its
// call is over.
type Ender interface {
	// Ended returns a channel that is closed once the connection has ended: by its
	// Close, or because the engine was closed. nil: the connection cannot say.
	Ended() <-chan struct{}
}

// BatchCaller is an optional interface of a CallerConn that takes many calls
// at once for less than one at a time costs. The server hands it what one
// read of a client's connection brought.
type BatchCaller interface {
	// CallBatch does what Call does for each of calls, in order, and sets
	// errs[i] to what Call would have returned for calls[i]. The slices have
	// the same length.
	CallBatch(ctx context.Context, calls []Call, errs []error)
}

// Divided is an optional interface of a [BatchCaller] and of a [BatchPublisher] whose
// engine has parts, each of which may be slow or out of reach alone. A batch of the
// server is for one part, so that no call and no publication waits for another part.
type Divided interface {
	// Part returns the part, as any number, that calls to the URI of this name, or
	// publications on the channel of this name, go to. It does not wait.
	Part(name string) int
}

// BatchPublisher is an optional interface of a PubSub, as [BatchCaller] is
// one of a CallerConn.
type BatchPublisher interface {
	// PublishBatch does what Publish does for each of events, in order, and
	// sets errs[i] to what Publish would have returned for events[i].
	PublishBatch(ctx context.Context, events []Event, errs []error)
}
