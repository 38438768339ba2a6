package client_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/juggler-go/juggler/client"
)

// The number of an article in stock, always up to date: as it is in the database, and then
// as the channel tells each change. Both have a version, since a change that comes while
// the database is read may be in it already.
func ExampleWithState() {
	_ = followStock
}

func followStock(ctx context.Context, c *client.Client, db *sql.DB) error {
	var stock struct{ Count, Version int }
	sub, err := c.Subscribe(ctx, "stock.7", client.WithState(func(ctx context.Context) error {
		row := db.QueryRowContext(ctx, "SELECT count, version FROM stock WHERE article = 7")
		return row.Scan(&stock.Count, &stock.Version)
	}))
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	for event, err := range sub.Events(ctx) {
		if err != nil {
			return err
		}
		next := stock
		if err := event.Decode(&next); err != nil {
			return err
		}
		if next.Version > stock.Version {
			stock = next
			fmt.Println("in stock:", stock.Count)
		}
	}
	return nil
}
