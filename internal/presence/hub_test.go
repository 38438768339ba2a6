package presence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/juggler-go/juggler/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const grace = 10 * time.Second

// settle waits for d, and until all is done.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Whatever comes and goes on three nodes, whatever the engine loses, however slow it is: in
// the end each who asks knows who is there, those who came or left are told of in turn, and
// nothing is left when all are gone.
func TestAllKnowWhoIsThere(t *testing.T) {
	for seed := range uint64(60) {
		simulate(t, func(t *testing.T, e *engine) {
			random := rand.New(rand.NewPCG(seed, 2))
			const most = 5
			nodes := []*node{newNode(t, e, grace, most), newNode(t, e, 0, most), newNode(t, e, grace, most)}
			fate := rand.New(rand.NewPCG(seed, 3)) // of the engine, whose lock is held
			e.loses = func() bool { return fate.IntN(20) == 0 }
			e.delay = func() time.Duration { return time.Duration(fate.IntN(300)) * time.Millisecond }
			type session struct {
				n             *node
				channel, user string
			}
			var sessions []session
			users := 4 + random.IntN(12)
			for range 400 {
				n := nodes[random.IntN(3)]
				channel := fmt.Sprint("c", random.IntN(2))
				switch random.IntN(12) {
				case 0, 1, 2:
					s := session{n, channel, fmt.Sprint("u", random.IntN(users))}
					n.Enter(s.channel, s.user, fmt.Appendf(nil, "%d", random.IntN(2)))
					sessions = append(sessions, s)
				case 3, 4, 5:
					if len(sessions) > 0 {
						i := random.IntN(len(sessions))
						s := sessions[i]
						s.n.Leave(s.channel, s.user, random.IntN(3) == 0)
						sessions = slices.Delete(sessions, i, i+1)
					}
				case 6:
					go func() {
						if _, err := n.ask(t.Context(), channel); err != nil && !errors.Is(err, broker.ErrUnavailable) {
							t.Errorf("Ask: %v", err)
						}
					}()
				case 7:
					n.mu.Lock()
					all := slices.Collect(maps.Keys(n.askers))
					n.mu.Unlock()
					if len(all) > 0 {
						n.leave(all[0])
					}
				case 8:
					e.set(func() { e.down = random.IntN(4) == 0 })
				case 9:
					e.confess()
				case 10:
					if random.IntN(10) == 0 {
						e.restart()
					}
				case 11:
					time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
				}
			}
			e.set(func() { e.down, e.loses = false, func() bool { return false } })
			e.confess()
			settle(time.Minute)
			for i, n := range nodes {
				for a := range n.askers {
					e.set(func() {
						ch := e.channel(a.channel)
						if a.count != len(ch.members) {
							t.Errorf("seed %d: node %d: %d users are in %s, told are %d", seed, i, len(ch.members), a.channel, a.count)
						}
						if want := len(ch.members) <= most; want != (a.list != nil) {
							t.Errorf("seed %d: node %d: of %d users those are told: %v", seed, i, len(ch.members), a.list)
						}
						if a.list != nil && !maps.EqualFunc(a.list, ch.members, func(m broker.Member, at map[*engineConn]broker.Member) bool {
							return m.Sessions == sum(m.User, at).Sessions
						}) {
							t.Errorf("seed %d: node %d: told are %v of %s, there are %v", seed, i, a.list, a.channel, ch.members)
						}
					})
				}
			}
			for _, s := range sessions {
				s.n.Leave(s.channel, s.user, false)
			}
			for _, n := range nodes {
				for a := range maps.Clone(n.askers) {
					n.leave(a)
				}
			}
			settle(time.Minute)
			for i, n := range nodes {
				if c := n.Counts(); c.Members != 0 || c.Watched != 0 || len(n.channels) != 0 {
					t.Errorf("seed %d: node %d has kept %+v, %d channels", seed, i, c, len(n.channels))
				}
				if len(n.conn.watched) != 0 {
					t.Errorf("seed %d: node %d watches %v still", seed, i, n.conn.watched)
				}
			}
			e.set(func() {
				for name, ch := range e.channels {
					if len(ch.members) > 0 {
						t.Errorf("seed %d: %d users are left in %s", seed, len(ch.members), name)
					}
				}
			})
		})
	}
}

// Who comes back within the grace was never away, and who has 100 sessions is there once.
func TestGrace(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine) {
		n := newNode(t, e, grace, 100)
		a, err := n.ask(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			n.Enter("c", "ann", nil)
		}
		settle(time.Second)
		if k := n.knows(a); k.count != 1 || k.list["ann"].Sessions != 100 {
			t.Fatalf("100 sessions of a user are %d users: %v", k.count, k.list)
		}
		told := n.told()
		for range 5 {
			for range 100 {
				n.Leave("c", "ann", false)
			}
			settle(grace - time.Second)
			for range 100 {
				n.Enter("c", "ann", nil)
			}
		}
		settle(grace)
		if n.told() != told {
			t.Errorf("it was told that a user was away for less than the grace: %+v", n.notices[told:])
		}
		for range 99 {
			n.Leave("c", "ann", false)
		}
		settle(grace / 2)
		n.Leave("c", "ann", false)
		settle(grace/2 + time.Second)
		if got := n.knows(a).list["ann"].Sessions; got != 1 {
			t.Errorf("%d sessions, want the one whose grace is not over", got)
		}
		settle(grace)
		if k := n.knows(a); k.count != 0 || len(k.list) != 0 {
			t.Errorf("when the last grace is over %v are there", k.list)
		}
		if want := []string{"c ann"}; !slices.Equal(n.first, want) || !slices.Equal(n.last, want) {
			t.Errorf("first in %v, last out %v, want one each", n.first, n.last)
		}
	})
}

// 10,000 come within a second: the notices are four a second, and what is kept for those who
// ask is bounded. When they are few again the whole list is told.
func TestStorm(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine) {
		n, other := newNode(t, e, 0, 100), newNode(t, e, 0, 100)
		a, err := other.ask(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10_000 {
			n.Enter("c", fmt.Sprint("u", i), nil)
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
			if k := other.knows(a); len(k.list) > 100 {
				t.Fatalf("%d users are listed", len(k.list))
			}
			other.Hub.mu.Lock()
			if c := other.channels["c"]; len(c.list) > 200 || len(c.told.changed) > 400 || len(c.early) > maxEarly {
				t.Fatalf("kept are %d users, %d changed, %d changes", len(c.list), len(c.told.changed), len(c.early))
			}
			other.Hub.mu.Unlock()
		}
		settle(time.Second)
		if got := other.told(); got > 10 {
			t.Errorf("%d notices in two seconds, want 4 a second", got)
		}
		if k := other.knows(a); k.count != 10_000 || k.list != nil {
			t.Errorf("told are %d users, and %d by name", k.count, len(k.list))
		}
		for i := range 9_950 {
			n.Leave("c", fmt.Sprint("u", i), false)
		}
		settle(time.Second)
		if k := other.knows(a); k.count != 50 || len(k.list) != 50 {
			t.Errorf("told are %d users, and %d by name, want 50", k.count, len(k.list))
		}
		var reads int
		e.set(func() { reads = e.reads })
		if reads > 5 {
			t.Errorf("the list was read %d times", reads)
		}
	})
}

// One read is enough for all who ask at once, and while the engine does not answer they
// wait, each for its own time.
func TestOneReadForAll(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine) {
		n := newNode(t, e, grace, 100)
		e.blocked = make(chan struct{})
		errs := make(chan error, 100)
		for range 100 {
			go func() {
				_, err := n.ask(t.Context(), "c")
				errs <- err
			}()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.ask(ctx, "c"); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("Ask without an answer of the engine: %v", err)
		}
		close(e.blocked)
		for range 100 {
			if err := <-errs; err != nil {
				t.Errorf("Ask: %v", err)
			}
		}
		if e.reads != 1 {
			t.Errorf("%d reads for 100 who ask at once", e.reads)
		}
	})
}

// While the engine is out of reach who asks is refused, and who has asked keeps what it
// knows, until the list can be read again.
func TestEngineOutOfReach(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine) {
		n, other := newNode(t, e, 0, 100), newNode(t, e, 0, 100)
		a, err := n.ask(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		e.set(func() { e.down, e.loses = true, func() bool { return true } })
		other.Enter("c", "ann", nil)
		if _, err := other.ask(t.Context(), "d"); !errors.Is(err, broker.ErrUnavailable) || !errors.Is(err, errDown) {
			t.Errorf("Ask: %v", err)
		}
		e.confess()
		settle(time.Minute)
		if k := n.knows(a); k.count != 0 {
			t.Errorf("%d users are there, though nobody could tell", k.count)
		}
		var reads int
		e.set(func() { reads = e.reads })
		if reads > 20 {
			t.Errorf("%d reads in a minute without an answer", reads)
		}
		e.set(func() { e.down = false })
		settle(longestPause + time.Second)
		if k := n.knows(a); k.count != 1 || len(k.list) != 1 {
			t.Errorf("%d users are there, by name %v, want 1", k.count, k.list)
		}
	})
}

// A change that never came is found by the number of the next one.
func TestHole(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine) {
		n, other := newNode(t, e, 0, 100), newNode(t, e, 0, 100)
		a, err := n.ask(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		e.set(func() { e.loses = func() bool { return true } })
		other.Enter("c", "ann", nil)
		e.set(func() { e.loses = func() bool { return false } })
		other.Enter("c", "bob", nil)
		settle(time.Second)
		if k := n.knows(a); k.count != 2 || len(k.list) != 2 {
			t.Errorf("told are %v, want two", k.list)
		}
		if n.notices[len(n.notices)-1].Members == nil {
			t.Error("after a hole the whole list is not told")
		}
	})
}

// Who asks is there, although the engine does not say so yet.
func TestSnapshotHasWhoAsks(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine) {
		n := newNode(t, e, 0, 2)
		check := func(user string, want string, wantCount int) {
			t.Helper()
			got, count, _ := n.Snapshot("c", user)
			if string(got) != want || count != wantCount {
				t.Errorf("got %s and %d, want %s and %d", got, count, want, wantCount)
			}
		}
		if _, err := n.ask(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
		check("", `[]`, 0)
		check("ann", `[]`, 0)
		e.set(func() { e.loses = func() bool { return true } }) // for now
		n.Enter("c", "ann", []byte(`{"a":1}`))
		synctest.Wait()
		check("", `[]`, 0)
		check("ann", `[{"user":"ann","n":1,"info":{"a":1}}]`, 1)
		n.Enter("c", "bob", nil)
		synctest.Wait()
		check("bob", `[{"user":"bob","n":1}]`, 1)
		e.set(func() { e.loses = func() bool { return false } })
		e.confess()
		settle(time.Second)
		check("ann", `[{"user":"ann","n":1,"info":{"a":1}},{"user":"bob","n":1}]`, 2)
		e.set(func() { e.loses = func() bool { return true } })
		n.Enter("c", "cid", nil)
		synctest.Wait()
		check("bob", `[{"user":"ann","n":1,"info":{"a":1}},{"user":"bob","n":1}]`, 2)
		check("cid", ``, 3)
	})
}

// Who was told of somebody by a snapshot before the notice learns that he is gone, also if
// nobody else knows of him.
func TestShownAndGone(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine) {
		n := newNode(t, e, 0, 10)
		early, err := n.ask(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		n.Enter("c", "ann", nil)
		synctest.Wait() // a notice: the next one has to wait
		n.Enter("c", "bob", nil)
		synctest.Wait()
		late, err := n.ask(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		if k := n.knows(late); len(k.list) != 2 {
			t.Fatalf("who asks is told of %v", k.list)
		}
		n.Leave("c", "bob", false)
		settle(time.Second)
		for _, a := range []*asker{early, late} {
			if k := n.knows(a); len(k.list) != 1 || k.count != 1 {
				t.Errorf("told are %v, %d", k.list, k.count)
			}
		}
	})
}

// A list that is longer than what may be told is not, whatever the number of users.
func TestLongList(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine) {
		n := newNode(t, e, 0, 10)
		n.cfg.Bytes = 200
		a, err := n.ask(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		n.Enter("c", "ann", nil)
		settle(time.Second)
		if k := n.knows(a); len(k.list) != 1 {
			t.Errorf("told are %v", k.list)
		}
		n.Enter("c", strings.Repeat("b", 100), nil)
		settle(time.Second)
		if k := n.knows(a); k.list != nil || k.count != 2 {
			t.Errorf("told are %v, %d", k.list, k.count)
		}
		n.Leave("c", strings.Repeat("b", 100), false)
		settle(time.Second)
		if k := n.knows(a); len(k.list) != 1 || k.count != 1 {
			t.Errorf("told are %v, %d", k.list, k.count)
		}
	})
}

// Info that changes is put, and that which does not is not.
func TestInform(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine) {
		n := newNode(t, e, 0, 2)
		n.Enter("c", "ann", []byte(`1`))
		puts := e.puts
		n.Inform("c", "ann", []byte(`1`))
		n.Inform("c", "bob", []byte(`1`))
		n.Inform("d", "ann", []byte(`1`))
		if e.puts != puts {
			t.Error("the same info was put again")
		}
		n.Inform("c", "ann", []byte(`2`))
		here, err := n.Read(t.Context(), "c")
		if err != nil || len(here.Members) != 1 || string(here.Members[0].Info) != `2` {
			t.Errorf("got %+v, %v", here, err)
		}
	})
}

// After Close nobody waits, and nothing is put.
func TestClose(t *testing.T) {
	simulate(t, func(t *testing.T, e *engine) {
		n := newNode(t, e, grace, 2)
		n.Enter("c", "ann", nil)
		n.Leave("c", "ann", false)
		e.blocked = make(chan struct{})
		done := make(chan error)
		go func() { done <- n.Ask(context.Background(), "c", 0) }()
		synctest.Wait()
		puts := e.puts
		n.Close()
		if err := <-done; !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("Ask of a hub that was closed: %v", err)
		}
		n.Enter("c", "bob", nil)
		settle(time.Minute)
		if e.puts != puts {
			t.Error("something was put after Close")
		}
	})
}
