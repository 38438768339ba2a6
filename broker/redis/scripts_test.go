package redis

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
	goredis "github.com/redis/go-redis/v9"
)

// eval runs a script as callees in other languages do, and returns its reply.
func eval(t *testing.T, c *goredis.Client, s *resp.Script, keys string, args ...any) any {
	t.Helper()
	reply, err := c.Eval(context.Background(), s.Source, strings.Fields(keys), args...).Result()
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// tail returns a call's value without its head, with an address of its own.
func tail(name string) string { return strings.Repeat(name, addressLength) + strings.Repeat("\x00", 8) }

// A time counts for its call and those behind it that have none of their own,
// also where calls between them are refused.
func TestPushScript(t *testing.T) {
	c := redistest.Start(t).Client()
	ctx := context.Background()
	for _, uri := range []string{"a", "c"} {
		c.Set(ctx, "served:"+uri, 1, time.Minute)
	}
	c.ZAdd(ctx, "watch", goredis.Z{Score: 7, Member: "since"})
	var keys []string
	for _, uri := range []string{"a", "b", "c"} {
		for _, kind := range ofPush {
			keys = append(keys, kind+":"+uri)
		}
	}
	got := eval(t, c, pushScript, strings.Join(keys, " ")+" watch", 3, 1,
		"", 4, 1000, tail("1"), tail("2"), 500, tail("3"), tail("4"),
		"", 2, 1000, tail("5"), 2000, tail("6"),
		"", 2, 70_000, tail("7"), 70_000, tail("8"))
	want := []any{int64(3), int64(50), int64(-1), int64(7), int64(2), int64(0)}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("push.lua returned %v, want %v", got, want)
	}
	var deadlines []int
	for _, uri := range []string{"a", "c"} {
		for _, value := range c.LRange(ctx, "calls:"+uri, 0, -1).Val() {
			deadline, err := strconv.Atoi(value[1:headLength])
			if value[0] != formatCall || err != nil || len(value) != headLength+len(tail("1")) {
				t.Fatalf("queued %q", value)
			}
			deadlines = append([]int{deadline}, deadlines...)
		}
	}
	for i, left := range []int{70_000, 70_000, 1000, 1000, 500} {
		if d := deadlines[i] - deadlines[0]; d != left-70_000 {
			t.Errorf("call %d ends %d ms after the one of 70,000 ms, want %d", i, d, left-70_000)
		}
	}
	if left := c.PTTL(ctx, "calls:c").Val(); left < 2*time.Minute || left > 130*time.Second {
		t.Errorf("the calls expire in %v", left)
	}
}

// Calls that were cancelled or whose time is over give up their places in a full
// queue, wherever they stand in it, and the others keep theirs.
func TestPushFull(t *testing.T) {
	server := redistest.Start(t)
	const keys = "calls cancelled bunches served callees tokens watch"
	for name, test := range map[string]struct {
		capacity int
		dead     func(i int) bool // counted from the oldest
	}{
		"the oldest":            {10, func(i int) bool { return i == 0 }},
		"the newest":            {10, func(i int) bool { return i == 9 }},
		"all but the oldest":    {10, func(i int) bool { return i > 0 }},
		"all":                   {10, func(int) bool { return true }},
		"behind the first page": {300, func(i int) bool { return i == 128 }},
		"in the second page":    {384, func(i int) bool { return i == 383 }},
		"every other one":       {10_000, func(i int) bool { return i%2 == 1 }},
		"a hundredth, far":      {10_000, func(i int) bool { return i > 5000 && i%50 == 0 }},
	} {
		for _, how := range []string{"expired", "cancelled", "both"} {
			t.Run(name+" "+how, func(t *testing.T) {
				c := server.Client()
				ctx := context.Background()
				c.FlushAll(ctx)
				now := c.Time(ctx).Val().UnixMilli()
				var alive []string
				fill := c.Pipeline()
				for i := range test.capacity {
					left := int64(60_000)
					address := fmt.Sprintf("%032d", i)
					if test.dead(i) {
						if how != "cancelled" {
							left = 0
						}
						if how != "expired" {
							fill.SAdd(ctx, "cancelled", address)
						}
					}
					value := "C" + strconv.FormatInt(now+left, 10) + address + strings.Repeat("\x00", 8)
					fill.LPush(ctx, "calls", value)
					if !test.dead(i) {
						alive = append(alive, value)
					}
				}
				fill.SAdd(ctx, "cancelled", "a call that was taken before")
				if _, err := fill.Exec(ctx); err != nil {
					t.Fatal(err)
				}
				// Where only some are dead it may take some attempts to come upon them.
				var reply any
				waiting.Until(t, "the queue took another call", func() bool {
					reply = eval(t, c, pushScript, keys, test.capacity, 0, "", 1, 60_000, tail("x"))
					return reflect.DeepEqual(reply, []any{int64(1), int64(0)})
				})
				queued := c.LRange(ctx, "calls", 0, -1).Val()
				slices.Reverse(queued)
				kept := slices.DeleteFunc(slices.Clone(queued), func(value string) bool {
					i, err := strconv.Atoi(value[headLength : headLength+addressLength])
					return err != nil || test.dead(i)
				})
				if !slices.Equal(kept, alive) {
					t.Errorf("of %d calls that are alive %d are left", len(alive), len(kept))
				}
				dropped := int64(test.capacity - (len(queued) - 1))
				if dropped == 0 {
					t.Error("nothing was dropped")
				}
				if marks := c.SCard(ctx, "cancelled").Val(); how != "expired" && marks != int64(test.capacity-len(alive))+1-dropped {
					t.Errorf("%d marks are left of %d calls, of which %d were dropped", marks, test.capacity-len(alive), dropped)
				}
			})
		}
	}
}

// Of each URI comes what is wanted still, the one asked for first at the
// front; what was dropped leaves nothing behind.
func TestTakeScript(t *testing.T) {
	c := redistest.Start(t).Client()
	ctx := context.Background()
	now := c.Time(ctx).Val().UnixMilli()
	value := func(name string, left int64) string { return "C" + strconv.FormatInt(now+left, 10) + tail(name) }
	c.ZAdd(ctx, "callees", goredis.Z{Score: float64(now + 60_000), Member: "me"})
	c.LPush(ctx, "calls:a", value("1", -1), value("2", 60_000), value("3", 60_000), "foreign", value("4", 50_000), value("5", 50_000))
	c.SAdd(ctx, "cancelled:a", tail("3")[:addressLength], tail("9")[:addressLength])
	c.LPush(ctx, "calls:c", value("6", -1), value("7", 60_000), value("8", 60_000))
	c.ZAdd(ctx, "tokens:c", goredis.Z{Member: "calls:c"})
	keys := "callees taken calls:a tokens:a cancelled:a calls:b tokens:b cancelled:b calls:c tokens:c cancelled:c"

	if got := eval(t, c, takeScript, keys, "you", 9, 0, 3); !reflect.DeepEqual(got, []any{int64(-1)}) {
		t.Errorf("without a lease take.lua returned %q", got)
	}
	got := eval(t, c, takeScript, keys, "me", 5, 1, 3).([]any)
	want := []any{int64(1), int64(2), int64(2), value("7", 60_000), value("8", 60_000),
		int64(0), int64(3), value("2", 60_000), "foreign", value("4", 50_000)}
	if !reflect.DeepEqual(got[1:], want) {
		t.Errorf("take.lua returned\n%q, want\n%q", got[1:], want)
	}
	if n := c.Exists(ctx, "calls:c", "tokens:c").Val(); n != 0 || c.ZScore(ctx, "tokens:a", "calls:a").Val() == 0 {
		t.Error("the token of what is left is not there, or that of what is not")
	}
	got = eval(t, c, takeScript, keys, "me", 5, 0, 3, tail("2")[:addressLength], tail("7")[:addressLength]).([]any)
	if want := []any{int64(0), int64(0), int64(1), value("5", 50_000)}; !reflect.DeepEqual(got[1:], want) {
		t.Errorf("take.lua returned\n%q, want\n%q", got[1:], want)
	}
	if keys := c.Keys(ctx, "*").Val(); len(keys) != 2 || c.TTL(ctx, "taken").Val() <= 0 {
		t.Errorf("left are %q", keys)
	}
	if taken := c.SCard(ctx, "taken").Val(); taken != 3 {
		t.Errorf("%d calls are noted as taken, want 4, 5 and 8", taken)
	}
}

// A reply has room for about 1 MiB: what does not fit stays for the next one, and
// the callee hears of it. A single value that is larger comes alone.
func TestReplyBytes(t *testing.T) {
	const kib = 1 << 10
	for name, test := range map[string]struct {
		sizes []int   // of the values, in KiB; 0: some bytes
		want  [][]int // the replies
	}{
		"small":            {sizes: slices.Repeat([]int{0}, 300), want: [][]int{slices.Repeat([]int{0}, 300)}},
		"even":             {sizes: []int{400, 400, 400, 400, 400}, want: [][]int{{400, 400}, {400, 400}, {400}}},
		"larger than that": {sizes: []int{3000, 3000, 0}, want: [][]int{{3000}, {3000}, {0}}},
		"small, large":     {sizes: append(slices.Repeat([]int{0}, 100), 500, 500, 500), want: [][]int{append(slices.Repeat([]int{0}, 100), 500, 500), {500}}},
		"mixed":            {sizes: []int{0, 900, 0, 900, 0, 0}, want: [][]int{{0, 900, 0}, {900}, {0, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := redistest.Start(t).Client()
			ctx := context.Background()
			now := c.Time(ctx).Val().UnixMilli()
			c.ZAdd(ctx, "callees", goredis.Z{Score: float64(now + 60_000), Member: "me"})
			for i, size := range test.sizes {
				value := "C" + strconv.FormatInt(now+60_000, 10) + fmt.Sprintf("%032d", i) + strings.Repeat("x", max(size*kib, 8))
				c.LPush(ctx, "calls", value)
				c.LPush(ctx, "results", value)
			}
			for i, want := range test.want {
				more := int64(1)
				if i == len(test.want)-1 {
					more = 0
				}
				calls := eval(t, c, takeScript, "callees taken calls tokens cancelled", "me", 1000, 0, 1).([]any)
				if calls[1] != more {
					t.Errorf("reply %d says %v of whether there are more", i, calls[1])
				}
				for kind, got := range map[string][]any{"calls": calls[4:], "results": eval(t, c, collectScript, "results").([]any)} {
					sizes := make([]int, len(got))
					for j := range got {
						sizes[j] = len(got[j].(string)) / kib
					}
					if !slices.Equal(sizes, want) {
						t.Errorf("reply %d has %s of %v KiB, want %v", i, kind, sizes, want)
					}
				}
			}
			if keys := c.Keys(ctx, "*").Val(); len(keys) != 2 || c.SCard(ctx, "taken").Val() != int64(len(test.sizes)) {
				t.Errorf("left are %q", keys)
			}
		})
	}
}

// A callee with a short lease does not shorten what one with a long lease has
// said of their URI: calls got 404 when it had gone, and the other was there.
func TestAnnounceScript(t *testing.T) {
	c := redistest.Start(t).Client()
	ctx := context.Background()
	const long, short, grace = 60_000, 400, 1000
	for _, lease := range []int{short, long, short} {
		name := strconv.Itoa(lease)
		if got := eval(t, c, announceScript, "callees taken:"+name+" uris served callees:u bunches calls tokens", name, lease, grace, 0, 1, 1, ""); !reflect.DeepEqual(got, []any{int64(0), int64(0)}) {
			t.Errorf("announce.lua returned %v", got)
		}
	}
	for key, most := range map[string]time.Duration{
		"served":    (long + grace) * time.Millisecond,
		"callees:u": long * time.Millisecond,
		"callees":   (long + 60_000) * time.Millisecond,
		"uris":      (3*long + grace) * time.Millisecond,
	} {
		if left := c.PTTL(ctx, key).Val(); left < most/2 || left > most {
			t.Errorf("%s expires in %v, want %v", key, left, most)
		}
	}
}

// The time of a URI is put off when it is named, also when it is not known to the set:
// never behind the end of what says that somebody serves it, except
// for a while after the last callee has gone.
func TestTimesOfURIs(t *testing.T) {
	c := redistest.Start(t).Client()
	ctx := context.Background()
	const lease, grace = 10_000, 5000
	announce := func() {
		eval(t, c, announceScript, "callees taken:c uris served:u callees:u served:v callees:v bunches:u calls:u tokens:u bunches:v calls:v tokens:v",
			"c", lease, grace, 0, 2, 1, "", "")
	}
	left := func(uri string) time.Duration {
		now := c.Time(ctx).Val().UnixMilli()
		return time.Duration(int64(c.ZScore(ctx, "uris", "calls:"+uri).Val())-now) * time.Millisecond
	}
	wants := func(when string, least, most time.Duration) {
		t.Helper()
		for _, uri := range []string{"u", "v"} {
			if d := left(uri); d < least || d > most {
				t.Errorf("%s: the time of %s is over in %v, want %v to %v", when, uri, d, least, most)
			}
		}
	}
	const long = (lease + grace) * time.Millisecond
	set := func(in time.Duration) {
		for _, uri := range []string{"u", "v"} {
			c.ZAdd(ctx, "uris", goredis.Z{Score: float64(c.Time(ctx).Val().Add(in).UnixMilli()), Member: "calls:" + uri})
		}
	}
	announce()
	wants("at first", long/2, long)
	set(lease / 4 * time.Millisecond)
	announce()
	wants("when it is soon over", long/2, long)
	c.Del(ctx, "uris")
	announce()
	wants("when the set was lost", long/2, long)
	eval(t, c, withdrawScript, "callees taken:c stop:c uris served:u callees:u served:v callees:v calls:u calls:v", "c", grace, 2, 1, 1)
	wants("after the last callee", 0, grace*time.Millisecond)
	if d := c.PTTL(ctx, "served:u").Val(); d < left("u") {
		t.Errorf("somebody serves for %v, and is looked at after %v", d, left("u"))
	}
	announce()
	c.Del(ctx, "served:u", "served:v", "callees:u", "callees:v")
	announce()
	wants("when callees are back", long/2, long)
}

// Calls of the node are taken out of the queues that nobody serves, once, those whose time
// is over or that were cancelled are dropped, those of others stay where they were.
func TestRefuseScript(t *testing.T) {
	c := redistest.Start(t).Client()
	ctx := context.Background()
	node, other := strings.Repeat("N", 16), strings.Repeat("O", 16)
	address := func(node string, i int) string { return node + fmt.Sprintf("%016d", i) }
	now := c.Time(ctx).Val().UnixMilli()
	queue := func(uri, address string, deadline int64) {
		c.LPush(ctx, "calls:"+uri, fmt.Sprintf("C%013d%s", deadline, address)+strings.Repeat("\x00", 8))
	}
	const late, hour = 1, 3_600_000
	var want, others []string
	for i := range 700 {
		queue("u", address(node, i), now+hour)
		queue("u", address(other, i), now+hour)
		want, others = append(want, address(node, i)), append(others, address(other, i))
	}
	queue("u", address(node, 1000), late)
	queue("u", address(other, 1000), late)
	queue("u", address(node, 1001), now+hour)
	c.SAdd(ctx, "cancelled:u", address(node, 1001))
	queue("v", address(node, 2000), now+hour)
	want = append(want, address(node, 2000))
	queue("w", address(node, 3000), now+hour) // which is served
	c.Set(ctx, "served:w", 1, time.Minute)
	c.ZAdd(ctx, "tokens:v", goredis.Z{Member: "calls:v"})
	for _, uri := range []string{"u", "v", "w"} {
		c.ZAdd(ctx, "uris", goredis.Z{Score: float64(now - 1), Member: "calls:" + uri})
	}

	keys := "uris refused"
	for _, uri := range []string{"u", "v", "w"} {
		for _, kind := range ofPush {
			keys += " " + kind + ":" + uri
		}
	}
	var got, known []string
	skip := []int64{0, 0, 0}
	for range 20 {
		args := []any{node, len(known)}
		for _, k := range known {
			args = append(args, k)
		}
		for _, s := range skip {
			args = append(args, "", max(s, 0))
		}
		reply := eval(t, c, refuseScript, keys, args...).([]any)
		// As if the reply had been lost, it is asked for again.
		args[1] = 0
		args = append(args[:2], args[2+len(known):]...)
		again := eval(t, c, refuseScript, "uris refused", args[:2]...).([]any)
		known = nil
		for _, a := range reply[0].([]any) {
			known = append(known, a.(string))
		}
		if n := len(again[0].([]any)); n != len(known) || n > 512 {
			t.Fatalf("%d are refused, then %d", len(known), n)
		}
		got = append(got, known...)
		for i := range skip {
			skip[i] = reply[i+1].(int64)
		}
		if len(known) == 0 && skip[0] < 0 {
			break
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("refused are %d calls, want %d", len(got), len(want))
	}
	left := c.LRange(ctx, "calls:u", 0, -1).Val()
	slices.Reverse(left)
	for i := range left {
		left[i] = left[i][14:46]
	}
	if !slices.Equal(left, others) {
		t.Errorf("%d calls of others are left, want %d", len(left), len(others))
	}
	if !slices.Equal(skip, []int64{-1, -1, -1}) || c.LLen(ctx, "calls:w").Val() != 1 {
		t.Errorf("in the end %v, and %d calls of a URI that is served", skip, c.LLen(ctx, "calls:w").Val())
	}
	if n := c.Exists(ctx, "calls:v", "tokens:v", "refused", "cancelled:u").Val(); n != 0 {
		t.Errorf("%d keys are left that should not be", n)
	}
	if members := c.ZRangeWithScores(ctx, "uris", 0, -1).Val(); len(members) != 2 || members[0].Member != "calls:u" || members[1].Score < float64(now+50_000) {
		t.Errorf("URIs to look at again are %v", members)
	}
}

// Nobody is listed as dead before there was time to say who lives: since somebody
// began to look, after nobody did for a while, and after the clock was set.
func TestDeadScript(t *testing.T) {
	c := redistest.Start(t).Client()
	ctx := context.Background()
	const lease = 10_000
	now := c.Time(ctx).Val().UnixMilli()
	past, future := float64(now-1000), float64(now+3_600_000)
	c.ZAdd(ctx, "callees", goredis.Z{Score: past, Member: "a"}, goredis.Z{Score: past, Member: "b"},
		goredis.Z{Score: float64(now + 60_000), Member: "alive"}, goredis.Z{Score: float64(now - 200_000), Member: "forgotten"})
	c.ZAdd(ctx, "uris", goredis.Z{Score: past, Member: "served:u"}, goredis.Z{Score: past, Member: "served:v"},
		goredis.Z{Score: future, Member: "served:w"})
	look := func(skip, most int) []any {
		t.Helper()
		return eval(t, c, deadScript, "callees watch uris", lease, skip, skip, most, most).([]any)
	}
	end := strconv.FormatInt(int64(past), 10)
	none, due := []any{}, []any{"served:u", end, "served:v", end}
	watch := func(since, last int64) {
		c.ZAdd(ctx, "watch", goredis.Z{Score: float64(since), Member: "since"}, goredis.Z{Score: float64(last), Member: "last"})
	}
	if got := look(0, 9); got[0].(int64) < now || !reflect.DeepEqual(got[1:], []any{none, due}) {
		t.Errorf("at first: %v", got)
	}
	if n := c.ZCard(ctx, "callees").Val(); n != 3 {
		t.Errorf("%d callees are listed, want all but the one that was dead for long", n)
	}
	watch(now-lease, now)
	if got := look(0, 9); !reflect.DeepEqual(got, []any{now - lease, []any{"a", end, "b", end}, due}) {
		t.Errorf("after a lease: %v", got)
	}
	if got := look(1, 1); !reflect.DeepEqual(got, []any{now - lease, []any{"b", end}, due[2:]}) {
		t.Errorf("of the second: %v", got)
	}
	for name, last := range map[string]int64{"nobody looked": now - lease, "the clock was set back": now + lease} {
		watch(now-lease, last)
		if got := look(0, 9); got[0].(int64) < now || !reflect.DeepEqual(got[1], none) {
			t.Errorf("%s: %v", name, got)
		}
	}
	c.ZAdd(ctx, "callees", goredis.Z{Score: future, Member: "c"})
	watch(now-lease, now)
	if got := look(0, 9)[1].([]any); len(got) != 6 || got[4] != "c" {
		t.Errorf("with a lease that the clock has made too long: %v", got)
	}
	if left := c.PTTL(ctx, "watch").Val(); left <= 0 || left > lease*time.Millisecond {
		t.Errorf("the watch expires in %v", left)
	}
}

// A callee is forgotten when it is dead and all that it has taken was reported.
func TestReapScript(t *testing.T) {
	c := redistest.Start(t).Client()
	ctx := context.Background()
	now := c.Time(ctx).Val().UnixMilli()
	c.SAdd(ctx, "taken", "1", "2")
	reap := func(lease int64, addresses ...any) any {
		t.Helper()
		c.ZAdd(ctx, "callees", goredis.Z{Score: float64(now + lease), Member: "me"})
		return eval(t, c, reapScript, "callees taken", append([]any{"me"}, addresses...)...)
	}
	if got := reap(-1000, "1"); got != int64(0) || c.SCard(ctx, "taken").Val() != 1 {
		t.Errorf("with a call that is left reap.lua returned %v", got)
	}
	if got := reap(60_000, "2"); got != int64(0) {
		t.Errorf("for one who lives reap.lua returned %v", got)
	}
	if got := reap(-1000); got != int64(1) || c.Exists(ctx, "callees").Val() != 0 {
		t.Errorf("in the end reap.lua returned %v", got)
	}
}

// Marks of calls that were taken before they were cancelled stay while the queue
// is never empty. When there is room for no more they must not keep calls that
// are queued from being cancelled.
func TestCancelScript(t *testing.T) {
	c := redistest.Start(t).Client()
	ctx := context.Background()
	now := c.Time(ctx).Val().UnixMilli()
	c.LPush(ctx, "calls", "C"+strconv.FormatInt(now+60_000, 10)+tail("9"))
	c.Expire(ctx, "calls", time.Minute)
	for _, name := range []string{"1", "2", "3", "9"} {
		if got := eval(t, c, cancelScript, "calls cancelled", tail(name)[:addressLength], 3, "channel", "PUBLISH"); got != int64(1) {
			t.Errorf("cancel.lua returned %v for call %s", got, name)
		}
	}
	if n := c.SCard(ctx, "cancelled").Val(); n != 3 {
		t.Errorf("%d calls are marked, want 3", n)
	}
	if !c.SIsMember(ctx, "cancelled", tail("9")[:addressLength]).Val() {
		t.Error("the call that is queued is not marked")
	}
	if left := c.PTTL(ctx, "cancelled").Val(); left <= 0 {
		t.Errorf("the marks expire in %v", left)
	}
	c.Del(ctx, "calls", "cancelled")
	if got := eval(t, c, cancelScript, "calls cancelled", tail("1")[:addressLength], 3, "channel", "PUBLISH"); got != int64(0) {
		t.Errorf("without a queue cancel.lua returned %v", got)
	}
}
