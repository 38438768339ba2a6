package systemtest_test

import (
	"net/http"
	"testing"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/redistest"
)

// On Redis as elsewhere: what is published for a user reaches the user on another node, and
// no pattern of a client, nor its channel of the same name.
func TestOwnChannelsOnRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	authenticate := juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
		user := r.Header.Get("User")
		return &juggler.Identity{User: user, Channels: []string{juggler.User(user)}}, nil
	})
	one := startNodeOn(t, newBroker(t, calm(withAddr(server.Addr))...), authenticate).handler
	url := startNodeOn(t, newBroker(t, calm(withAddr(server.Addr))...), authenticate).url
	got := make(chan client.Event, 1)
	dial := func(user string) *client.Client {
		c, err := client.Dial(t.Context(), url, client.WithHTTPHeader(http.Header{"User": {user}}), client.WithServerSubscriptions(func(sub *client.Subscription) {
			for event, err := range sub.Events(t.Context()) {
				if err == nil && user == "u1" {
					got <- event
				} else if err == nil {
					t.Errorf("%s got %v", user, event)
				}
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ann, eve := dial("u1"), dial("eve")
	if _, err := ann.Subscribe(t.Context(), "ready"); err != nil { // behind the SUBS of the session
		t.Fatal(err)
	}
	var subs []*client.Subscription
	for _, pattern := range []string{"*", "*user*", "?user:u1", "[^a]*"} {
		sub, err := eve.Subscribe(t.Context(), pattern, client.Pattern())
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	named, err := eve.Subscribe(t.Context(), "user:u1")
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Publish(t.Context(), juggler.User("u1"), "secret", nil); err != nil {
		t.Fatal(err)
	}
	if e := <-got; e.Channel != "user:u1" || string(e.Args) != `"secret"` {
		t.Errorf("the user got %s on %s", e.Args, e.Channel)
	}
	if err := one.Publish(t.Context(), "xuser:u1", "open", nil); err != nil {
		t.Fatal(err)
	}
	if err := one.Publish(t.Context(), "user:u1", "open", nil); err != nil {
		t.Fatal(err)
	}
	for _, sub := range append(subs, named) {
		if e, err := sub.Next(t.Context()); err != nil || string(e.Args) != `"open"` {
			t.Errorf("%s: got %s, %v", sub.Channel(), e.Args, err)
		}
	}
}
