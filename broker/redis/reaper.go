package redis

import (
	"context"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A reaper reports the calls of one node to one lane whose callee died, and those that
// wait for a URI without callees: a goroutine, from start to stop, that looks four times
// in a lease. Each node looks for its own calls only, so a loss is reported without a
// detour over the server, and a dead node's calls cost nothing; calls with keys are seen to
// by all nodes.
type reaper struct {
	conn    *callerConn
	lane    *lane
	ctx     context.Context // ends with stop
	cancel  context.CancelFunc
	stopped chan struct{}

	// reaped are the dead callees whose calls were reported, with the end of their
	// lease: they take no more.
	reaped map[string]string

	unserved unserved
}

// A deadCallee is one whose lease is over.
type deadCallee struct {
	name   string
	lease  string // its end, as the server has it
	cursor string // of SSCAN over what it has taken
}

// deadPage is how many dead callees are listed at once. Those of scanMost are looked
// through together, scanPage calls of each at a time.
const (
	deadPage = 500
	scanMost = 50
	scanPage = 500
)

func newReaper(c *callerConn, l *lane) *reaper {
	r := &reaper{conn: c, lane: l, stopped: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(background)
	return r
}

func (r *reaper) start() { go r.run() }

func (r *reaper) stop() {
	r.cancel()
	<-r.stopped
}

func (r *reaper) run() {
	defer close(r.stopped)
	ticker := time.NewTicker(r.conn.broker.config.lease / 4)
	defer ticker.Stop()
	for r.ctx.Err() == nil {
		r.reap()
		select {
		case <-ticker.C:
		case <-r.ctx.Done():
		}
	}
}

// reap reports the calls of dead callees, and those that wait for a URI without callees.
// A node that could not look for a while takes no callee for dead for a lease: callees
// may have been cut off as well.
func (r *reaper) reap() {
	dead, due, ok := r.listDead()
	if !ok || r.lane.mayHaveLostState() {
		return
	}
	r.reportDead(dead)
	r.endUnserved(due)
}

// A finding is what a look finds again and again, until it is not listed any more.
type finding interface {
	// found returns its name, and a time: with another one it is another finding.
	found() (name, at string)
}

func (d deadCallee) found() (name, at string) { return d.name, d.lease }

func (u dueURI) found() (name, at string) { return u.calls, u.time }

// unseen returns those that are not in seen, and what of seen is found still. It uses
// the memory of found.
func unseen[F finding](found []F, seen map[string]string) (fresh []F, still map[string]string) {
	still = make(map[string]string, len(found))
	fresh = found[:0]
	for _, f := range found {
		if name, at := f.found(); seen[name] == at {
			still[name] = at
		} else {
			fresh = append(fresh, f)
		}
	}
	return fresh, still
}

// reportDead reports the calls of dead callees.
func (r *reaper) reportDead(dead []deadCallee) {
	fresh, reaped := unseen(dead, r.reaped)
	r.reaped = reaped
	for len(fresh) > 0 {
		n := min(len(fresh), scanMost)
		more, ok := r.scan(fresh[:n])
		if !ok {
			return // the next round goes on
		}
		fresh = append(fresh[n:], more...)
	}
}

// listDead lists the dead callees, and the URIs that may have lost their last callee,
// page by page. If entries are removed meanwhile it may miss some, which the next round
// finds.
func (r *reaper) listDead() (dead []deadCallee, due []dueURI, ok bool) {
	keys, config := r.conn.broker.keys, &r.conn.broker.config
	mostDue := duePage
	if !config.discovery {
		mostDue = 0
	}
	for {
		page, err := r.lane.writer.do(r.ctx, deadScript.Command(
			[]string{keys.callees(r.lane.index), keys.watch(r.lane.index), keys.uris(r.lane.index)},
			config.lease.Milliseconds(), len(dead), len(due), deadPage, mostDue))
		if r.ctx.Err() != nil || err == nil && len(page.List) != 3 {
			return nil, nil, false
		}
		if err != nil {
			r.lane.suspectStateLoss()
			r.lane.refused("look for calls of dead callees", page)
			return nil, nil, false
		}
		r.lane.watched(page.List[0].Value)
		names, over := page.List[1].Texts(), page.List[2].Texts()
		for i := 0; i+1 < len(names); i += 2 {
			dead = append(dead, deadCallee{names[i], names[i+1], "0"})
		}
		for i := 0; i+1 < len(over); i += 2 {
			due = append(due, dueURI{calls: over[i], time: over[i+1]})
		}
		if len(names) < 2*deadPage && (len(over) < 2*duePage || mostDue == 0) {
			return dead, due, true
		}
	}
}

// scan goes on to look for calls of the node in what callees have taken, and
// returns those callees that have more. It reports first and deletes then: a loss may
// be reported twice, but is not forgotten when the connection is lost in between.
func (r *reaper) scan(callees []deadCallee) (more []deadCallee, ok bool) {
	keys, index := r.conn.broker.keys, r.lane.index
	scans := make([]*resp.Command, len(callees))
	for i, d := range callees {
		scans[i] = resp.NewCommand("SSCAN", keys.taken(index, d.name), d.cursor, "COUNT", scanPage)
	}
	if !r.lane.doAll(r.ctx, scans) {
		return nil, false
	}
	forgets := make([]*resp.Command, len(callees))
	for i, d := range callees {
		forgets[i] = reapScript.Command([]string{keys.callees(index), keys.taken(index, d.name)}, d.name)
		reply := scans[i].Reply.List
		if len(reply) != 2 {
			return nil, false
		}
		lost := r.resultsFor(reply[1].List, broker.ErrCalleeLost)
		for _, result := range lost {
			forgets[i].AddText(address(result.To))
		}
		r.report(d.name, lost)
		keyed := keyedAmong(reply[1].List)
		if !r.lane.commitAll(r.ctx, keyed, broker.ErrCalleeLost, false) {
			return nil, false
		}
		for _, to := range keyed {
			forgets[i].AddText(address(to))
		}
		if d.cursor = string(reply[0].Text); d.cursor != "0" {
			more = append(more, d)
		} else {
			r.reaped[d.name] = d.lease
		}
	}
	return more, r.lane.doAll(r.ctx, forgets) // if not, done again
}

// resultsFor returns results with an error for those calls that are the node's.
func (r *reaper) resultsFor(addresses []resp.Reply, failure *broker.Error) []broker.Result {
	var lost []broker.Result
	for _, v := range addresses {
		if a, ok := parseAddress(v.Text); ok && a.Node == r.conn.node {
			lost = append(lost, broker.Result{To: a, Err: failure})
		}
	}
	return lost
}

// keyedAmong returns the addresses of calls with keys: they are no node's, so whichever
// lives sees to them.
func keyedAmong(addresses []resp.Reply) (keyed []broker.Address) {
	for _, v := range addresses {
		if a, ok := parseAddress(v.Text); ok && isKeyed(a.Node) {
			keyed = append(keyed, a)
		}
	}
	return keyed
}

func (r *reaper) report(callee string, lost []broker.Result) {
	if r.ctx.Err() != nil || len(lost) == 0 {
		return
	}
	r.conn.broker.config.logger.Warn("a callee is dead", "callee", callee, "calls", len(lost))
	r.conn.broker.stats.lost.Add(int64(len(lost)))
	r.conn.deliver(lost)
}
