package redis

import (
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// unserved are the calls of one node to one lane, and those with keys, that wait in the queue of a URI when its
// grace is over. They are removed from the queue first, because a callee that comes just
// then must not get them, and then end in 404. As the reply may get lost, the server
// keeps their addresses until the node confirms them.
type unserved struct {
	seen        map[string]string // URIs whose calls were ended, by their lists of calls -> their time
	reported    []resp.Reply      // addresses that were reported, and that the server keeps
	mayKeepMore bool              // it may keep others
}

// A dueURI is one whose callees may be gone.
type dueURI struct {
	calls   string // its key
	time    string // until when somebody served it in any case, as the server has it
	bunches string // what is thought to lie under its key of bunches
	skip    int    // how many of the oldest calls in the queue are others'
}

// duePage is how many URIs are listed, and ended, at once. Calls behind more than
// refuseDepth calls of other nodes in a queue are not looked for: they wait until their
// time is over.
const (
	duePage     = 500
	refuseDepth = 16_384
)

// endUnserved ends the calls of the node to URIs that nobody serves.
func (r *reaper) endUnserved(due []dueURI) {
	f := &r.unserved
	fresh, seen := unseen(due, f.seen)
	f.seen = seen
	for len(fresh) > 0 || len(f.reported) > 0 || f.mayKeepMore {
		n := min(len(fresh), duePage)
		more, ok := r.takeBack(fresh[:n])
		if !ok {
			return // the next round goes on
		}
		fresh = append(fresh[n:], more...)
	}
}

// takeBack takes calls of the node out of the queues of URIs, reports them, and returns
// those URIs whose queues may have more.
func (r *reaper) takeBack(uris []dueURI) (more []dueURI, ok bool) {
	f, keys, index := &r.unserved, r.conn.broker.keys, r.lane.index
	names := []string{keys.uris(index), keys.refused(index, r.conn.node)}
	args := []any{r.conn.node[:], len(f.reported)}
	for _, known := range f.reported {
		args = append(args, known.Text)
	}
	for _, u := range uris {
		names = keys.appendKeys(names, index, keys.uriOf(index, u.calls), ofPush...)
		for _, name := range namesOf(u.bunches) {
			names = keys.appendKeys(names, index, name, ofBunch...)
		}
		args = append(args, u.bunches, u.skip)
	}
	reply, err := r.lane.writer.do(r.ctx, refuseScript.Command(names, args...))
	f.mayKeepMore = err != nil || len(reply.List) != len(uris)+1
	if f.mayKeepMore {
		r.lane.refused("end calls that nobody serves", reply)
		return nil, false
	}
	f.reported = reply.List[0].List
	if !r.lane.commitAll(r.ctx, keyedAmong(f.reported), broker.ErrUnserved, true) {
		f.reported, f.mayKeepMore = nil, true
		return nil, false
	}
	r.reportUnserved(f.reported)
	for i, u := range uris {
		if left := &reply.List[i+1]; left.Kind == '$' && len(left.Text)%bunchName == 0 {
			u.bunches = string(left.Text)
			more = append(more, u)
		} else if u.skip = int(left.Value); u.skip >= 0 && u.skip < refuseDepth {
			more = append(more, u)
		} else {
			f.seen[u.calls] = u.time
		}
	}
	return more, true
}

func (r *reaper) reportUnserved(addresses []resp.Reply) {
	refused := r.resultsFor(addresses, broker.ErrUnserved)
	if r.ctx.Err() != nil || len(refused) == 0 {
		return
	}
	r.conn.broker.config.logger.Warn("calls waited for callees that did not come back",
		"lane", r.lane.index, "calls", len(refused))
	r.conn.deliver(refused)
}
