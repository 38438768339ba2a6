package client_test

import (
	"context"
	"errors"
	"log"

	"github.com/juggler-go/juggler/client"
)

// A list of who is in a room, and who has just come.
func ExampleWithHere() {
	_ = showMembers
}

func showMembers(ctx context.Context, c *client.Client, show func(count int, members []client.Member)) error {
	sub, err := c.Subscribe(ctx, "room.7", client.WithHere())
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	for here, err := range sub.HereChanges(ctx) {
		if err != nil {
			return err
		}
		show(here.Count, here.Members)
		for _, m := range here.Joined {
			log.Println(m.User, "is here")
		}
	}
	return nil
}

// What the server subscribes the client to: here the channel of its user, and the rooms that
// the user is a member of.
func ExampleWithServerSubscriptions() {
	c, err := client.New("wss://example.com/ws",
		client.WithServerSubscriptions(func(sub *client.Subscription) { // on a goroutine of its own
			for event, err := range sub.Events(context.Background()) {
				switch {
				case errors.Is(err, client.CodeForbidden):
					log.Println("removed from", sub.Channel(), "-", err)
				case err != nil:
					log.Println(err)
				case sub.Own() && sub.Channel() == "user:u1":
					log.Printf("to this user: %s", event.Args)
				default:
					log.Printf("%s: %s", sub.Channel(), event.Args)
				}
			}
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}
