package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

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

	var result json.RawMessage
	if err := c.Call(ctx, "test.echo", json.RawMessage(`[1]`), &result, client.WithTimeout(5000*time.Millisecond), client.Key("order-7")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(result))
}
