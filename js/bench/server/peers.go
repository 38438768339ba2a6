package main

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/centrifugal/centrifuge"
	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
)

func jugglerHandler() (http.Handler, error) {
	b, err := memory.New()
	if err != nil {
		return nil, err
	}
	h, err := juggler.New(juggler.WithBroker(b))
	if err != nil {
		return nil, err
	}
	callee, err := calleekit.New(b)
	if err != nil {
		return nil, err
	}
	callee.Handle("echo", func(_ context.Context, call *calleekit.Call) (any, error) { return call.Args, nil })
	callee.Handle("publish", calleekit.Typed(func(ctx context.Context, n int) (int, error) {
		for range n {
			if err := h.Publish(ctx, "bench", event, nil); err != nil {
				return 0, err
			}
		}
		return n, nil
	}))
	return h, callee.Start(context.Background())
}

func centrifugeHandler() (http.Handler, error) {
	node, err := centrifuge.New(centrifuge.Config{LogLevel: centrifuge.LogLevelNone})
	if err != nil {
		return nil, err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: "u"}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnRPC(func(e centrifuge.RPCEvent, reply centrifuge.RPCCallback) {
			if e.Method == "echo" {
				reply(centrifuge.RPCReply{Data: e.Data}, nil)
				return
			}
			go func() { // publishing must not hold up the connection's reader
				var n int
				err := json.Unmarshal(e.Data, &n)
				for i := 0; i < n && err == nil; i++ {
					_, err = node.Publish("bench", event)
				}
				reply(centrifuge.RPCReply{Data: e.Data}, err)
			}()
		})
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, reply centrifuge.SubscribeCallback) {
			reply(centrifuge.SubscribeReply{}, nil)
		})
	})
	return centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		UseWriteBufferPool: true,
		MessageSizeLimit:   1 << 20,
	}), node.Run()
}
