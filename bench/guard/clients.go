package main

import (
	"context"
	"encoding/json"

	"github.com/juggler-go/juggler/bench/internal/peer"
	"github.com/juggler-go/juggler/client"
)

// clients measures the Go client: a call, with what the server and the callee
// in this process do for it.
func clients() ([]guarded, error) {
	addr, err := peer.Start("juggler")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := client.Dial(ctx, "ws://"+addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	in, out := json.RawMessage(`{"n":1}`), json.RawMessage{}
	g, err := trial{what: "client: a call, server and callee included", times: 1000, do: func() error {
		return c.Call(ctx, "echo", in, &out)
	}}.measure()
	return []guarded{g}, err
}
