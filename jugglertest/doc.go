// Package jugglertest runs a whole juggler system in one test: handler,
// embedded broker, clients and callees in one process, over a network in
// memory, with nothing to install.
//
//	func TestAdd(t *testing.T) {
//		srv := jugglertest.New(t)
//		srv.Handle("math.add", calleekit.Typed(add))
//		c := srv.Client()
//		var sum int
//		if err := c.Call(t.Context(), "math.add", []int{1, 2}, &sum); err != nil || sum != 3 {
//			t.Errorf("got %d, %v", sum, err)
//		}
//	}
//
// # Time
//
// A Server also works in a bubble of testing/synctest, if it is made and used there.
// Timeouts, pings and expiry then take no real time and happen in their order. If two
// are due at the same moment, such as the end of a call's time at the server and that
// of a context at the client, either may come first.
//
// # Faults
//
// [Broker.Down] makes the broker unreachable, [Server.Drop] breaks the
// connection of a client, [Server.Stall] makes a client stop reading.
//
// Events get lost in three ways: [Broker.Miss] has subscribers miss the next ones of a
// channel; and where history is kept ([NewWithHistory]), [Broker.Forget] drops what a
// client needs that comes back, and [Broker.Rollback] loses the newest events of a channel
// for all, as a failover of Redis may.
//
// An answer in parts breaks in the midst by [Broker.LoseParts], and stands still for a
// while by [Broker.LoseGrants]. Of calls with keys [Broker.LoseNews] loses word of what has
// come, and [Broker.LoseCall] what is kept.
//
// # Leaks
//
// When the test ends everything is closed, and the test fails if a session or
// a goroutine of the system is left. Goroutines are told apart by a profiler
// label (runtime/pprof), so tests may run in parallel; those that the test
// itself starts after New count as well.
package jugglertest
