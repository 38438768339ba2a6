package redis_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// namesIn returns the names of a table, sorted.
func namesIn(t *testing.T, b *redis.Broker, table string) []string {
	t.Helper()
	entries, err := b.Registered(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}

func register(t *testing.T, b *redis.Broker, table, name string, life time.Duration) {
	t.Helper()
	if err := b.Register(t.Context(), table, name, []byte("value"), life); err != nil {
		t.Fatal(err)
	}
}

// The keys of the table "t".
const (
	tableKey = "juggler:{0.0}:registry:t"
	namesKey = "juggler:{0.0}:registry-names:t"
	endsKey  = "juggler:{0.0}:registry-ends:t"
)

// A table that is read in pages, by number or by bytes, lacks nothing that is there all the
// time, while others register, also the same names again, and end that.
func TestRegistryInPages(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, calm(withAddr(server.Addr))...)
	for table, kind := range map[string]struct{ names, bytes int }{"many": {2500, 20}, "large": {40, 200_000}, "page": {1000, 0}} {
		var want []string
		var registering sync.WaitGroup
		value := []byte(strings.Repeat("v", kind.bytes))
		for i := range kind.names {
			name := fmt.Sprintf("\x00%05d", i)
			want = append(want, name)
			registering.Go(func() {
				if err := b.Register(t.Context(), table, name, value, time.Hour); err != nil {
					t.Error(err)
				}
			})
		}
		registering.Wait()
		quit := make(chan struct{})
		registering.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-quit:
					return
				default:
				}
				name := want[i%len(want)]
				b.Register(t.Context(), table, name, value, time.Duration(1+i%7)*time.Hour) //nolint:errcheck // it is there
				b.Register(t.Context(), table, "x"+name, nil, time.Hour)                    //nolint:errcheck // others come
				b.Unregister(t.Context(), table, "x"+name)                                  //nolint:errcheck // and go
			}
		})
		for range 5 {
			got := namesIn(t, b, table)
			got = slices.DeleteFunc(got, func(name string) bool { return name[0] == 'x' })
			if !slices.Equal(got, want) {
				t.Errorf("%s: %d names were read, want %d", table, len(got), len(want))
			}
		}
		close(quit)
		registering.Wait()
	}
}

// What has ended goes with the next use of its table, and the keys with the last of all.
func TestRegistryExpires(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b, c := newBroker(t, calm(withAddr(server.Addr))...), server.Client()
	holds := func() [3]int64 {
		return [3]int64{c.HLen(t.Context(), tableKey).Val(), c.ZCard(t.Context(), namesKey).Val(), c.ZCard(t.Context(), endsKey).Val()}
	}
	register(t, b, "t", "short", time.Second)
	register(t, b, "t", "long", time.Hour)
	register(t, b, "t", "gone", 2*time.Hour)
	if err := b.Unregister(t.Context(), "t", "gone"); err != nil {
		t.Fatal(err)
	}
	await(t, "one has ended", func() bool { return slices.Equal(namesIn(t, b, "t"), []string{"long"}) })
	if got := holds(); got != [3]int64{1, 1, 1} {
		t.Errorf("read, the keys hold %d", got)
	}
	register(t, b, "t", "short", time.Second)
	register(t, b, "t", "other", time.Hour)
	await(t, "what has ended is removed by who registers", func() bool {
		register(t, b, "t", "other", time.Hour)
		return holds() == [3]int64{2, 2, 2}
	})
	for _, key := range []string{tableKey, namesKey, endsKey} {
		if left := c.PTTL(t.Context(), key).Val(); left < 59*time.Minute || left > 2*time.Hour {
			t.Errorf("%s expires in %v", key, left)
		}
	}
	register(t, b, "t", "long", time.Second)
	register(t, b, "t", "other", time.Second)
	await(t, "all is gone with the last", func() bool { return holds() == [3]int64{} })
}

// A full table takes what is in it already, and others when something has ended. Out of memory
// nothing is refused: the nodes that are alive, and revocations, are what must be known then.
func TestRegistryFull(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b, c := newBroker(t, calm(withAddr(server.Addr))...), server.Client()
	register(t, b, "t", "there", time.Hour)
	const fill = `for i = 2, 100000 do redis.call('ZADD', KEYS[1], ARGV[1], 'n' .. i) end`
	soon := c.Time(t.Context()).Val().Add(time.Hour).UnixMilli()
	if err := c.Eval(t.Context(), fill, []string{endsKey}, soon).Err(); err != nil && !strings.Contains(err.Error(), "nil") {
		t.Fatal(err)
	}
	err := b.Register(t.Context(), "t", "new", nil, time.Hour)
	if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "100000") {
		t.Errorf("one name too many: %v", err)
	}
	register(t, b, "t", "there", time.Hour)
	register(t, b, "other", "new", time.Hour)
	if err := b.Unregister(t.Context(), "t", "n7"); err != nil {
		t.Fatal(err)
	}
	register(t, b, "t", "new", time.Hour)
	c.Del(t.Context(), endsKey)
	config(t, c, "maxmemory", "1")
	defer config(t, c, "maxmemory", "0")
	register(t, b, "t", "without memory", time.Hour)
	if err := b.Unregister(t.Context(), "t", "new"); err != nil {
		t.Error(err)
	}
	if got := namesIn(t, b, "t"); !slices.Equal(got, []string{"there", "without memory"}) {
		t.Errorf("registered are %q", got)
	}
}

// A server that is not the one to ask any more answers nothing, not even what it has. One that
// cannot save goes on to answer.
func TestRegistryWhereWritesAreRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, quick(withAddr(server.Addr))...)
	register(t, b, "t", "a", time.Hour)
	for name, test := range map[string]struct {
		refuse func() (accept func())
		reads  bool
	}{
		"a replica": {func() func() {
			server.Do("REPLICAOF", "127.0.0.1", "1")
			return func() { server.Do("REPLICAOF", "NO", "ONE") }
		}, false},
		"no replicas": {func() func() { return server.RefuseWrites(redistest.TooFew) }, false},
		"no disk":     {func() func() { return server.RefuseWrites(redistest.DiskFull) }, true},
	} {
		register(t, b, "t", "ends", time.Second)
		accept := test.refuse()
		await(t, name+": nothing is registered", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := b.Register(ctx, "t", "b", nil, time.Hour)
			if err == nil {
				t.Errorf("%s: registered", name)
			}
			return errors.Is(err, broker.ErrUnavailable)
		})
		if test.reads {
			await(t, name+": what has not ended is there", func() bool { return slices.Equal(namesIn(t, b, "t"), []string{"a"}) })
		} else if entries, err := b.Registered(t.Context(), "t"); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("%s: %d entries, %v", name, len(entries), err)
		}
		accept()
		await(t, name+": it can be registered again", func() bool {
			return b.Register(t.Context(), "t", "a", nil, time.Hour) == nil
		})
	}
}

// What is not ours is dropped, counted, and spoils nothing else. A key of another type spoils
// its table only.
func TestRegistryDamaged(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b, c := newBroker(t, calm(withAddr(server.Addr))...), server.Client()
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		register(t, b, "t", name, time.Hour)
	}
	c.HSet(t.Context(), tableKey, "a", "x", "b", strings.Repeat("x", 40))
	c.HDel(t.Context(), tableKey, "c")
	c.ZRem(t.Context(), endsKey, "d")
	if got := namesIn(t, b, "t"); !slices.Equal(got, []string{"d", "e"}) {
		t.Errorf("registered are %q", got)
	}
	if n := b.Stats().Corrupt; n != 2 {
		t.Errorf("%d corrupt values were counted, want 2", n)
	}
	for _, name := range []string{"a", "c"} {
		register(t, b, "t", name, time.Hour)
	}
	c.Del(t.Context(), namesKey)
	register(t, b, "t", "d", time.Hour)
	if got := namesIn(t, b, "t"); !slices.Equal(got, []string{"d"}) {
		t.Errorf("without the names, registered are %q", got)
	}
	for _, key := range []string{tableKey, namesKey, endsKey} {
		c.Set(t.Context(), key, "x", 0)
		if err := b.Register(t.Context(), "t", "a", nil, time.Hour); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("with a foreign %s: Register: %v", key, err)
		}
		register(t, b, "other", "a", time.Hour)
		c.Del(t.Context(), tableKey, namesKey, endsKey)
		register(t, b, "t", "a", time.Hour)
	}
}

// What is wrong with a registration is said, and where.
func TestRegistryErrors(t *testing.T) {
	t.Parallel()
	b := newBroker(t, withAddr("127.0.0.1:1"))
	err := b.Register(t.Context(), "t", "a", nil, time.Second-1)
	if want := "redis: register in t: the life is 999.999999ms, want 1s or more"; fmt.Sprint(err) != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
	b.Close()
	_, read := b.Registered(t.Context(), "t")
	for _, err := range []error{b.Register(t.Context(), "t", "a", nil, time.Hour), b.Unregister(t.Context(), "t", "a"), read} {
		if !errors.Is(err, broker.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
}
