package brokertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/juggler-go/juggler/broker"
)

// presenceCases are about the optional interface that knows who is in channels. Changes may be
// lost at any time, if that is told.
var presenceCases = []testCase{
	{"who is there", "What is put and written is read by all nodes, and who watches is told of it: who joined, changed, and left, and how many are there.", presence, func(x *trial) {
		nodes := x.hereNodes(2)
		a, b := nodes[0], nodes[1]
		v, own := b.view("c"), a.view("c")
		for _, step := range []struct{ put, want []broker.Member }{
			{[]broker.Member{member("u", 1, `"i"`)}, []broker.Member{member("u", 1, `"i"`)}},
			{[]broker.Member{member("v", 3, ""), member("w", 1, "{}")}, []broker.Member{member("u", 1, `"i"`), member("v", 3, ""), member("w", 1, "{}")}},
			{[]broker.Member{member("u", 2, `"i"`), member("w", 0, "")}, []broker.Member{member("u", 2, `"i"`), member("v", 3, "")}},
			{[]broker.Member{member("v", 0, ""), member("x", 1, "1"), member("u", 2, `"j"`)}, []broker.Member{member("u", 2, `"j"`), member("x", 1, "1")}},
			{[]broker.Member{member("u", 0, ""), member("x", 0, "")}, nil},
			{[]broker.Member{member("u", 1, "")}, []broker.Member{member("u", 1, "")}},
		} {
			a.put("c", step.put...)
			a.wantHere("c", step.want...)
			b.wantHere("c", step.want...)
			v.want(step.want...)
			own.want(step.want...)
		}
	}},
	{"put replaces", "A Put replaces what the node has put for the same users before, and says nothing of others. What changes nothing is no change.", presence, func(x *trial) {
		nodes := x.hereNodes(2)
		a, v := nodes[0], nodes[1].view("c")
		a.put("c", member("u", 2, "1"), member("v", 1, "2"))
		a.put("c", member("u", 5, "1"))
		v.want(member("u", 5, "1"), member("v", 1, "2"))
		v.update()
		before := v.number
		a.put("c", member("u", 5, "1"), member("v", 1, "2"))
		a.put("c")
		a.put("c", member("nobody", 0, ""))
		a.put("c", member("", 1, ""))
		if h := a.read("c", 0); h.Number != before && v.lost == 0 {
			x.errorf("what changed nothing is change %d, after %d", h.Number, before)
		}
		a.wantHere("c", member("u", 5, "1"), member("v", 1, "2"))
		a.conn.Put("c", []broker.Member{member("u", 1, "1")})
		a.conn.Put("c", []broker.Member{member("u", 7, "1")})
		a.conn.Put("c", []broker.Member{member("v", 0, "")})
		a.put("c", member("u", 3, "1"))
		a.wantHere("c", member("u", 3, "1"))
		v.want(member("u", 3, "1"))
	}},
	{"a user on two nodes", "A user at several nodes is one member, with the sessions of all, and leaves with the last one.", presence, func(x *trial) {
		nodes := x.hereNodes(3)
		a, b, v := nodes[0], nodes[1], nodes[2].view("c")
		a.put("c", member("u", 2, ""), member("v", 1, ""))
		b.put("c", member("u", 3, ""))
		v.want(member("u", 5, ""), member("v", 1, ""))
		a.put("c", member("u", 0, ""), member("v", 0, ""))
		v.want(member("u", 3, ""))
		b.put("c", member("v", 0, "")) // it has not put it
		a.put("c", member("u", 1, ""))
		b.put("c", member("u", 0, ""))
		v.want(member("u", 1, ""))
		a.wantHere("c", member("u", 1, ""))
		a.put("c", member("u", 0, ""))
		v.want()
	}},
	{"info", "The Info of a member is the one that was put last, at whichever node, and stays when a node leaves. One that is too long is none.", presence, func(x *trial) {
		nodes := x.hereNodes(3)
		a, b, v := nodes[0], nodes[1], nodes[2].view("c")
		longest := `"` + strings.Repeat("x", broker.MaxMemberInfo-2) + `"`
		a.put("c", member("u", 1, `{"of":"a"}`))
		b.put("c", member("u", 1, `{"of":"b"}`))
		v.want(member("u", 2, `{"of":"b"}`))
		a.put("c", member("u", 2, longest))
		v.want(member("u", 3, longest))
		b.put("c", member("u", 0, ""))
		v.want(member("u", 2, longest))
		a.put("c", member("u", 2, longest+" "))
		v.want(member("u", 2, ""))
		a.put("c", member("u", 2, "1"), member("v", 1, `"`+"\\u0000\xff"+`"`))
		v.want(member("u", 2, "1"), member("v", 1, `"`+"\\u0000\xff"+`"`))
		a.put("c", member("u", 2, ""), member("v", 0, ""))
		v.want(member("u", 2, ""))
		b.wantHere("c", member("u", 2, ""))
	}},
	{"most", "ReadHere returns all members, or none of them if they are more than was asked for; the count is right in both cases.", presence, func(x *trial) {
		nodes := x.hereNodes(2)
		a, b := nodes[0], nodes[1]
		var members []broker.Member
		for i := range 5 {
			members = append(members, member(fmt.Sprint(i), 1, ""))
			nodes[i%2].put("c", members[i])
		}
		a.put("c", member("0", 4, ""))
		for most := range 8 {
			h := b.read("c", most)
			if listed := len(members); h.Count != 5 || most < 5 && h.Members != nil || most >= 5 && len(h.Members) != listed {
				x.errorf("with up to %d members asked for, read were %d of %d", most, len(h.Members), h.Count)
			}
		}
		if h := b.read("nobody", 10); h.Count != 0 || len(h.Members) != 0 {
			x.errorf("in a channel that nobody is in are %+v", h)
		}
	}},
	{"mine", "Each change is one node's own, which is told so, whether or not it watches the channel. Who does not watch it is told of no others.", presence, func(x *trial) {
		nodes := x.hereNodes(3)
		quiet, v := nodes[0], nodes[2].view("c")
		first := v.number
		nodes[1].watch("c")
		const rounds = 12
		for i := range rounds {
			u := member("u", i%3, fmt.Sprint(i))
			nodes[i%2].put("c", u, member(fmt.Sprint(i), 1, ""))
			nodes[i%2].put("unwatched", member(fmt.Sprint(i), 1, ""))
		}
		quiet.put("c", member("last", 1, ""))
		v.x.await("the last change was told", func() bool {
			v.update()
			_, told := v.members["last"]
			return told
		})
		all := func(n *hereNode, channel string) (mine, others map[uint64]int, lost bool) {
			mine, others = make(map[uint64]int), make(map[uint64]int)
			for _, c := range n.changes(channel) {
				switch {
				case c.Lost:
					lost = true
				case c.Mine:
					mine[c.Number]++
				default:
					others[c.Number]++
				}
			}
			return mine, others, lost
		}
		x.await("each change was told to the node whose it is", func() bool {
			for number := first + 1; number <= v.number; number++ {
				owners := 0
				for _, n := range nodes {
					mine, others, lost := all(n, "c")
					if lost {
						return true
					}
					owners += mine[number]
					if n == quiet && len(others) > 0 {
						x.fatalf("a node that does not watch the channel was told of changes of others")
					}
					if mine[number]+others[number] > 1 {
						x.fatalf("change %d was told twice to a node", number)
					}
				}
				if owners > 1 {
					x.fatalf("change %d is that of %d nodes", number, owners)
				} else if owners == 0 {
					return false
				}
			}
			for _, n := range nodes[:2] {
				if mine, others, _ := all(n, "unwatched"); len(others) > 0 {
					x.fatalf("a channel that is not watched had changes that are not one's own")
				} else if len(mine) < rounds/2 {
					return false
				}
			}
			return true
		})
		if mine, others, _ := all(nodes[2], "unwatched"); len(mine)+len(others) > 0 {
			x.errorf("a node was told of a channel that it neither watches nor has changed")
		}
	}},
	{"channels of who is there", "Each channel has members of its own, whatever the bytes of its name; and so have users.", presence, func(x *trial) {
		nodes := x.hereNodes(2)
		names := []string{"a", "a:b", "*", "{a}:b", "nul\x00", "\xff\xfe", "line\r\nbreak", "ä", broker.OwnChannel("a"), broker.OwnChannel(""), strings.Repeat("long", 200)}
		var views []*hereView
		for i, name := range names {
			views = append(views, nodes[1].view(name))
			nodes[0].conn.Put(name, []broker.Member{member("u", i+1, ""), member(name, 1, "")})
		}
		nodes[0].flush()
		for i, name := range names {
			views[i].want(member("u", i+1, ""), member(name, 1, ""))
			nodes[0].wantHere(name, member("u", i+1, ""), member(name, 1, ""))
		}
	}},
	{"watch while others put", "Of a channel that was watched before it was read each later change is told, or that some are lost: what was read, with the changes, is who is there.", presence, func(x *trial) {
		writers := x.hereNodes(2)
		reader := x.hereNode(x.process())
		for round := range 20 {
			channel := fmt.Sprint("c.", round)
			var stops []func() int
			for w, n := range writers {
				stops = append(stops, x.repeat(func(i int) {
					n.conn.Put(channel, []broker.Member{member(fmt.Sprint("u.", w), i%3, fmt.Sprint(i)), member("both", i%2, "")})
					if i%5 == 4 {
						x.check("Flush", x.within(n.conn.Flush))
						pass(pollInterval / 10)
					}
				}))
			}
			x.await("somebody was there", func() bool { return reader.read(channel, 0).Number > 0 })
			v := reader.view(channel)
			for range 5 {
				v.update()
				pass(pollInterval)
			}
			for _, stop := range stops {
				stop()
			}
			for w, n := range writers {
				n.put(channel, member(fmt.Sprint("u.", w), 1, "1"), member("both", 1, ""))
			}
			v.want(member("u.0", 1, "1"), member("u.1", 1, "1"), member("both", 2, ""))
			reader.conn.Unwatch(channel)
		}
	}},
	{"unwatch", "After Unwatch changes are told no more, soon. Watching a channel that is watched is no error, and changes nothing.", presence, func(x *trial) {
		nodes := x.hereNodes(3)
		writer, n, v := nodes[0], nodes[1], nodes[2].view("c")
		n.watch("c")
		n.watch("c")
		n.watch("other")
		writer.put("c", member("u", 1, ""))
		x.await("a change was told", func() bool { return len(n.changes("c")) > 0 })
		n.conn.Unwatch("c")
		n.conn.Unwatch("c")
		n.conn.Unwatch("never watched")
		i := 1
		x.await("no changes were told any more", func() bool {
			before := len(n.changes("c"))
			i++
			writer.put("c", member("u", i, ""))
			v.want(member("u", i, ""))
			o := n.view("other") // it is told of changes still
			o.passes(writer)
			return len(n.changes("c")) == before
		})
		again := n.view("c")
		again.want(member("u", i, ""))
		writer.put("c", member("u", i+1, ""), member("v", 1, ""))
		again.want(member("u", i+1, ""), member("v", 1, ""))
	}},
	{"close presence", "Close of a PresenceConn removes what it has put, for all. After it methods return ErrClosed, a Put does nothing, and Close may be called twice.", presence, func(x *trial) {
		nodes := x.hereNodes(2)
		a, v := nodes[0], nodes[1].view("c")
		many := nodes[1].view("many")
		a.put("c", member("stays", 1, "1"), member("both", 1, ""))
		for range 3 {
			n := x.hereNode(x.process())
			n.put("c", member("goes", 1, ""), member("both", 2, ""))
			for i := range 100 {
				n.conn.Put("many", []broker.Member{member(fmt.Sprint(i), 1, "")})
			}
			n.flush()
			v.want(member("stays", 1, "1"), member("both", 3, ""), member("goes", 1, ""))
			n.watch("c")
			n.close()
			n.close()
			n.conn.Put("c", []broker.Member{member("late", 1, "")})
			n.conn.Unwatch("c")
			_, read := n.tryRead("c", 1)
			for method, err := range map[string]error{"Watch": n.conn.Watch(context.Background(), "c"), "Flush": n.conn.Flush(context.Background()), "ReadHere": read} {
				if !errors.Is(err, broker.ErrClosed) {
					x.errorf("%s returned %v", method, err)
				}
			}
			v.want(member("stays", 1, "1"), member("both", 1, ""))
			many.want()
			a.put("c", member("stays", 1, "1"))
			a.wantHere("c", member("stays", 1, "1"), member("both", 1, ""))
		}
		mine := make(map[uint64]int)
		for _, n := range nodes {
			for _, c := range n.changes("c") {
				if c.Mine {
					mine[c.Number]++
				}
			}
		}
		if len(mine) > 0 && slices.Max(slices.Collect(maps.Values(mine))) > 1 {
			x.errorf("a change is that of two nodes")
		}
	}},
	{"close presence waits", "Rule 6: Close of a PresenceConn returns when its callback does not run any more.", presence, func(x *trial) {
		nodes := x.hereNodes(2)
		n := nodes[1]
		n.watch("c")
		begun := make(chan struct{}, 1)
		n.setHook(func(broker.HereChange) { n.slowly(begun) })
		nodes[0].put("c", member("u", 1, ""))
		receive(x, "a change was told", begun)
		n.close()
	}},
	{"slow changed", "A callback that does not return holds up neither the Puts of its node nor those of others. What it misses is told as Lost.", presence, func(x *trial) {
		nodes := x.hereNodes(3)
		slow, writer, v := nodes[0].view("c"), nodes[1], nodes[2].view("c")
		begun, release := make(chan struct{}, 1), make(chan struct{})
		nodes[0].setHook(func(broker.HereChange) {
			select {
			case begun <- struct{}{}:
			default:
			}
			<-release
		})
		free := sync.OnceFunc(func() { close(release) })
		x.cleanup(free)
		writer.put("c", member("u", 1, ""))
		receive(x, "a change was told", begun)
		const rounds = 300
		put := make(chan struct{})
		go func() { // a Put that waits must not hold up the end of the case
			defer close(put)
			for i := range rounds {
				writer.conn.Put("c", []broker.Member{member("u", i+1, "")})
				nodes[0].conn.Put("c", []broker.Member{member("v", i%5+1, "")})
			}
		}()
		receive(x, "the Puts had returned", put)
		writer.flush()
		v.x.await("the changes were told to another", func() bool {
			v.update()
			return v.members["u"].Sessions == rounds
		})
		free()
		writer.put("c", member("w", 1, ""))
		slow.want(member("u", rounds, ""), member("v", (rounds-1)%5+1, ""), member("w", 1, ""))
	}},
	{"put in changed", "Rule 5: the callback of a PresenceConn may call Put, Unwatch and ReadHere of its own.", presence, func(x *trial) {
		nodes := x.hereNodes(2)
		n, v := nodes[1], nodes[0].view("echo")
		n.watch("c")
		n.watch("d")
		n.setHook(func(c broker.HereChange) {
			if c.Channel != "c" {
				return
			}
			h, err := n.tryRead("c", 10)
			x.check("ReadHere", err)
			n.conn.Put("echo", []broker.Member{member("echo", h.Count, "")})
			n.conn.Unwatch("d")
		})
		nodes[0].put("c", member("u", 1, ""), member("v", 1, ""))
		v.want(member("echo", 2, ""))
	}},
	{"owner of a member", "Rule 3: the slices of a Put belong to its caller again when it has returned.", presence, func(x *trial) {
		nodes := x.hereNodes(2)
		v := nodes[1].view("c")
		info := []byte(`"right"`)
		members := []broker.Member{{User: "u", Sessions: 1, Info: info}}
		nodes[0].conn.Put("c", members)
		copy(info, `"wrong"`)
		members[0] = broker.Member{User: "wrong", Sessions: 1}
		nodes[0].flush()
		v.want(member("u", 1, `"right"`))
		nodes[0].wantHere("c", member("u", 1, `"right"`))
	}},
	{"many members", "A channel may have many members, which come and go together.", presence, func(x *trial) {
		const many = 3000
		nodes := x.hereNodes(2)
		v := nodes[1].view("c")
		n := x.hereNode(x.process())
		var members []broker.Member
		for i := range many {
			members = append(members, member(fmt.Sprint("user.", i), 1+i%3, fmt.Sprintf(`{"name":"User %d"}`, i)))
		}
		n.put("c", members...)
		v.want(members...)
		nodes[0].wantHere("c", members...)
		for i := range members {
			members[i].Sessions = i % 2
		}
		n.put("c", members...)
		members = slices.DeleteFunc(members, func(m broker.Member) bool { return m.Sessions == 0 })
		v.want(members...)
		n.close()
		v.want()
		nodes[0].wantHere("c")
	}},
	{"who is there by chance", "Whatever nodes put, who is there is the sum, once it is written.", presence, func(x *trial) {
		random := rand.New(rand.NewPCG(rand.Uint64(), 1))
		nodes := x.hereNodes(3)
		channels := []string{"a", "b"}
		type place struct {
			node          int
			channel, user string
		}
		sessions := make(map[place]int)
		infos := make(map[[2]string]string)
		var views []*hereView
		for _, c := range channels {
			views = append(views, nodes[0].view(c), nodes[2].view(c))
		}
		sum := func(channel string) (want []broker.Member) {
			for i := range 6 {
				m := member(fmt.Sprint(i), 0, infos[[2]string{channel, fmt.Sprint(i)}])
				for n := range nodes {
					m.Sessions += sessions[place{n, channel, m.User}]
				}
				if m.Sessions > 0 {
					want = append(want, m)
				}
			}
			return want
		}
		for round := range 120 {
			node := random.IntN(len(nodes))
			channel := channels[random.IntN(len(channels))]
			var put []broker.Member
			for i := range 6 {
				if random.IntN(2) == 0 {
					continue
				}
				// The same for as long as the user is there: see "info" for others.
				m := member(fmt.Sprint(i), random.IntN(3), fmt.Sprintf(`"%s %d"`, channel, i))
				put = append(put, m)
				sessions[place{node, channel, m.User}] = m.Sessions
				infos[[2]string{channel, m.User}] = string(m.Info)
			}
			nodes[node].put(channel, put...)
			for _, n := range nodes {
				n.wantHere(channel, sum(channel)...)
			}
			if round%10 == 0 {
				for _, v := range views {
					v.want(sum(v.channel)...)
				}
			}
		}
	}},
	{"presence outlives its opening", "Contexts of the opening bound that only; with a context that has ended methods return soon, done or not.", presence, func(x *trial) {
		r := x.process()
		ctx, cancel := context.WithTimeout(context.Background(), x.patience)
		conn, err := r.PubSub.(broker.Presence).OpenPresence(ctx, newID(), func([]broker.HereChange) {})
		x.must("OpenPresence", err)
		defer conn.Close()
		cancel()
		conn.Put("c", []broker.Member{member("u", 1, "")})
		x.must("Flush", x.within(conn.Flush))
		x.hereNode(x.process()).wantHere("c", member("u", 1, ""))
		x.wantContextError("Watch", conn.Watch(ctx, "c"))
		_, err = conn.ReadHere(ctx, "c", 1)
		x.wantContextError("ReadHere", err)
		conn.Put("c", []broker.Member{member("u", 2, "")})
		x.wantContextError("Flush", conn.Flush(ctx))
		x.must("Flush", x.within(conn.Flush))
	}},
	{"outage of presence", "While the engine is out of reach Put does not wait, and what it puts is written afterwards. ReadHere returns ErrUnavailable, or ErrUnknownOutcome. Who watches learns what it has missed, or that it has.", presence | outage, func(x *trial) {
		nodes := x.hereNodes(2)
		a, v := nodes[0], nodes[1].view("c")
		a.put("c", member("stays", 1, ""), member("goes", 1, ""))
		v.want(member("stays", 1, ""), member("goes", 1, ""))
		restore := x.engine.Outage()
		x.await("ReadHere returned ErrUnavailable", func() bool {
			_, err := a.tryRead("c", 1)
			x.wantOutage("ReadHere", err)
			return errors.Is(err, broker.ErrUnavailable)
		})
		a.conn.Put("c", []broker.Member{member("goes", 0, ""), member("comes", 1, "")})
		a.conn.Put("c", []broker.Member{member("comes", 2, "")})
		restore()
		a.flush()
		want := []broker.Member{member("stays", 1, ""), member("comes", 2, "")}
		x.await("all was read again", func() bool {
			h, err := nodes[1].tryRead("c", 10)
			x.wantOutage("ReadHere", err)
			return err == nil && sameMembers(byUser(h.Members), byUser(want))
		})
		v.awaitAfterOutage(want)
	}},
}

// awaitAfterOutage is want of a view that reads anew when a change is missing, as nodes do, and
// for as long as reading fails.
func (v *hereView) awaitAfterOutage(members []broker.Member) {
	last := 0
	v.x.await("who watches had learned of all changes, or that some are lost", func() bool {
		changes := v.changes(v.channel)
		if len(changes) == last {
			return sameMembers(v.members, byUser(members))
		}
		h, err := v.tryRead(v.channel, allMembers)
		v.x.wantOutage("ReadHere", err)
		if err == nil {
			last, v.members = len(changes), byUser(h.Members)
		}
		return false
	})
}
