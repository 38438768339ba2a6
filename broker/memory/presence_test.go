package memory_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
)

// A hereNode is a connection to a Presence, with what it was told.
type hereNode struct {
	broker.PresenceConn
	t *testing.T

	mu   sync.Mutex // guards the following
	told []broker.HereChange
	hold chan struct{} // the callback waits until it is closed, if not nil
}

func newHereNode(t *testing.T, b *memory.Broker) *hereNode {
	t.Helper()
	n := &hereNode{t: t}
	var err error
	n.PresenceConn, err = b.OpenPresence(t.Context(), broker.NewID(), func(changes []broker.HereChange) {
		n.mu.Lock()
		n.told = append(n.told, changes...)
		hold := n.hold
		n.mu.Unlock()
		if hold != nil {
			<-hold
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *hereNode) put(channel, user string, sessions int) {
	n.Put(channel, []broker.Member{{User: user, Sessions: sessions}})
}

func (n *hereNode) watch(channel string) {
	n.t.Helper()
	if err := n.Watch(n.t.Context(), channel); err != nil {
		n.t.Fatal(err)
	}
}

func (n *hereNode) read(channel string) broker.Here {
	n.t.Helper()
	h, err := n.ReadHere(n.t.Context(), channel, 1<<20)
	if err != nil {
		n.t.Fatal(err)
	}
	return h
}

// wantTold waits until all is told, and compares it.
func (n *hereNode) wantTold(want ...broker.HereChange) {
	n.t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.EqualFunc(n.told, want, func(a, b broker.HereChange) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		n.t.Errorf("told were %v, want %v", n.told, want)
	}
	n.told = nil
}

// One Put is one change, whatever is in it, and no change if it changes nothing.
func TestPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		n, other := newHereNode(t, b), newHereNode(t, b)
		other.watch("c")
		info := []byte(`"i"`)
		n.Put("c", []broker.Member{{User: "a", Sessions: 2, Info: info}, {User: "", Sessions: 1}, {User: "b", Sessions: 1}, {User: "b", Sessions: 0}, {User: "d", Sessions: -1}})
		info[1] = 'x'
		want := broker.HereChange{Channel: "c", Number: 1, Count: 1, Joined: []broker.Member{{User: "a", Sessions: 2, Info: []byte(`"i"`)}}}
		other.wantTold(want)
		want.Mine = true
		n.wantTold(want)
		n.Put("c", []broker.Member{{User: "a", Sessions: 1}, {User: "a", Sessions: 2, Info: []byte(`"i"`)}})
		n.Put("c", nil)
		n.Put("c", []broker.Member{{User: "b", Sessions: 0}})
		other.wantTold()
		n.wantTold()
		other.Put("c", []broker.Member{{User: "a", Sessions: 3, Info: bytes.Repeat([]byte("1"), broker.MaxMemberInfo+1)}, {User: "b", Sessions: 1, Info: []byte{}}})
		other.wantTold(broker.HereChange{Channel: "c", Number: 2, Count: 2, Mine: true,
			Joined: []broker.Member{{User: "b", Sessions: 1}}, Changed: []broker.Member{{User: "a", Sessions: 5}}})
		n.wantTold()
	})
}

// A node that closes leaves all channels, and another one is told that the change is its own.
func TestPresenceCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		first, watcher, n := newHereNode(t, b), newHereNode(t, b), newHereNode(t, b)
		watcher.watch("c.1")
		const channels = 200 // more than one turn takes
		for i := range channels {
			n.put(fmt.Sprint("c.", i), "a", 1)
		}
		first.put("c.2", "a", 1)
		if here := b.Stats().Present; here != channels {
			t.Errorf("%d users are present, want %d", here, channels)
		}
		synctest.Wait()
		first.told, watcher.told = nil, nil
		n.Close()
		watcher.wantTold(broker.HereChange{Channel: "c.1", Number: 2, Left: []string{"a"}, Mine: true})
		synctest.Wait()
		got := make(map[string]int)
		for _, c := range first.told {
			if got[c.Channel]++; !c.Mine {
				t.Errorf("told was %v", c)
			}
		}
		if len(got) != channels-1 || got["c.1"] > 0 || slices.Max(slices.Collect(maps.Values(got))) > 1 {
			t.Errorf("the first node was told of %v", got)
		}
		if h := first.read("c.2"); h.Count != 1 || b.Stats().Present != 1 {
			t.Errorf("who is left is %v, of %d", h, b.Stats().Present)
		}
	})
}

// Nothing is left of a channel that nobody is in or watches, and its numbers do not come again.
func TestPresenceForgetsChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		n, other := newHereNode(t, b), newHereNode(t, b)
		var last uint64
		for i := range 10 {
			channel := fmt.Sprint("c.", i%2)
			n.put(channel, "a", 1)
			other.watch(channel)
			n.put(channel, "a", 0)
			if h := n.read(channel); h.Number <= last || h.Count > 0 {
				t.Errorf("the channel is at %v, after %d", h, last)
			} else {
				last = h.Number
			}
			other.Unwatch(channel)
			other.Unwatch(channel)
			n.put(channel, "a", 0)
			if channels := b.HeldChannels(); channels > 0 {
				t.Fatalf("%d channels are held", channels)
			}
			if h := n.read(channel); h.Number < last {
				t.Errorf("the channel is at %v, after %d", h, last)
			}
		}
	})
}

// Who does not take changes holds nobody up, and learns that some of what it watches are lost,
// before those that come after. Changes of others that wait meanwhile are bounded.
func TestSlowWatcher(t *testing.T) {
	for members, rounds := range map[int]int{1: memory.MaxChanges + 100, 500: 50} {
		t.Run(fmt.Sprint(members), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t)
				n, slow := newHereNode(t, b), newHereNode(t, b)
				slow.hold = make(chan struct{})
				slow.watch("c")
				slow.watch("quiet")
				slow.put("other", "a", 1)
				synctest.Wait() // now it waits
				users := make([]broker.Member, members)
				for i := range rounds {
					for j := range users {
						users[j] = broker.Member{User: fmt.Sprint(j), Sessions: i%7 + 1}
					}
					n.Put("c", users)
					slow.put("other", "a", i%2)
				}
				changes, waiting, lost := slow.HeldChanges()
				if changes > memory.MaxChanges || waiting > memory.MaxChangedMembers || lost != 1 {
					t.Errorf("%d changes of %d members wait, and %d channels are lost", changes, waiting, lost)
				}
				close(slow.hold)
				synctest.Wait()
				slow.told = slow.told[1:]
				if first := slow.told[0]; !first.Lost || first.Channel != "c" || first.Number > 0 || first.Mine {
					t.Errorf("first is told %v, want that c is lost", first)
				}
				for _, c := range slow.told[1:] {
					if c.Lost || c.Channel == "c" {
						t.Fatalf("told was %v", c)
					}
				}
				slow.told = nil
				n.put("c", "new", 1)
				slow.wantTold(broker.HereChange{Channel: "c", Number: uint64(rounds) + 1, Count: members + 1, Joined: []broker.Member{{User: "new", Sessions: 1}}})
			})
		})
	}
}

func (n *hereNode) HeldChanges() (changes, members, lost int) {
	return memory.HeldChanges(n.PresenceConn)
}

// Close of the broker ends all, tells nothing, and waits for callbacks.
func TestPresenceOfAClosedBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		n, slow := newHereNode(t, b), newHereNode(t, b)
		slow.hold = make(chan struct{})
		slow.watch("c")
		n.put("c", "a", 1)
		synctest.Wait()
		n.put("c", "b", 1)
		synctest.Wait()
		n.told, slow.told = nil, nil
		closed := make(chan struct{})
		go func() {
			b.Close()
			close(closed)
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close returned while a callback runs")
		default:
		}
		close(slow.hold)
		<-closed
		n.Put("c", []broker.Member{{User: "d", Sessions: 1}})
		n.Unwatch("c")
		slow.Unwatch("c")
		_, err := n.ReadHere(context.Background(), "c", 1)
		_, open := b.OpenPresence(context.Background(), broker.NewID(), func([]broker.HereChange) {})
		for _, err := range []error{err, open, n.Watch(t.Context(), "c"), n.Flush(t.Context())} {
			if err != broker.ErrClosed {
				t.Errorf("after Close: %v, want ErrClosed", err)
			}
		}
		n.Close()
		slow.Close()
		slow.wantTold()
		if here := b.Stats().Present; here > 0 {
			t.Errorf("%d are present", here)
		}
	})
}

// Nodes come, put, watch, read and go, and the broker closes amid that: nothing hangs, panics or
// is left.
func TestPresenceInterleavings(t *testing.T) {
	b := newBroker(t)
	var nodes sync.WaitGroup
	for i := range 6 {
		nodes.Go(func() {
			for round := 0; ; round++ {
				n, err := b.OpenPresence(context.Background(), broker.NewID(), func([]broker.HereChange) {})
				if err != nil {
					return
				}
				for j := range 100 {
					channel := fmt.Sprint(j) // more channels than a node leaves in one turn
					n.Put(channel, []broker.Member{{User: fmt.Sprint(i), Sessions: 1 + j%3}, {User: "all", Sessions: j % 2}})
					n.Watch(context.Background(), fmt.Sprint(j+i))
					n.ReadHere(context.Background(), channel, 5)
					n.Unwatch(channel)
				}
				if round%2 == 0 {
					go n.Close()
				}
				n.Close()
				if round == 20 && i == 0 {
					b.Close()
				}
			}
		})
	}
	nodes.Wait()
	if channels := b.HeldChannels(); channels > 0 || b.Stats().Present > 0 {
		t.Errorf("%d channels and %d users are left", channels, b.Stats().Present)
	}
}
