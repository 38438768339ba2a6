package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/juggler-go/juggler/client"
)

func main() {
	ctx := context.Background()
	c, err := client.Dial(ctx, "ws://127.0.0.1:8080/?user=o'hara", client.WithToken(func(context.Context) (string, error) {
		return os.Getenv("TOKEN"), nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	sub, err := c.Subscribe(ctx, "news.*", client.Pattern())
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
