package broker

import "context"

// A QueueReader is an optional interface of a Caller that can tell what waits for which
// callees. It is for people who look: nothing else depends on it.
type QueueReader interface {
	// ReadQueues returns the URIs that have callees, or calls that wait for one, in any
	// order. An engine bounds how much it looks at: unless all is true there may be more.
	// A URI that no callee has served lately may be missing. With an error, queues has
	// what is known nonetheless, and all is false.
	ReadQueues(ctx context.Context) (queues []Queue, all bool, err error)
}

// A Queue is how it is with a URI now.
type Queue struct {
	URI     string
	Calls   int // that wait for a callee; some may be cancelled, or their time may be over
	Callees int // connections whose lease is not over; an engine may stop to count at 1,000
}
