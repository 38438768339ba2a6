package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/juggler-go/juggler/client"
)

func main() {
	ctx := context.Background()
	c, err := client.Dial(ctx, "ws://127.0.0.1:8080/?user=o'hara")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if err := c.Publish(ctx, "room.7", json.RawMessage(`{"n":1}`)); err != nil {
		log.Fatal(err)
	}
	fmt.Println("published")
}
