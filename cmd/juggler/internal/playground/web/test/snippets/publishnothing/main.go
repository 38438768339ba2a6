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

	if err := c.Publish(ctx, "room.7", nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println("published")
}
