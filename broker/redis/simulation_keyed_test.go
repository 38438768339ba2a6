package redis

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// simKept is for how long outcomes are kept, by far longer than faults last.
const simKept = 10 * time.Minute

// hint is told news. Nodes of a simulation read now and then anyway.
func (n *simNode) hint([]broker.CallKey) {}

// callKeyed makes a call with a key and waits for its outcome, as another node does that
// joins it. Where the call may run again, the two nodes take turns to make it anew as long as
// it comes to nothing.
func (n *simNode) callKeyed(other *simNode, uri string, timeout, work time.Duration, repeat bool) {
	books := n.sim.books
	c := books.call(n, uri, timeout, work, 0)
	args, _ := json.Marshal(simArgs{c.number, work, 0})
	key := broker.NewCallKey(uri, "sim", strconv.Itoa(c.number))
	a := broker.Attachment{
		Call:  &broker.Call{URI: uri, Key: key, Timeout: timeout, Args: args},
		Owner: broker.NewCallKey(uri, "sim", ""), MaxOwned: 1 << 20, Keep: simKept, Repeat: repeat,
	}
	told, err := n.attach(c, &a, other)
	for again := 1; repeat && again < simAttempts && err == nil && cameToNothing(told); again++ {
		n, other = other, n
		c = books.callAgain(n, c)
		told, err = n.attach(c, &a, other)
	}
	if err == nil {
		books.mu.Lock()
		defer books.mu.Unlock()
		books.kept = append(books.kept, simRecord{c, key, told})
	}
}

// simAttempts is how often a call is made that may run again.
const simAttempts = 3

// cameToNothing reports whether a call had no outcome in time, or its callee was lost.
func cameToNothing(told broker.CallRecord) bool {
	return told.State == broker.CallRunning ||
		told.State == broker.CallDone && told.Result.Err != nil && told.Result.Err.Code == broker.CodeCalleeLost
}

// attach makes a call and returns what this node is told of it, which the other one is, too.
func (n *simNode) attach(c *simCall, a *broker.Attachment, other *simNode) (told broker.CallRecord, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	books := n.sim.books
	err = n.caller.Attach(ctx, a)
	books.called(c, err)
	if err != nil {
		return told, err
	}
	told = n.follow(c, a.Call.Key)
	switch told.State {
	case broker.CallDone:
		books.outcome(c.number, told.Result)
	default:
		books.expired(c)
	}
	books.compare(c, told, other.follow(c, a.Call.Key))
	return told, nil
}

// callAgain notes the next attempt of a call, which is a call of its own in the books.
func (b *simBooks) callAgain(n *simNode, before *simCall) *simCall {
	c := b.call(n, before.uri, before.timeout, before.work, 0)
	b.mu.Lock()
	defer b.mu.Unlock()
	before.next, c.attempt = c, before.attempt+1
	return c
}

// attempt returns the number of an attempt of a call with a key: the last one that was made,
// if Redis has counted otherwise as it lost data.
func (b *simBooks) attempt(number, attempt int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.calls[number]
	for ; attempt > 1 && c.next != nil; attempt-- {
		c = c.next
	}
	return c.number
}

// A simRecord is what a node was told of a call with a key.
type simRecord struct {
	call *simCall
	key  broker.CallKey
	told broker.CallRecord
}

// followAll asks once more what was told of all calls with keys.
func (s *simulation) followAll() {
	for _, k := range s.books.kept {
		s.books.compare(k.call, k.told, s.nodes[0].follow(k.call, k.key))
	}
}

// follow waits for the outcome of a call as a server does for a client: what it returns is
// CallDone with an outcome in time, CallRunning, for 408, or CallGone.
func (n *simNode) follow(c *simCall, key broker.CallKey) broker.CallRecord {
	for {
		read, record := []broker.CallRead{{URI: c.uri, Key: key}}, make([]broker.CallRecord, 1)
		n.caller.ReadCalls(context.Background(), read, record)
		r := record[0]
		switch {
		case r.Err != nil:
		case r.State == broker.CallDone && (r.Late || r.Result.Err != nil && r.Result.Err.Code == errTimeOver.Code),
			r.State == broker.CallRunning && r.Left == 0:
			return broker.CallRecord{State: broker.CallRunning}
		case r.State == broker.CallGone, r.State == broker.CallDone:
			return r
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// compare notes that two nodes were told of one call what they were. Where data may be lost,
// or clocks are set, it may differ.
func (b *simBooks) compare(c *simCall, one, two broker.CallRecord) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.troubles {
		if t.mayForget() && (t.to.IsZero() || c.began.Before(t.to.Add(simRecovery))) {
			return
		}
	}
	same := one.State == two.State && string(one.Result.Args) == string(two.Result.Args)
	if one.Result.Err != nil && two.Result.Err != nil {
		same = same && one.Result.Err.Code == two.Result.Err.Code
	} else {
		same = same && one.Result.Err == two.Result.Err
	}
	if !same {
		b.violated("two nodes were told %+v and %+v of %v", one, two, c)
	}
	if one.State == broker.CallDone && one.Result.Err == nil && string(one.Result.Args) != strconv.Itoa(c.number) {
		b.violated("told %s, of another attempt than %v", one.Result.Args, c)
	}
	if one.State == broker.CallGone {
		b.violated("what is kept is gone of %v", c)
	}
}

// mayForget reports whether a fault may have Redis forget, or bring back, what is kept of
// calls, or set its clock.
func (t *simTrouble) mayForget() bool { return t.loses && t.kills == "" || t.doubles || t.evicts }
