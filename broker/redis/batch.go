package redis

import (
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A batcher makes commands of ops, the calls together, the results together, the parts
// and the events likewise, the others one by one, and finishes the ops by the replies
// (outcome.go, record.go). It belongs to a lane's writer: it is a [conn.Batcher].
type batcher struct {
	lane     *lane
	groups   []group
	commands []*resp.Command     // of groups
	index    map[destination]int // its place in the group being filled

	rules  *ruleSet // of the batch under way
	settle bool     // the lane's rules are to be restored

	bunches map[string]string // of URIs, as the server was found to know them; as a rule there are none
}

// A destination is where ops go: the URI of calls, the channel of kept events, the node of
// results and parts.
type destination struct {
	uri  string
	node broker.ID
}

// A group is a command with the ops that it is for. Of calls, kept events, results and
// parts there are several sets, one for each URI, channel or node.
type group struct {
	kind    opKind
	command *resp.Command
	sets    [][]*op
}

// Commands implements [conn.Batcher]. Calls come before commands, so that a cancellation
// never overtakes its call, and what is urgent before all.
func (b *batcher) Commands(ops []*op) []*resp.Command {
	b.groups, b.commands = b.groups[:0], b.commands[:0]
	if b.settle {
		b.settle = false
		b.groups = append(b.groups, group{kind: opRules, command: b.lane.broker.settleRules(b.lane.index)})
	}
	b.each(ops, true)
	b.gather(ops, opCall, b.push)
	b.attachEach(ops)
	b.gather(ops, opPart, b.storeParts)
	b.gather(ops, opAppend, b.append)
	b.gather(ops, opResult, b.store)
	b.gather(ops, opCommit, b.commit)
	b.sortEvents(ops)
	b.gather(ops, opEvent, b.publish)
	b.gather(ops, opKept, b.keep)
	b.each(ops, false)
	for i := range b.groups {
		b.commands = append(b.commands, b.groups[i].command)
	}
	return b.commands
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
		if count == b.lane.broker.config.maxBatch || count > 0 && size+len(o.value) > conn.MaxBatchBytes {
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
		names = b.appendURI(names, calls[0].uri)
	}
	names = append(names, keys.watch(index))
	c := pushScript.On(names, size)
	c.AddNumber(int64(b.lane.broker.config.queueCapacity))
	c.AddNumber(digit(b.lane.broker.config.discovery))
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

// appendURI appends the keys of a URI that a script gets which queues calls to it.
func (b *batcher) appendURI(names []string, uri string) []string {
	keys, index := b.lane.broker.keys, b.lane.index
	names = keys.appendKeys(names, index, uri, ofPush...)
	for _, bunch := range namesOf(b.bunches[uri]) {
		names = keys.appendKeys(names, index, bunch, ofBunch...)
	}
	return names
}

// digit is how a script is told yes or no.
func digit(set bool) int64 {
	if set {
		return 1
	}
	return 0
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
	c := publishScript.On([]string{keys.rules(b.lane.index)}, size)
	c.AddText(keys.publish())
	c.AddText(b.rules.version)
	for _, o := range sets[0] {
		c.AddText(o.uri)
		c.AddBytes(o.value)
	}
	return c
}
