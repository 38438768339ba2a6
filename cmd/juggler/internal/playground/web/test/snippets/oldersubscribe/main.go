package main

import (
	"context"
	"fmt"
	"log"

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

	sub, err := c.Subscribe(ctx, "room.7")
	if err != nil {
		log.Fatal(err)
	}
	for event, err := range sub.Events(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Channel, string(event.Args))
	}
}
