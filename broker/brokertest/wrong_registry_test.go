package brokertest_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// Registries that are wrong, each in one thing.
var wrongRegistry = []wrongBroker{
	{"forgets every tenth fact", []string{"many registered"}, func(*testing.T) *hooks {
		var n atomic.Int64
		return &hooks{register: func(_ context.Context, table string, value []byte, life time.Duration, next func(string, []byte, time.Duration) error) error {
			if n.Add(1)%10 == 0 {
				return nil
			}
			return next(table, value, life)
		}}
	}, nil},
	{"keeps no values", []string{"registered", "registered again"}, entries(func(e *broker.Entry) { e.Value = nil }), nil},
	{"does not know how old facts are", []string{"registered"}, entries(func(e *broker.Entry) { e.Age += time.Hour }), nil},
	{"does not know how long facts are kept", []string{"registered", "registered again", "end of a life"}, entries(func(e *broker.Entry) { e.Left = 0 }), nil},
	{"gives each fact a second life", []string{"registered", "end of a life"}, lives(func(life time.Duration) time.Duration { return life + 10*time.Second }), nil},
	{"never ends a life", []string{"end of a life"}, lives(func(life time.Duration) time.Duration { return max(life, time.Hour) }), nil},
	{"prolongs no life", []string{"end of a life"}, lives(func(time.Duration) time.Duration { return time.Second }), nil},
	{"has one table", []string{"registered", "unregister"}, func(*testing.T) *hooks {
		return &hooks{
			register: func(_ context.Context, _ string, value []byte, life time.Duration, next func(string, []byte, time.Duration) error) error {
				return next("", value, life)
			},
			unregister: func(_ string, next func(string) error) error { return next("") },
		}
	}, nil},
	{"unregisters nothing", []string{"unregister"}, func(*testing.T) *hooks {
		return &hooks{unregister: func(string, func(string) error) error { return nil }}
	}, nil},
	{"misses what was not there", []string{"unregister"}, func(*testing.T) *hooks {
		return &hooks{unregister: func(table string, next func(string) error) error {
			if table == "u" {
				return errors.New("no such table")
			}
			return next(table)
		}}
	}, nil},
	{"shares the slices of values", []string{"owner of a fact"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		var kept []byte
		return &hooks{
			register: func(_ context.Context, table string, value []byte, life time.Duration, next func(string, []byte, time.Duration) error) error {
				mu.Lock()
				defer mu.Unlock()
				kept = value
				return next(table, value, life)
			},
			registered: func(entries []broker.Entry) []broker.Entry {
				mu.Lock()
				defer mu.Unlock()
				entries[0].Value = kept
				return entries
			},
		}
	}, nil},
	{"has an error of its own for the end of a context", []string{"registry with an ended context"}, func(*testing.T) *hooks {
		return &hooks{register: func(ctx context.Context, table string, value []byte, life time.Duration, next func(string, []byte, time.Duration) error) error {
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			return next(table, value, life)
		}}
	}, nil},
}

// entries bends a broker so that change changes what was registered.
func entries(change func(*broker.Entry)) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{registered: func(entries []broker.Entry) []broker.Entry {
			entries = slices.Clone(entries)
			for i := range entries {
				change(&entries[i])
			}
			return entries
		}}
	}
}

// lives bends a broker so that change changes for how long facts are kept.
func lives(change func(time.Duration) time.Duration) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{register: func(_ context.Context, table string, value []byte, life time.Duration, next func(string, []byte, time.Duration) error) error {
			return next(table, value, change(life))
		}}
	}
}
