package main

import (
	"context"
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

	sub, err := c.Subscribe(ctx, "room.7", client.Last(5), client.WithHere())
	if err != nil {
		log.Fatal(err)
	}
	go func() { // ends with the subscription
		for change, err := range sub.HereChanges(ctx) {
			fmt.Println(change, err)
		}
	}()
	for event, err := range sub.Events(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Channel, string(event.Args))
	}
}
