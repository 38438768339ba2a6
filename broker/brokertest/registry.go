package brokertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// registryCases are about the optional interface that keeps facts for all nodes.
var registryCases = []testCase{
	{"registered", "What is registered is there for all when Register returns nil, with its value and its times.", registry, func(x *trial) {
		r, other := x.process(), x.process()
		const life = 30 * time.Minute
		values := map[string]string{"empty": "", "a b": "{}", "nul\x00": "\x00", "\x00own": "1", "\xff\xfe": "\xff", "{a}:b*": "line\r\nbreak", "long": strings.Repeat("x", 5000)}
		began := time.Now()
		for name, value := range values {
			x.register(r, "t", name, value, life)
			if _, there := x.registered(other, "t")[name]; !there {
				x.errorf("%q is registered and was not found", name)
			}
		}
		if len(x.registered(other, "empty")) > 0 {
			x.errorf("something is in a table that nobody used")
		}
		x.wantEntries(other, "t", slices.Collect(maps.Keys(values))...)
		for name, e := range x.registered(other, "t") {
			if string(e.Value) != values[name] {
				x.errorf("%q has the value %.40q, want %.40q", name, e.Value, values[name])
			}
			x.wantTimes(e, began, life)
		}
	}},
	{"registered again", "Register replaces the value of a name, and its time begins anew, be it longer or shorter.", registry, func(x *trial) {
		r, other := x.process(), x.process()
		for i, life := range []time.Duration{time.Hour, 2 * time.Hour, 10 * time.Minute} {
			began := time.Now()
			x.register([]Roles{r, other}[i%2], "t", "a", fmt.Sprint(i), life)
			e := x.registered(other, "t")["a"]
			if string(e.Value) != fmt.Sprint(i) {
				x.errorf("the value is %q, want %d", e.Value, i)
			}
			x.wantTimes(e, began, life)
		}
		x.wantEntries(r, "t", "a")
	}},
	{"end of a life", "What is registered is there for its time, and not any more when that is over, unless it was registered again.", registry, func(x *trial) {
		const life = time.Second
		r, other := x.process(), x.process()
		x.register(r, "t", "stays", "", time.Hour)
		x.register(r, "t", "again", "", life)
		began := time.Now()
		x.register(r, "t", "goes", "", life)
		x.register(other, "t", "again", "", time.Hour)
		x.await("a fact was gone", func() bool {
			_, there := x.registered(other, "t")["goes"]
			if gone := time.Since(began); !there && gone < life-life/20 { // clocks do not run alike
				x.fatalf("after %v a fact is gone that was registered for %v", gone, life)
			}
			return !there
		})
		x.wantEntries(r, "t", "stays", "again")
		began = time.Now()
		x.register(r, "t", "goes", "new", time.Hour)
		x.wantTimes(x.registered(other, "t")["goes"], began, time.Hour)
	}},
	{"unregister", "Unregister removes a name of a table, and nothing else. One that is not there is no error.", registry, func(x *trial) {
		r, other := x.process(), x.process()
		for _, table := range []string{"t", "t:a", "tt", "\x00t"} {
			x.register(r, table, "a", table, time.Hour)
			x.register(r, table, "ab", table, time.Hour)
		}
		for range 2 {
			x.unregister(other, "t", "a")
			x.unregister(other, "t", "*")
			x.unregister(other, "u", "a")
		}
		x.wantEntries(r, "t", "ab")
		for _, table := range []string{"t:a", "tt", "\x00t"} {
			x.wantEntries(r, table, "a", "ab")
			if e := x.registered(r, table)["a"]; string(e.Value) != table {
				x.errorf("the table %q has the value %q", table, e.Value)
			}
		}
		x.unregister(r, "t", "ab")
		x.wantEntries(other, "t")
		x.register(other, "t", "a", "again", time.Hour)
		x.wantEntries(r, "t", "a")
	}},
	{"owner of a fact", "Rule 3: the slice of a value belongs to its caller again when Register has returned; what is read belongs to the reader.", registry, func(x *trial) {
		r := x.process()
		buf := []byte("right")
		x.must("Register", x.within(func(ctx context.Context) error {
			return r.PubSub.(broker.Registry).Register(ctx, "t", "a", buf, time.Hour)
		}))
		copy(buf, "wrong")
		for range 3 {
			e := x.registered(r, "t")["a"]
			if string(e.Value) != "right" {
				x.errorf("the value is %q", e.Value)
			}
			copy(e.Value, "wrong")
		}
	}},
	{"many registered", "Many processes may register at the same time, and each finds all.", registry, func(x *trial) {
		const processes, each = 4, 300
		var all []string
		var registering sync.WaitGroup
		var reader Roles
		for p := range processes {
			r := x.process()
			reader = r
			for i := range each {
				all = append(all, fmt.Sprint(p, ".", i))
			}
			registering.Go(func() {
				for i := range each {
					name := fmt.Sprint(p, ".", i)
					x.check("Register", x.tryRegister(r, "t", name, "", time.Hour))
					if i%50 == 0 {
						x.check("Registered", x.within(func(ctx context.Context) error {
							entries, err := r.PubSub.(broker.Registry).Registered(ctx, "t")
							if err == nil && !slices.ContainsFunc(entries, func(e broker.Entry) bool { return e.Name == name }) {
								x.errorf("%q is registered and was not found", name)
							}
							return err
						}))
					}
				}
			})
		}
		registering.Wait()
		x.wantEntries(reader, "t", all...)
	}},
	{"registry with an ended context", "Rule 2: with a context that has ended, methods return soon, done or not.", registry, func(x *trial) {
		g := x.process().PubSub.(broker.Registry)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		x.wantContextError("Register", g.Register(ctx, "t", "a", nil, time.Hour))
		x.wantContextError("Unregister", g.Unregister(ctx, "t", "a"))
		_, err := g.Registered(ctx, "t")
		x.wantContextError("Registered", err)
	}},
	{"outage of the registry", "While the engine is out of reach the methods of a Registry return ErrUnavailable, or ErrUnknownOutcome. Afterwards what is registered again is there.", registry | outage, func(x *trial) {
		r := x.process()
		g := r.PubSub.(broker.Registry)
		x.register(r, "t", "a", "before", time.Hour)
		restore := x.engine.Outage()
		for _, method := range []struct {
			name string
			call func(context.Context) error
		}{
			{"Register", func(ctx context.Context) error { return g.Register(ctx, "t", "a", []byte("during"), time.Hour) }},
			{"Unregister", func(ctx context.Context) error { return g.Unregister(ctx, "t", "b") }},
			{"Registered", func(ctx context.Context) error {
				_, err := g.Registered(ctx, "t")
				return err
			}},
		} {
			x.await(method.name+" returned ErrUnavailable", func() bool {
				err := x.within(method.call)
				x.wantOutage(method.name, err)
				return errors.Is(err, broker.ErrUnavailable)
			})
		}
		restore()
		x.await("Register worked again", func() bool {
			err := x.tryRegister(r, "t", "a", "after", time.Hour)
			x.wantOutage("Register", err)
			return err == nil
		})
		if e := x.registered(r, "t")["a"]; string(e.Value) != "after" {
			x.errorf("the value is %q", e.Value)
		}
	}},
}

// register registers a fact, which must succeed.
func (x *trial) register(r Roles, table, name, value string, life time.Duration) {
	x.must("Register", x.tryRegister(r, table, name, value, life))
}

func (x *trial) tryRegister(r Roles, table, name, value string, life time.Duration) error {
	return x.within(func(ctx context.Context) error {
		return r.PubSub.(broker.Registry).Register(ctx, table, name, []byte(value), life)
	})
}

// unregister removes a fact, which must succeed.
func (x *trial) unregister(r Roles, table, name string) {
	x.must("Unregister", x.within(func(ctx context.Context) error {
		return r.PubSub.(broker.Registry).Unregister(ctx, table, name)
	}))
}

// registered reads a table, which must succeed.
func (x *trial) registered(r Roles, table string) map[string]broker.Entry {
	byName := make(map[string]broker.Entry)
	x.must("Registered", x.within(func(ctx context.Context) error {
		entries, err := r.PubSub.(broker.Registry).Registered(ctx, table)
		for _, e := range entries {
			if _, twice := byName[e.Name]; twice {
				x.errorf("%q is twice in a table", e.Name)
			}
			byName[e.Name] = e
		}
		return err
	}))
	return byName
}

// wantEntries checks that a table has these names, and no others.
func (x *trial) wantEntries(r Roles, table string, names ...string) {
	got := slices.Sorted(maps.Keys(x.registered(r, table)))
	if want := slices.Sorted(slices.Values(names)); !slices.Equal(got, want) {
		x.errorf("the table %q has %d names, want %d: %.300q, want %.300q", table, len(got), len(want), got, want)
	}
}

// wantTimes checks the times of what was registered since a moment: the engine's clock may run
// a little faster or slower than ours.
func (x *trial) wantTimes(e broker.Entry, began time.Time, life time.Duration) {
	most := time.Since(began) + 100*time.Millisecond
	most += most / 20
	if e.Age < 0 || e.Age > most || e.Left > life || e.Left < life-most {
		x.errorf("%q has the age %v and %v left, of %v, after %v", e.Name, e.Age, e.Left, life, most)
	}
}
