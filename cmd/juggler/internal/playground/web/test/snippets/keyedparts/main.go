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

	answer, err := c.Stream(ctx, "test.echo", json.RawMessage(`"x"`), client.WithTimeout(5000*time.Millisecond), client.Key("order-7"), client.Window(8))
	if err != nil {
		log.Fatal(err)
	}
	for part, err := range client.PartsAs[json.RawMessage](answer) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(part))
	}
	var result json.RawMessage
	if err := answer.Result(ctx, &result); err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(result))
}
