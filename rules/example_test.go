package rules_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/rules"
)

// Rules in a test of their own, without a server. Sessions are asked about in the same way.
func ExampleRules_Allows() {
	may, err := rules.Compile(
		rules.Rule{Who: []string{rules.Everyone}, Subscribe: []string{"public.*"}},
		rules.Rule{Who: []string{rules.Authenticated}, Call: []string{"math.*"}, Subscribe: []string{"users.{user}.*"}},
		rules.Rule{Who: []string{"role=editor", "user=root"}, Publish: []string{"public.*"}},
	)
	if err != nil {
		log.Fatal(err)
	}
	ann := &somebody{user: "ann", attributes: []string{"role=editor"}}
	fmt.Println("her own channel:", may.Allows(ann, frame.Sub, "users.ann.mail", false))
	fmt.Println("all of her channels:", may.Allows(ann, frame.Sub, "users.ann.*", true))
	fmt.Println("those of all users:", may.Allows(ann, frame.Sub, "users.*", true))
	fmt.Println("publish as an editor:", may.Allows(ann, frame.Pub, "public.news", false))
	// Output:
	// her own channel: true
	// all of her channels: true
	// those of all users: false
	// publish as an editor: true
}

// Rules that change while the server runs. A session keeps what it is subscribed to, until
// Reauthorize ends what the new rules do not allow.
func ExampleRules_Authorize() {
	var current atomic.Pointer[rules.Rules]
	current.Store(new(rules.Rules)) // allows nothing
	handler, err := juggler.New(juggler.WithAuthorizer(juggler.NonBlocking(
		func(ctx context.Context, r *juggler.Request) error { return current.Load().Authorize(ctx, r) })))
	if err != nil {
		log.Fatal(err)
	}
	defer handler.Shutdown(context.Background())

	fresh, err := rules.Compile(rules.Rule{Who: []string{rules.Everyone}, Subscribe: []string{"public.*"}})
	if err != nil {
		log.Fatal(err)
	}
	current.Store(fresh)
	if err := handler.Reauthorize(context.Background()); err != nil {
		log.Print(err)
	}
}
