package broker

import (
	"context"
	"time"
)

// A Registry is an optional interface of a PubSub that keeps small facts for all nodes, each
// for a time: which nodes there are, what was revoked. It is meant for some thousands.
type Registry interface {
	// Register keeps value as name in a table for the time of life, 1 s or more, in place of
	// what is there. It is there when Register returns nil. Errors are those of Publish.
	Register(ctx context.Context, table, name string, value []byte, life time.Duration) error

	// Unregister removes name from a table. One that is not there is no error.
	Unregister(ctx context.Context, table, name string) error

	// Registered returns what is in a table and whose time is not over, in any order. An
	// engine that has lost data may lack some: who has registered repeats it.
	Registered(ctx context.Context, table string) ([]Entry, error)
}

// An Entry is what a [Registry] keeps.
type Entry struct {
	Name  string
	Value []byte
	Age   time.Duration // since it was registered, by the engine's clock
	Left  time.Duration // how long it is kept from now
}
