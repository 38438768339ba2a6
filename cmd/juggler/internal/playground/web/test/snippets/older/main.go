package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

func main() {
	ctx := context.Background()
	c, err := client.Dial(ctx, "ws://127.0.0.1:8080/?user=o'hara", client.WithProtocols(frame.Juggler0))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	var result json.RawMessage
	if err := c.Call(ctx, "test.echo", json.RawMessage("{\"text\":\"\\\"it's\\\" `quoted` \\\\\"}"), &result, client.WithTimeout(5000*time.Millisecond)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(result))
}
