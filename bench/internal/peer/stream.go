package peer

import (
	"context"

	"github.com/juggler-go/juggler/bench/internal/load"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
)

// maxStreams is how many long answers there are at a time.
const maxStreams = 128

// streamArgs are the arguments of a call whose answer is long.
type streamArgs struct {
	Channel string `json:"channel"`
	Bytes   int    `json:"bytes"`
}

// startStreamer answers calls until they are cancelled: in parts, or with events on a
// channel. Each is on its way before the next is made.
func startStreamer(b interface {
	broker.Callee
	broker.PubSub
}) error {
	callee, err := calleekit.New(b, calleekit.WithConcurrency(maxStreams))
	if err != nil {
		return err
	}
	callee.Handle(load.StreamParts, func(ctx context.Context, call *calleekit.Call) (any, error) {
		return endless(ctx, call, func(_ streamArgs, text string) error { return call.Send(ctx, text) })
	})
	callee.Handle(load.StreamEvents, func(ctx context.Context, call *calleekit.Call) (any, error) {
		return endless(ctx, call, func(args streamArgs, text string) error {
			return broker.Publish(ctx, b, args.Channel, text, nil)
		})
	})
	return callee.Start(context.Background())
}

func endless(ctx context.Context, call *calleekit.Call, send func(args streamArgs, text string) error) (any, error) {
	var args streamArgs
	if err := call.Decode(&args); err != nil {
		return nil, err
	}
	for n := 0; ctx.Err() == nil; n++ {
		if err := send(args, load.StreamText(n, args.Bytes)); err != nil {
			return nil, err
		}
	}
	return nil, ctx.Err()
}

// jugglerStreamer is a node on the embedded broker with a callee of long answers in the
// same process.
func jugglerStreamer() (string, error) {
	b, err := memoryBroker()
	if err != nil {
		return "", err
	}
	if err := startStreamer(b); err != nil {
		return "", err
	}
	return startNode(serveHTTP, b)
}

// redisStreamer answers such calls in a process of its own, which nobody connects to.
func redisStreamer() (string, error) {
	b, err := redisBroker()
	if err != nil {
		return "", err
	}
	return "none", startStreamer(b)
}
