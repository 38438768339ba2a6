package kept_test

import (
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/kept"
	"github.com/juggler-go/juggler/internal/option"
)

func rules(channels ...string) (list []broker.HistoryRule) {
	for _, c := range channels {
		list = append(list, broker.HistoryRule{Channels: c, Events: 10, For: time.Minute})
	}
	return list
}

// The first rule that matches counts.
func TestFind(t *testing.T) {
	var p option.Problems
	r := kept.Compile(&p, rules("room.7", "room.*", "news", "n*"))
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	for channel, want := range map[string]int{
		"room.7": 0, "room.": 1, "room.77": 1, "room": -1, "Room.7": -1,
		"news": 2, "new": 3, "newsy": 3, "": -1, "other": -1,
	} {
		if got := r.Find(channel); got != want {
			t.Errorf("rule %d for %q, want %d", got, channel, want)
		}
	}
	if r.At(0).Channels != "room.7" || r.Len() != 4 {
		t.Errorf("%d rules, the first of %q", r.Len(), r.At(0).Channels)
	}
	var none kept.Rules
	if none.Find("room.7") != -1 {
		t.Error("a rule of none")
	}
}

// What is wrong with a rule is said with its name.
func TestRefused(t *testing.T) {
	with := func(change func(*broker.HistoryRule)) []broker.HistoryRule {
		list := rules("a*")
		change(&list[0])
		return list
	}
	for want, list := range map[string][]broker.HistoryRule{
		`x: WithHistory(""): want the name of a channel, or how names begin and then a star`:    rules(""),
		`x: WithHistory("a*b"): want the name of a channel, or how names begin and then a star`: rules("a*b"),
		`x: WithHistory("a**"): want the name of a channel, or how names begin and then a star`: rules("a**"),
		`x: WithHistory("a*"): Events is 0, want 1 to 1000000`:                                  with(func(r *broker.HistoryRule) { r.Events = 0 }),
		`x: WithHistory("a*"): Events is 1000001, want 1 to 1000000`:                            with(func(r *broker.HistoryRule) { r.Events = 1_000_001 }),
		`x: WithHistory("a*"): For is 0s, want 1s to 720h0m0s`:                                  with(func(r *broker.HistoryRule) { r.For = 0 }),
		`x: WithHistory("a*"): For is 721h0m0s, want 1s to 720h0m0s`:                            with(func(r *broker.HistoryRule) { r.For = 721 * time.Hour }),
		`x: WithHistory("ab"): the rule of "a*" before it has all of its channels`:              rules("a*", "ab"),
		`x: WithHistory("ab*"): the rule of "a*" before it has all of its channels`:             rules("a*", "ab*"),
		`x: WithHistory("a"): the rule of "a" before it has all of its channels`:                rules("a", "a"),
		`x: WithHistory("b*"): the rule of "*" before it has all of its channels`:               rules("*", "b*"),
		`x: WithHistory: 257 rules, want up to 256`:                                             rules(strings.Split(strings.Repeat("a ", 256), " ")...),
	} {
		p := option.Problems{Package: "x"}
		kept.Compile(&p, list)
		if err := p.Err(); err == nil || err.Error() != want+": invalid option" {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	var p option.Problems
	if kept.Compile(&p, rules("a", "a*", "b.c*", "b.*")); p.Err() != nil {
		t.Error(p.Err())
	}
}
