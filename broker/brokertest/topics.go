package brokertest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/juggler-go/juggler/broker"
)

// topicCases are about what is subscribed to, and what matches it.
var topicCases = []testCase{
	{"exact and pattern", "Exact and pattern topics are apart, even with the same name.", pubSub | patterns, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process(), channel("a*"), pattern("a*"))
		x.publish(r, "ab", "1") // pattern
		x.publish(r, "a*", "2") // both
		s.await(3)
		s.unsubscribe(pattern("a*"))
		x.publish(r, "a*", "3") // exact
		s.await(4)              // what was published before may reach a later subscription
		s.subscribe(pattern("a*"))
		s.unsubscribe(channel("a*"))
		x.publish(r, "a*", "4") // pattern
		want := []string{"1 p", "2 e", "2 p", "3 e", "4 p"}
		var got []string
		for _, d := range s.exactly(len(want)) {
			got = append(got, string(d.Event.Args)+map[bool]string{false: " e", true: " p"}[d.Topic.Pattern])
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			x.errorf("want the deliveries %q (e: exact, p: pattern), got %q", want, got)
		}
	}},
	{"one delivery a topic", "An event that matches several topics of a SubscriberConn arrives once for each.", pubSub | patterns, func(x *trial) {
		r := x.process()
		topics := []broker.Topic{channel("news.go"), pattern("news.*"), pattern("*"), pattern("news.??"), pattern("*.go")}
		s := x.subscriber(x.process(), append(topics, channel("news"), pattern("news.?"))...)
		id := x.publish(r, "news.go", "x")
		got := make(map[broker.Topic]int)
		for _, d := range s.exactly(len(topics)) {
			got[d.Topic]++
			if d.Event.ID != id {
				x.errorf("an event arrived with another ID")
			}
		}
		for _, t := range topics {
			if got[t] != 1 {
				x.errorf("%d deliveries arrived for %+v", got[t], t)
			}
		}
	}},
	{"subscribed twice", "Adding a topic that is there already is no error and changes nothing; removing it once ends it.", pubSub, func(x *trial) {
		r := x.process()
		for _, t := range x.known(channel("c"), pattern("c*")) {
			s := x.subscriber(x.process(), t, t, channel("other"))
			x.publish(r, "c", "1")
			s.await(1)
			s.unsubscribe(t)
			x.publish(r, "c", "2")
			x.publish(r, "other", "3")
			s.exactly(2)
		}
	}},
	{"not subscribed", "Removing a topic that is not there is no error, and removes no other.", pubSub, func(x *trial) {
		r := x.process()
		topics := x.known(channel("c"), pattern("p*"))
		s := x.subscriber(x.process(), topics...)
		for _, t := range x.known(channel("d"), pattern("c"), channel("p*"), pattern("*")) {
			s.unsubscribe(t)
			s.unsubscribe(t)
		}
		x.publish(r, "c", "")
		x.publish(r, "pp", "")
		s.exactly(len(topics))
	}},
	{"confirmed", "Once Subscribe has returned no event published afterwards is missed, whoever publishes.", pubSub, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process())
		for i := range 60 {
			name := fmt.Sprintf("c.%d.", i)
			kinds := x.known(channel(name), pattern(name+"*"))
			s.subscribe(kinds[i%len(kinds)])
			x.publish(r, name, name)
		}
		got := make(map[string]int)
		for _, d := range s.await(60) {
			got[d.Event.Channel]++
		}
		for i := range 60 {
			if n := got[fmt.Sprintf("c.%d.", i)]; n == 0 {
				x.errorf("the event published after subscription %d never arrived", i)
			}
		}
	}},
	{"unsubscribed", "No event published after Unsubscribe has returned is delivered for the topic.", pubSub, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process(), channel("kept"))
		for i := range 40 {
			kinds := x.known(channel("c"), pattern("c*"))
			t := kinds[i%len(kinds)]
			s.subscribe(t)
			s.unsubscribe(t)
			x.publish(r, "c", "unwanted")
			x.publish(r, "kept", "wanted")
		}
		s.exactly(40)
	}},
	{"topics of others", "Each SubscriberConn has topics of its own: what one adds, removes or closes is nothing to the others.", pubSub, func(x *trial) {
		r, shared := x.process(), x.process()
		const many = 20
		topics := x.known(channel("c"), pattern("c*"))
		var all []*subscriber
		for range many {
			all = append(all, x.subscriber(shared, topics...))
		}
		x.publish(r, "c", "1")
		for i, s := range all {
			s.await(len(topics))
			switch i % 3 {
			case 0:
				s.unsubscribe(channel("c"))
			case 1:
				s.close()
			}
		}
		x.publish(r, "c", "2")
		for i, s := range all {
			switch i % 3 {
			case 0:
				s.exactly(2*len(topics) - 1)
			case 2:
				s.exactly(2 * len(topics))
			}
		}
	}},
	{"many topics", "A SubscriberConn may have many topics; each gets its own events and no others.", pubSub, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process())
		const topics = 500
		for i := range topics {
			s.subscribe(channel(fmt.Sprint("c.", i)))
		}
		for i := range topics {
			x.publish(r, fmt.Sprint("c.", i), "")
		}
		s.await(topics)
		for i := range topics / 2 {
			s.unsubscribe(channel(fmt.Sprint("c.", 2*i)))
		}
		for i := range topics {
			x.publish(r, fmt.Sprint("c.", i), "")
		}
		got := make(map[string]int)
		for _, d := range s.exactly(topics + topics/2) {
			if d.Topic != channel(d.Event.Channel) {
				x.errorf("an event on %s arrived for %+v", d.Event.Channel, d.Topic)
			}
			got[d.Event.Channel]++
		}
		for i := range topics {
			if n := got[fmt.Sprint("c.", i)]; n != 1+i%2 {
				x.errorf("%d events arrived on channel %d, want %d", n, i, 1+i%2)
			}
		}
	}},
	{"channel names", "Channels are bytes that the engine does not interpret.", pubSub, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process())
		names := []string{"a b", "a.b", "A.b", "*", "[a]", `\`, "{a}:b", "line\r\nbreak", "nul\x00", "\xff\xfe", "ä", strings.Repeat("long", 500)}
		for _, name := range names {
			s.subscribe(channel(name))
		}
		for _, name := range names {
			x.publish(r, name, name)
		}
		got := make(map[string]int)
		for _, d := range s.exactly(len(names)) {
			got[d.Event.Channel]++
			if d.Topic.Name != string(d.Event.Args) || d.Event.Channel != string(d.Event.Args) {
				x.errorf("an event on %q arrived on %q for %q", d.Event.Args, d.Event.Channel, d.Topic.Name)
			}
		}
		for _, name := range names {
			if got[name] != 1 {
				x.errorf("%d events arrived on %q", got[name], name)
			}
		}
	}},
	{"patterns", "A pattern is matched as PSUBSCRIBE does, byte by byte.", pubSub | patterns, func(x *trial) {
		x.matchAll(map[string]globs{
			"*":         {"a ab äöü news.go", ""},
			"news.*":    {"news. news.go news.go.1", "news new.s anews.x NEWS.go"},
			"*.go":      {".go a.go a.b.go", "go a.gox"},
			"a*b*c":     {"abc axbxc abbcc abcabc", "ab acb abcd"},
			"**":        {"a ab", ""},
			"a**b":      {"ab axxb", "a b"},
			"h?llo":     {"hello hallo h*llo", "hllo heello"},
			"???":       {"abc ä1", "ab abcd äö"}, // ä is two bytes
			"h[ae]llo":  {"hello hallo", "hillo hllo"},
			"h[^e]llo":  {"hallo hbllo h^llo", "hello"},
			"h[a-c]llo": {"hallo hbllo hcllo", "hdllo h-llo"},
			`h\*llo`:    {"h*llo", `hello h\*llo hllo`},
			`h\?llo`:    {"h?llo", "hello"},
			`\a\b`:      {"ab", `\a\b`},
			"exact":     {"exact", "exac exactly"},
		})
	}},
	{"odd patterns", "A pattern is matched as PSUBSCRIBE does, odd brackets and backslashes too.", pubSub | patterns, func(x *trial) {
		x.matchAll(map[string]globs{
			"[c-a]":    {"a b c", "d -"},
			"[!a]":     {"! a", "b"},
			"[a^]":     {"a ^", "b"},
			"[abc":     {"a b c", "d [abc"},
			"x[^a":     {"xb", "xa x[^a"},
			`[\]]`:     {"]", `\ \]`},
			`[\^a]`:    {"^ a", `\ b`},
			`[a\-c]`:   {"a - c", `b \`},
			`a[\\]b`:   {`a\b`, "ab"},
			`x\`:       {`x\`, "x"},
			"[]a":      {"", "a ] []a ]a"},
			"a[]":      {"", "a a[] a]"},
			"[^]x":     {"ax ]x", "x []x"},
			"[a-]":     {"a ] ^ _", "- b"},
			"[a-]b]":   {"a ] b", "- c"},
			"[--/]":    {"- . /", "a ,"},
			"[0-9][a]": {"1a 0a", "a1 1b"},
			"*[ab]*c":  {"ac xbxc bcc", "c xc ab"},
			"*?":       {"a ab", ""},
			"?*?":      {"ab abc", "a"},
		})
	}},
	{"own channels", "A channel of the server's own is another one than that of the same name.", pubSub, func(x *trial) {
		r := x.process()
		names := []string{"a", broker.OwnChannel("a"), broker.OwnChannel("a b*{c}\r\n\xff"), broker.OwnChannel(""), broker.OwnChannel(broker.OwnChannel("a"))}
		all := x.subscriber(x.process())
		var each []*subscriber
		for _, name := range names {
			all.subscribe(channel(name))
			each = append(each, x.subscriber(x.process(), channel(name)))
		}
		for _, name := range names {
			x.publish(r, name, name)
		}
		for _, d := range all.exactly(len(names)) {
			x.wantName(d, string(d.Event.Args))
		}
		for i, name := range names {
			x.wantName(each[i].exactly(1)[0], name)
		}
	}},
	{"own channels and patterns", "No pattern matches a channel of the server's own, whatever the pattern is.", pubSub | patterns, func(x *trial) {
		r := x.process()
		const name = "user:1"
		own := broker.OwnChannel(name)
		s := x.subscriber(x.process(), channel(own))
		for _, glob := range []string{"*", "?*", "?user*", "??*", "*user*", "*1", "user:1", "[^a]*", "[\x00]*", "[\x00-\xff]user*", "\x00*", `\` + "\x00*", own, "\x00own*", "own*", "*:*"} {
			s.subscribe(pattern(glob))
		}
		x.publish(r, own, "1")
		x.publish(r, own, "2")
		for _, d := range s.exactly(2) {
			if d.Topic != channel(own) {
				x.errorf("an event on %q arrived for %+v", d.Event.Channel, d.Topic)
			}
		}
	}},
	{"patterns that go back", "A pattern with many stars is matched in reasonable time.", pubSub | patterns, func(x *trial) {
		r := x.process()
		s := x.subscriber(x.process(), pattern(strings.Repeat("*a", 30)+"*b"), pattern(strings.Repeat("a*", 200)))
		x.publish(r, strings.Repeat("a", 2000), "1")
		x.publish(r, strings.Repeat("a", 2000)+"b", "2")
		s.exactly(3)
	}},
}

// wantName checks that an event, whose args are the name of its channel, arrived on that one.
func (x *trial) wantName(d broker.Delivery, name string) {
	if d.Topic != channel(name) || d.Event.Channel != name || string(d.Event.Args) != name {
		x.errorf("an event on %q arrived on %q for %+v, want it on %q", d.Event.Args, d.Event.Channel, d.Topic, name)
	}
}

// globs are channels that a pattern matches and does not, with blanks between.
type globs struct{ match, differ string }

// matchAll subscribes to all patterns and publishes on all of their channels.
func (x *trial) matchAll(table map[string]globs) {
	r := x.process()
	s := x.subscriber(x.process())
	for glob := range table {
		s.subscribe(pattern(glob))
	}
	channels := make(map[string]bool)
	for _, g := range table {
		for _, c := range strings.Fields(g.match + " " + g.differ) {
			channels[c] = true
		}
	}
	for c := range channels {
		x.publish(r, c, "")
	}
	var got map[string]map[string]bool
	s.x.poll(func() bool {
		got = make(map[string]map[string]bool)
		for _, d := range s.deliveries() {
			if got[d.Topic.Name] == nil {
				got[d.Topic.Name] = make(map[string]bool)
			}
			got[d.Topic.Name][d.Event.Channel] = true
		}
		for glob, g := range table {
			for _, c := range strings.Fields(g.match) {
				if !got[glob][c] {
					return false
				}
			}
		}
		return true
	})
	for _, glob := range slices.Sorted(maps.Keys(table)) {
		for _, c := range strings.Fields(table[glob].match) {
			if !got[glob][c] {
				x.errorf("the pattern %s did not match %s", glob, c)
			}
		}
		for _, c := range strings.Fields(table[glob].differ) {
			if got[glob][c] {
				x.errorf("the pattern %s matched %s", glob, c)
			}
		}
	}
}
