package memory_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
)

// register registers a name with its own name as the value.
func register(t *testing.T, b *memory.Broker, table, name string, life time.Duration) {
	t.Helper()
	if err := b.Register(t.Context(), table, name, []byte(name), life); err != nil {
		t.Fatal(err)
	}
}

// registered returns what is in a table.
func registered(t *testing.T, b *memory.Broker, table string) map[string]broker.Entry {
	t.Helper()
	entries, err := b.Registered(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]broker.Entry)
	for _, e := range entries {
		byName[e.Name] = e
	}
	if len(byName) != len(entries) {
		t.Fatalf("a name is there twice: %v", entries)
	}
	return byName
}

// Ages and times left are exact, and what is over is not there any more, nor takes memory.
func TestRegistryModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		random := rand.New(rand.NewPCG(7, 7))
		type fact struct{ at, until time.Time }
		tables := map[string]map[string]fact{"a": {}, "b": {}}
		for range 3000 {
			table, name := string("ab"[random.IntN(2)]), fmt.Sprint(random.IntN(20))
			switch random.IntN(4) {
			case 0:
				if err := b.Unregister(t.Context(), table, name); err != nil {
					t.Fatal(err)
				}
				delete(tables[table], name)
			case 1:
				time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
			default:
				life := time.Second + time.Duration(random.IntN(20))*time.Second
				register(t, b, table, name, life)
				tables[table][name] = fact{time.Now(), time.Now().Add(life)}
			}
			total := 0
			for table, facts := range tables {
				maps.DeleteFunc(facts, func(_ string, f fact) bool { return !f.until.After(time.Now()) })
				total += len(facts)
				got := registered(t, b, table)
				if len(got) != len(facts) {
					t.Fatalf("%d are registered, want %d", len(got), len(facts))
				}
				for name, f := range facts {
					e := got[name]
					if string(e.Value) != name || e.Age != time.Since(f.at) || e.Left != time.Until(f.until) {
						t.Fatalf("%q is %+v, want the age %v and %v left", name, e, time.Since(f.at), time.Until(f.until))
					}
				}
			}
			if held := b.HeldFacts(); held != total {
				t.Fatalf("the broker holds %d facts, want %d", held, total)
			}
		}
	})
}

// What may be registered is bounded; what is over makes room.
func TestRegistryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		for i := range memory.MaxFacts - 1 {
			register(t, b, "long", fmt.Sprint(i), time.Hour)
		}
		register(t, b, "short", "a", time.Second)
		if err := b.Register(t.Context(), "short", "b", nil, time.Second); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("Register beyond the bound: %v, want ErrUnavailable", err)
		}
		register(t, b, "short", "a", 2*time.Second) // it is there already
		time.Sleep(2 * time.Second)
		register(t, b, "short", "b", time.Second)
	})
}

func TestRegistryRefuses(t *testing.T) {
	b := newBroker(t)
	if err := b.Register(t.Context(), "a", "b", nil, time.Second-1); err == nil || err.Error() != `memory: register "b" in "a": the life is 999.999999ms, want 1s or more` {
		t.Errorf("a short life: %v", err)
	}
	register(t, b, "a", "b", time.Hour)
	b.Close()
	_, err := b.Registered(context.Background(), "a")
	for _, err := range []error{err, b.Register(t.Context(), "a", "b", nil, time.Hour), b.Unregister(t.Context(), "a", "b")} {
		if !errors.Is(err, broker.ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", err)
		}
	}
}
