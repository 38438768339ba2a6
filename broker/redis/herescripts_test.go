package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// A hereScripts runs the scripts of presence for stays of several nodes, in a channel "c".
type hereScripts struct {
	t *testing.T
	c *goredis.Client
}

func (s hereScripts) beat(mode, stay, before string) []any {
	s.t.Helper()
	return eval(s.t, s.c, hereBeatScript, "nodes dead watch of:"+stay, 60_000, mode, 8, stay, before).([]any)
}

// put returns what has changed, or why nothing was done.
func (s hereScripts) put(stay, before string, number int, members ...any) string {
	s.t.Helper()
	keys := fmt.Sprintf("nodes of:%s put:%s here", stay, stay)
	if before != "" {
		keys += " put:" + before
	}
	args := append([]any{stay, number, "PUBLISH", "news", "0123456789abcdef", "c"}, members...)
	return s.text(eval(s.t, s.c, hereScript, keys, args...))
}

func (s hereScripts) drop(stay string) string {
	s.t.Helper()
	reply := eval(s.t, s.c, hereDropScript, fmt.Sprintf("dead of:%s put:%s here", stay, stay),
		stay, 100, "PUBLISH", "news", "0123456789abcdef", "c", 0).([]any)
	return s.text(reply[1])
}

func (s hereScripts) text(reply any) string {
	s.t.Helper()
	text, ok := reply.(string)
	if !ok || text == "" {
		return fmt.Sprint(reply)
	}
	c, _, err := decodeHereChange([]byte(text))
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	for _, m := range c.Joined {
		all = append(all, fmt.Sprintf("+%s:%d%s", m.User, m.Sessions, m.Info))
	}
	for _, m := range c.Changed {
		all = append(all, fmt.Sprintf("%s:%d%s", m.User, m.Sessions, m.Info))
	}
	for _, user := range c.Left {
		all = append(all, "-"+user)
	}
	return strings.Join(all, " ")
}

func TestHereScripts(t *testing.T) {
	s := hereScripts{t, redistest.Start(t).Client()}
	step := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	step(s.put("a1", "", 1, "ann", 1, ""), "-1") // the stay was not begun
	s.beat("begin", "a1", "")
	s.beat("begin", "b1", "")
	step(s.put("a1", "", 1, "ann", 1, "1", "bob", 2, ""), "+ann:11 +bob:2")
	step(s.put("b1", "", 1, "ann", 2, "2"), "ann:32")
	step(s.put("a1", "", 2, "ann", 1, "1"), "")  // is so already: what b has put was later
	step(s.put("a1", "", 2, "ann", 9, "9"), "0") // the number is not new
	step(s.put("a1", "", 1, "ann", 0, ""), "0")
	step(fmt.Sprint(s.beat("renew", "a1", "")), "[1 2 []]")

	// The next stay of a gets the members of the one before, without a word.
	s.beat("begin", "a2", "a1")
	step(s.put("a1", "", 3, "ann", 0, ""), "-1")
	step(s.put("a2", "a1", 1, "ann", 1, "1"), "")
	step(s.put("a2", "a1", 2, "cid", 1, ""), "+cid:1")
	step(s.drop("a1"), "-bob")
	step(s.drop("a1"), "")
	step(s.drop("a2"), "") // lives
	step(fmt.Sprint(s.beat("renew", "a1", "")), "[0 0 []]")
	step(s.put("a2", "", 3, "ann", 0, "", "cid", 0, ""), "ann:22 -cid")
	step(s.put("b1", "", 2, "ann", 0, ""), "-ann")
	if n := s.c.Exists(context.Background(), "put:a1", "put:a2", "put:b1").Val(); n > 0 {
		t.Errorf("%d of what was put is left", n)
	}
	if members := s.c.HGetAll(context.Background(), "here").Val(); len(members) != 1 || s.c.TTL(context.Background(), "here").Val() <= 0 {
		t.Errorf("of the channel %v are left, without an end", members)
	}
}

func FuzzHereChange(f *testing.F) {
	f.Add([]byte("H17 2 1 1 1 0123456789abcdef3 1 2 ann{}3 2 0 bob3 cid"))
	f.Add([]byte("H17 0 0 0 1 0123456789abcdef3 cid"))
	f.Add([]byte("H1 1 9223372036854775807 0 0 0123456789abcdef"))
	f.Fuzz(func(t *testing.T, value []byte) {
		c, _, err := decodeHereChange(value)
		if err == nil && len(c.Joined)+len(c.Changed)+len(c.Left) > len(value) {
			t.Error("more members than bytes")
		}
	})
}

// A change of our own is told once, with Mine, in its place, whichever way it comes first.
func TestHereWatchOrder(t *testing.T) {
	us, other := broker.ID{1}, broker.ID{2}
	for name, test := range map[string]struct {
		steps string // f: the feed brings a change of others, F: one of our own; r: a reply does; R: a read; !: a gap
		want  string // as told; a comma after one with Mine
	}{
		"the feed first":           {"f5 F6 r6 f7", "5 6, 7"},
		"the reply first":          {"f5 r6 F6 f7", "5 6, 7"},
		"the reply far ahead":      {"f5 r7 r8 f6 F7 F8 f9", "5 6 7, 8, 9"},
		"both mixed":               {"f5 F6 r7 r6 F7", "5 6, 7,"},
		"only replies":             {"R4 r5 r6 F5 F6 f7", "5, 6, 7"},
		"a reply without a read":   {"r5 r6 F5 F6 f7", "! 5, 6, 7"},
		"read by two":              {"R4 R6 r7 f5 f6 F7 f8", "! 7, ! 5 6 8"},
		"read before the reply":    {"R5 r5 f4 F5 f6", "5, 4 6"},
		"one before it is missing": {"f5 r7 F7 f8", "5 ! 7, 8"},
		"one is missing":           {"f5 f7", "5 ! 7"},
		"ours is missing":          {"f5 r7 f8", "5 ! 7, 8"},
		"numbers begin anew":       {"f5 f6 f6 f7", "5 6 ! 6 7"},
		"the reply before others":  {"R4 r6 f5 F6 f7", "! 6, ! 5 7"},
		"a gap":                    {"f5 r7 ! f9 F10 r10", "5 ! 7, 9 10,"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &presenceConn{broker: &Broker{}, node: us, missed: map[string]bool{}, watched: map[string]*hereWatch{}}
			c.box = newMailbox[broker.HereChange](deliveryBytes, nil)
			w := &hereWatch{conn: c, channel: "c"}
			w.forget()
			c.watched["c"] = w
			for _, step := range strings.Fields(test.steps) {
				n := step[1:]
				change := func(node broker.ID) string {
					return "H" + n + " 1 1 0 0 " + string(node[:]) + "3 1 0 ann"
				}
				switch step[0] {
				case 'f':
					w.message(subject{}, "c", change(other))
				case 'F':
					w.message(subject{}, "c", change(us))
				case 'r':
					c.made("c", []byte(change(us)))
				case 'R':
					number, _ := strconv.ParseUint(n, 10, 64)
					c.hasRead(w, number)
				case '!':
					w.gap(subject{})
				}
			}
			var got []string
			for _, change := range c.box.items {
				switch {
				case change.Lost:
					got = append(got, "!")
				case change.Mine:
					got = append(got, fmt.Sprint(change.Number, ","))
				default:
					got = append(got, fmt.Sprint(change.Number))
				}
			}
			if text := strings.ReplaceAll(strings.Join(got, " "), " ,", ","); text != test.want {
				t.Errorf("told %s, want %s", text, test.want)
			}
		})
	}
}
