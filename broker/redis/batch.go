package redis

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// maxBatchBytes is how much one script gets at most, besides a single value
// that is larger.
const maxBatchBytes = 1 << 20

// A batcher makes commands of ops: the calls together, the results together,
// the others one by one. It belongs to the goroutine of a lane's writer.
type batcher struct {
	lane   *lane
	groups []group
	index  map[destination]int // its place in the group being filled

	bunches map[string]string // of URIs, as the server was found to know them; as a rule there are none
}

// A destination is where ops go: the URI of calls, the node of results.
type destination struct {
	uri  string
	node broker.ID
}

// A group is a command with the ops that it is for. Of calls and results there
// are several sets, one for each URI or node.
type group struct {
	kind    opKind
	command *resp.Command
	sets    [][]*op
}

// group returns the groups of ops, valid until it is called again. Calls come
// before commands, so that a cancellation never overtakes its call, and what is
// urgent before all.
func (l *lane) group(ops []*op) []group {
	b := &l.batcher
	b.groups = b.groups[:0]
	b.each(ops, true)
	b.gather(ops, opCall, b.push)
	b.gather(ops, opResult, b.store)
	b.gather(ops, opEvent, b.publish)
	b.each(ops, false)
	return b.groups
}

// each makes groups of the commands, those that are urgent or the others.
func (b *batcher) each(ops []*op, urgent bool) {
	for _, o := range ops {
		if o.kind == opCommand && o.urgent == urgent {
			b.groups = append(b.groups, group{command: o.command, sets: [][]*op{{o}}})
		}
	}
}

// gather fills groups of one kind, each within the limits of a batch.
func (b *batcher) gather(ops []*op, kind opKind, command func(sets [][]*op, size int) *resp.Command) {
	if b.index == nil {
		b.index = map[destination]int{}
	}
	var sets [][]*op
	count, size := 0, 0
	flush := func() {
		if count > 0 {
			b.groups = append(b.groups, group{kind: kind, command: command(sets, size+32*(count+2*len(sets))), sets: sets})
		}
		sets, count, size = nil, 0, 0
		clear(b.index)
	}
	for _, o := range ops {
		if o.kind != kind {
			continue
		}
		if count == b.lane.broker.config.maxBatch || count > 0 && size+len(o.value) > maxBatchBytes {
			flush()
		}
		to := destination{o.uri, o.node}
		if kind == opEvent {
			to.uri = "" // the channel goes with each
		}
		i, known := b.index[to]
		if !known {
			i = len(sets)
			b.index[to] = i
			sets = append(sets, nil)
			if i == 0 { // as a rule there is no other
				sets[0] = make([]*op, 0, min(len(ops), b.lane.broker.config.maxBatch))
			}
		}
		sets[i] = append(sets[i], o)
		count++
		size += len(o.value)
	}
	flush()
}

// ofPush are the kinds of keys of a URI that push.lua wants.
var ofPush = append([]string{"calls", "cancelled", "bunches"}, ofURI...)

// push returns the command that queues sets of calls.
func (b *batcher) push(sets [][]*op, size int) *resp.Command {
	keys, index := b.lane.broker.keys, b.lane.index
	names := make([]string, 0, 6*len(sets)+1)
	for _, calls := range sets {
		uri := calls[0].uri
		names = keys.appendKeys(names, index, uri, ofPush...)
		for _, bunch := range namesOf(b.bunches[uri]) {
			names = keys.appendKeys(names, index, bunch, ofBunch...)
		}
	}
	names = append(names, keys.watch(index))
	c := pushScript.On(names, size)
	c.AddNumber(int64(b.lane.broker.config.queueCapacity))
	if b.lane.broker.config.discovery {
		c.AddNumber(1)
	} else {
		c.AddNumber(0)
	}
	for _, calls := range sets {
		c.AddText(b.bunches[calls[0].uri])
		c.AddNumber(int64(len(calls)))
		for i, o := range calls {
			if i == 0 || o.timeout != calls[i-1].timeout {
				c.AddNumber(int64(o.timeout))
			}
			c.AddBytes(o.value)
		}
	}
	return c
}

// store returns the command that stores sets of results.
func (b *batcher) store(sets [][]*op, size int) *resp.Command {
	keys, index := b.lane.broker.keys, b.lane.index
	names := make([]string, 0, 2*len(sets))
	for _, results := range sets {
		node := results[0].node
		names = append(names, keys.node(index, node), keys.results(index, node))
	}
	c := resultScript.On(names, size)
	c.AddNumber(resultCapacity)
	for _, results := range sets {
		c.AddNumber(int64(len(results)))
		for _, o := range results {
			c.AddBytes(o.value)
		}
	}
	return c
}

// publish returns the command that publishes events. In a set they keep their
// order, so they are all in one.
func (b *batcher) publish(sets [][]*op, size int) *resp.Command {
	keys := b.lane.broker.keys
	for _, o := range sets[0] {
		size += len(o.uri) + 16
	}
	c := publishScript.On([]string{keys.here(b.lane.index)}, size)
	c.AddText(keys.publish())
	for _, o := range sets[0] {
		c.AddText(o.uri)
		c.AddBytes(o.value)
	}
	return c
}

// finish finishes the ops of a group by the reply that its command got. It
// returns those that were certainly not done and may be sent again, with the
// reason.
func (g *group) finish(w *writer) (again []*op, reason error) {
	err := g.command.Reply.Err()
	if resp.SuggestsFailover(err) {
		w.lane.broker.view.MarkStale()
	}
	switch {
	case resp.IsMisdirected(err):
		for _, set := range g.sets {
			again = append(again, set...)
		}
		return again, err
	case errors.Is(err, resp.ErrNoReply):
		g.finishAll(fmt.Errorf("%w: %w", broker.ErrUnknownOutcome, err))
	case err != nil:
		g.finishAll(fmt.Errorf("%w: %w", broker.ErrUnavailable, err))
	case g.kind == opCall:
		return g.finishCalls(w)
	case g.kind == opResult:
		g.finishResults(w)
	case g.kind == opEvent:
		g.finishEvents()
	default:
		g.finishAll(nil)
	}
	return nil, nil
}

func (g *group) finishAll(err error) {
	for _, set := range g.sets {
		for _, o := range set {
			o.finish(err)
		}
	}
}

// finishCalls reads the reply of push.lua.
func (g *group) finishCalls(w *writer) (again []*op, reason error) {
	reply := g.command.Reply.List
	if len(reply) != 2*len(g.sets) {
		g.finishAll(fmt.Errorf("%w: unexpected reply of push.lua", broker.ErrUnknownOutcome))
		return nil, nil
	}
	for i, set := range g.sets {
		accepted, more := reply[2*i].Value, reply[2*i+1]
		if accepted == -1 {
			w.lane.watched(more.Value)
		}
		switch {
		case accepted == -3 && w.lane.batcher.learn(set[0].uri, string(more.Text)):
			again, reason = append(again, set...), errBunches
		case accepted == -1 && w.lane.mayHaveLostState():
			finishSet(set, fmt.Errorf("%w: callees have not announced themselves yet", broker.ErrUnavailable), w.lane.broker.config.lease/4)
		case accepted == -1:
			finishSet(set, broker.ErrNoCallee, 0)
		case accepted < 0:
			err := resp.Error(bytes.TrimPrefix(more.Text, []byte("-")))
			if resp.SuggestsFailover(err) {
				w.lane.broker.view.MarkStale()
			}
			if resp.IsMisdirected(err) {
				again, reason = append(again, set...), err
			} else {
				finishSet(set, fmt.Errorf("%w: %w", broker.ErrUnavailable, err), time.Second)
			}
		default:
			accepted = min(accepted, int64(len(set)))
			finishSet(set[:accepted], nil, 0)
			finishSet(set[accepted:], broker.ErrQueueFull, time.Duration(more.Value)*time.Millisecond)
			w.lane.broker.stats.calls.Add(accepted)
		}
	}
	w.lane.broker.stats.pushes.Add(1)
	return again, reason
}

// mostLearned is of how many URIs bunches are remembered at most. Then all are learned
// anew.
const mostLearned = 1 << 16

// errBunches: other bunches serve a URI than was known.
var errBunches = errors.New("other bunches")

// learn notes which bunches serve a URI besides the one that the URI is by itself. It
// returns false for what are no names of bunches.
func (b *batcher) learn(uri, names string) bool {
	if len(names)%bunchName != 0 {
		return false
	}
	if b.bunches == nil || len(b.bunches) >= mostLearned {
		b.bunches = map[string]string{}
	}
	delete(b.bunches, uri)
	if names != "" {
		b.bunches[uri] = names
	}
	return true
}

// finishEvents reads the reply of publish.lua.
func (g *group) finishEvents() {
	refused := g.command.Reply.List
	for i, o := range g.sets[0] {
		if len(refused) < 2 || refused[0].Value != int64(i+1) {
			o.finish(nil)
			continue
		}
		o.finish(fmt.Errorf("%w: %s", broker.ErrUnavailable, refused[1].Text))
		refused = refused[2:]
	}
}

// finishSet finishes ops with err and, unless it is 0, a jittered time after
// which a retry is worth it.
func finishSet(ops []*op, err error, retry time.Duration) {
	for _, o := range ops {
		if retry > 0 {
			o.finish(broker.WithRetryAfter(err, retry+conn.Jitter(retry/2)))
		} else {
			o.finish(err)
		}
	}
}

// errNodeMissing: the server does not know the node. It is gone, or the server has
// forgotten it.
var errNodeMissing = fmt.Errorf("%w: the server does not know the node", broker.ErrUnavailable)

// finishResults reads the reply of result.lua. What a node has no room for is
// dropped: nobody else could use it.
func (g *group) finishResults(w *writer) {
	stored := g.command.Reply.List
	for i, set := range g.sets {
		count := int64(0)
		if i < len(stored) {
			count = stored[i].Value
		}
		if count < 0 {
			finishSet(set, errNodeMissing, 0)
			continue
		}
		w.lane.broker.stats.results.Add(count)
		if dropped := len(set) - int(count); dropped > 0 {
			w.lane.resultsDropped(set[0].node, dropped, "its list is full")
		}
		finishSet(set, nil, 0)
	}
}
