package redis_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

var failovers = flag.Int("failovers", 3, "how often TestFailoversAudited has a replica take over that lacks the newest events")

// What is published while the connection for events is lost, or the link is, comes when it
// is there again: in order, once, and without a gap.
func TestHealsAfterLostConnection(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	publisher := newBroker(t, quick(withAddr(server.Addr), redis.WithHistory(auditRule))...)
	b := newBroker(t, quick(withAddr(proxy.Addr), redis.WithHistory(auditRule))...)
	a := newAuditor(t)
	busy, quiet, idle := "audited.busy", "audited.quiet", "audited.idle"
	s := a.subscribe(b, busy, quiet, idle)
	for round, fail := range []func() (mend func()){
		func() func() { server.Do("CLIENT", "KILL", "TYPE", "pubsub"); return func() {} },
		func() func() { proxy.Cut(); return proxy.Restore },
		func() func() { proxy.CutOnce(); return func() {} },
	} {
		mend := fail()
		for i := range 1500 { // more than a page
			a.publish(publisher, busy, fmt.Sprint(round, " ", i))
		}
		a.publish(publisher, quiet, fmt.Sprint("quiet ", round))
		mend()
		await(t, "what was missed comes", func() bool {
			return s.has(quiet, fmt.Sprint("quiet ", round)) && s.has(busy, fmt.Sprint(round, " 1499"))
		})
	}
	a.publish(publisher, idle, "idle")
	await(t, "a channel that was idle goes on", func() bool { return s.has(idle, "idle") })
	for _, c := range []string{busy, quiet, idle} {
		if lost := a.audit(publisher, s, c); lost > 0 || s.gaps(c) > 0 {
			t.Errorf("%s: %d events were lost, %d gaps told", c, lost, s.gaps(c))
		}
	}
	if st := b.Stats(); st.Healed == 0 || st.Gaps > 0 {
		t.Errorf("counted: %+v", st)
	}
}

// Where the log cannot prove what was missed there is a gap, and it goes on behind it.
func TestGapWhereNothingIsProved(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, quick(withAddr(server.Addr), redis.WithHistory(auditRule))...)
	a := newAuditor(t)
	for name, harm := range map[string]func(channel string){
		"flushed":      func(string) { server.Do("FLUSHALL") },
		"pos deleted":  func(c string) { server.Do("DEL", "juggler:{0.0}:pos:"+c) },
		"log deleted":  func(c string) { server.Do("DEL", "juggler:{0.0}:log:"+c) },
		"plain events": func(c string) { server.Do("PUBLISH", "juggler:event:"+c, "E"+strings.Repeat("\x00", 20)+"plain") },
	} {
		c := "audited." + strings.ReplaceAll(name, " ", "-")
		s := a.subscribe(b, c)
		a.publish(b, c, "before")
		await(t, "the first event comes", func() bool { return s.has(c, "before") })
		harm(c)
		a.publish(b, c, "after")
		await(t, "the second event comes", func() bool { return s.has(c, "after") })
		gaps, want := s.gaps(c), 1
		if name == "log deleted" {
			want = 0 // nothing is missing in what was delivered
		}
		if gaps != want {
			t.Errorf("%s: %d gaps, want %d: %+v", name, gaps, want, s.deliveries(c))
		}
	}
}

// Who joins a channel while others publish, leaves it and joins again, gets what follows the
// position that he was told, and nothing of before.
func TestStartsOfSubscriptions(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, quick(withAddr(server.Addr), redis.WithHistory(auditRule))...)
	publisher := newBroker(t, quick(withAddr(server.Addr), redis.WithHistory(auditRule))...)
	a := newAuditor(t)
	const c = "audited.joined"
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				a.publish(publisher, c, fmt.Sprint(i))
			}
		}
	})
	var joins sync.WaitGroup
	var known atomic.Int32 // starts: a machine that is busy may keep Redis from telling one in time
	for range 4 {
		joins.Go(func() {
			s := a.subscribe(b)
			for range 25 {
				start, err := s.conn.(broker.HistorySubscriber).SubscribeKept(t.Context(), c)
				if err != nil {
					t.Error(err)
					return
				}
				s.mu.Lock()
				n := len(s.got[c]) // the callback may have been called already
				s.mu.Unlock()
				await(t, "events come", func() bool { return len(s.deliveries(c)) > n })
				s.conn.Unsubscribe(t.Context(), broker.Topic{Name: c}) //nolint:errcheck // never fails
				if start.IsZero() {
					continue
				}
				known.Add(1)
				for _, d := range s.deliveries(c) {
					if d.Pos.At > start.At && !d.Gap {
						if d.Pos.At != start.At+1 {
							t.Errorf("the first delivery after %v is %v", start, d.Pos)
						}
						break
					}
				}
			}
		})
	}
	joins.Wait()
	close(done)
	all.Wait()
	if n := known.Load(); n < 50 {
		t.Errorf("where the channel stood was known %d times of 100", n)
	}
}

// A replica takes over that lacks the newest events, whose numbers are given out again, and
// a subscriber may have been cut off that had none of them. Nobody is told that nothing was
// lost.
func TestFailoversAudited(t *testing.T) {
	t.Parallel()
	args := []string{"--repl-diskless-sync-delay", "0"}
	master, replica := redistest.Start(t, args...), redistest.Start(t, args...)
	proxy, cut := redistest.StartProxy(t, master.Addr), redistest.StartProxy(t, master.Addr)
	via := func(p *redistest.Proxy) *redis.Broker {
		return newBroker(t, quick(withAddr(p.Addr), redis.WithHistory(auditRule))...)
	}
	publisher, node, away := via(proxy), via(proxy), via(cut)
	a := newAuditor(t)
	events, lost, gaps := 0, 0, 0
	for round := range *failovers {
		follow(t, replica, master)
		channels := []string{fmt.Sprint("audited.a", round), fmt.Sprint("audited.b", round), fmt.Sprint("audited.c", round)}
		near, far, missing := a.subscribe(publisher, channels...), a.subscribe(node, channels...), a.subscribe(away, channels...)
		stop := a.publishUntilStopped(publisher, channels[:2]...) // the third is quiet
		a.publish(publisher, channels[2], "before")
		await(t, "events come", func() bool { return far.has(channels[2], "before") && near.has(channels[2], "before") })
		if round%2 == 0 {
			cut.Cut()
		}
		replica.Do("REPLICAOF", "NO", "ONE")
		for range rand.IntN(3) {
			a.publish(publisher, channels[2], "lost")
		}
		n := len(far.deliveries(channels[0]))
		await(t, "events come that the replica lacks", func() bool { return len(far.deliveries(channels[0])) > n+rand.IntN(20) })
		for _, p := range []*redistest.Proxy{cut, proxy} {
			p.Retarget(replica.Addr)
			p.CutOnce()
			p.Restore()
		}
		stop()
		for _, c := range channels {
			a.end(publisher, c, near, far, missing)
			for _, s := range []*audited{near, far, missing} {
				lost += a.audit(publisher, s, c)
				gaps += s.gaps(c)
				events += len(s.deliveries(c))
			}
		}
		for _, s := range []*audited{near, far, missing} {
			s.conn.Close()
		}
		master, replica = replica, master
	}
	t.Logf("%d failovers: %d deliveries, %d gaps; %d confirmed events were lost, counted for each subscriber", *failovers, events, gaps, lost)
}

// publishUntilStopped publishes on channels, concurrently. stop returns when all have ended.
func (a *auditor) publishUntilStopped(b *redis.Broker, channels ...string) (stop func()) {
	quit := make(chan struct{})
	var all sync.WaitGroup
	for _, c := range channels {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-quit:
					return
				default:
					a.publish(b, c, fmt.Sprint(i))
				}
			}
		})
	}
	return func() {
		close(quit)
		all.Wait()
	}
}

// follow makes a server the replica of another, with all that it has.
func follow(t *testing.T, replica, master *redistest.Server) {
	t.Helper()
	host, port, _ := strings.Cut(master.Addr, ":")
	replica.Do("REPLICAOF", host, port)
	c := replica.Client()
	await(t, "the replica has all", func() bool {
		return strings.Contains(c.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
}
