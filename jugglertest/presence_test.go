package jugglertest_test

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

// Who comes, and leaves behind the grace, is awaited; also what happens while the broker is
// down is seen when it is up.
func TestAwaitPresent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t, juggler.WithPresence(juggler.PresenceRule{Channels: "room.*"}),
			juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
				return &juggler.Identity{User: r.Header.Get("User")}, nil
			}))
		enter := func(user string) *client.Client {
			c := srv.Client(client.WithHTTPHeader(http.Header{"User": {user}}))
			if _, err := c.Subscribe(t.Context(), "room.7"); err != nil {
				t.Fatal(err)
			}
			return c
		}
		srv.AwaitPresent("room.7")
		ann := enter("ann")
		enter("bob")
		srv.AwaitPresent("room.7", "bob", "ann")
		srv.Broker.Down()
		if err := ann.Close(); err != nil {
			t.Error(err)
		}
		if _, err := srv.Handler.Here(t.Context(), "room.7"); err == nil {
			t.Error("a broker that is down says who is there")
		}
		srv.Broker.Up()
		srv.AwaitPresent("room.7", "bob")
	})
}
