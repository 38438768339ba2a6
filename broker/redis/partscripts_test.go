package redis

import (
	"context"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/redistest"
)

const partKeys = "node parts bytes token"

// A part is stored as long as its node lives and its list has room, and each node of a
// batch for itself.
func TestPartScript(t *testing.T) {
	c := redistest.Start(t).Client()
	ctx := context.Background()
	keys := partKeys + " node2 parts2 bytes2 token2 node3 parts3 bytes3 token3 node4 parts4 bytes4 token4"
	c.Set(ctx, "node", 1, 0)
	c.Set(ctx, "node3", 1, 0)
	c.Set(ctx, "parts3", "no list", 0)
	c.Set(ctx, "bytes4", partsClosed, 0)
	got := eval(t, c, partScript, keys, 300, 3, "a", "b", strings.Repeat("c", 200), 1, "d", 1, "e", 1, "f").([]any)
	if got[0] != int64(2) || got[1] != int64(-1) || got[3] != int64(-2) || !strings.Contains(got[2].(string), "WRONGTYPE") {
		t.Errorf("part.lua returned %v", got)
	}
	if parts, bytes := c.LRange(ctx, "parts", 0, -1).Val(), c.Get(ctx, "bytes").Val(); !reflect.DeepEqual(parts, []string{"a", "b"}) || bytes != "130" {
		t.Errorf("stored are %q, with %s bytes", parts, bytes)
	}
	if n := c.Exists(ctx, "parts2", "token2", "token3").Val(); n != 0 {
		t.Errorf("%d keys are there of nodes that got nothing", n)
	}
	for _, key := range strings.Fields("parts bytes token") {
		if ttl := c.PTTL(ctx, key).Val(); ttl <= 0 || ttl > time.Minute {
			t.Errorf("%s expires in %v", key, ttl)
		}
	}
	// One that is larger than the list may be fits in if it is alone.
	c.Del(ctx, "parts", "bytes")
	if got := eval(t, c, partScript, partKeys, 100, 2, strings.Repeat("c", 200), "d"); !reflect.DeepEqual(got, []any{int64(1)}) {
		t.Errorf("part.lua returned %v", got)
	}
}

// Parts are removed once, and only by who reads them now.
func TestPartsScript(t *testing.T) {
	c := redistest.Start(t).Client()
	ctx := context.Background()
	c.Set(ctx, "node", 1, 0)
	store := func(values ...any) {
		eval(t, c, partScript, partKeys, append([]any{10_000, len(values)}, values...)...)
	}
	read := func(reader string, begins, parts, bytes int) []any {
		t.Helper()
		return eval(t, c, partsScript, "parts bytes reader", reader, begins, parts, bytes).([]any)
	}
	want := func(got []any, more int, parts ...any) {
		t.Helper()
		if !reflect.DeepEqual(got, append([]any{int64(more)}, parts...)) {
			t.Errorf("parts.lua returned %q, want %d and %q", got, more, parts)
		}
	}
	want(read("A", 0, 0, 0), -1) // it has not begun
	want(read("A", 1, 0, 0), 0)
	store("1", "2")
	want(read("A", 0, 0, 0), 0, "1", "2")
	store("3")
	want(read("B", 1, 0, 0), 0, "1", "2", "3") // the reply was lost: all again
	want(read("A", 0, 2, 130), -1)             // came late, on the connection of before
	want(read("B", 0, 1, 0), 0, "2", "3")      // who removes may say later how many bytes that were
	if bytes := c.Get(ctx, "bytes").Val(); bytes != "195" {
		t.Errorf("the list has %s bytes", bytes)
	}
	want(read("B", 0, 2, 195), 0)
	if bytes := c.Get(ctx, "bytes").Val(); bytes != "0" || c.Exists(ctx, "parts").Val() != 0 {
		t.Errorf("an empty list has %s bytes", bytes)
	}
	// What nobody counts any more does not keep others out.
	store("4", "5")
	c.Del(ctx, "parts")
	want(read("B", 0, 0, 0), 0)
	if bytes := c.Get(ctx, "bytes").Val(); bytes != "0" {
		t.Errorf("an empty list has %s bytes", bytes)
	}
	c.FlushAll(ctx)
	want(read("B", 0, 1, 65), -1)
}

// A reply has a bound, but for one that is alone.
func TestPartsPages(t *testing.T) {
	c := redistest.Start(t).Client()
	ctx := context.Background()
	for name, test := range map[string]struct{ sizes, first []int }{
		"many":                    {sizes: slices.Repeat([]int{10}, 1000), first: slices.Repeat([]int{10}, 512)},
		"large":                   {sizes: slices.Repeat([]int{600_000}, 3), first: slices.Repeat([]int{600_000}, 1)},
		"too large":               {sizes: slices.Repeat([]int{1_200_000}, 2), first: slices.Repeat([]int{1_200_000}, 1)},
		"large behind small":      {sizes: append(slices.Repeat([]int{1000}, 20), 1_040_000), first: slices.Repeat([]int{1000}, 20)},
		"small behind large":      {sizes: append(slices.Repeat([]int{1_000_000}, 1), slices.Repeat([]int{10}, 6000)...), first: append(slices.Repeat([]int{1_000_000}, 1), slices.Repeat([]int{10}, 7)...)},
		"as many as fit, exactly": {sizes: slices.Repeat([]int{1 << 18}, 5), first: slices.Repeat([]int{1 << 18}, 4)},
	} {
		t.Run(name, func(t *testing.T) {
			c.FlushAll(ctx)
			total := 0
			fill := c.Pipeline()
			for _, n := range test.sizes {
				fill.RPush(ctx, "parts", strings.Repeat("x", n))
				total += n + partOverhead
			}
			fill.MSet(ctx, "bytes", strconv.Itoa(total), "reader", "B")
			if _, err := fill.Exec(ctx); err != nil {
				t.Fatal(err)
			}
			got := eval(t, c, partsScript, "parts bytes reader", "B", 0, 0, 0).([]any)
			var sizes []int
			for _, v := range got[1:] {
				sizes = append(sizes, len(v.(string)))
			}
			if !reflect.DeepEqual(sizes, test.first) || got[0] != int64(1) {
				t.Errorf("got %d parts, %d; want %d", len(sizes), got[0], len(test.first))
			}
		})
	}
}
