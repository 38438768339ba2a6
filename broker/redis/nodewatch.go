package redis

import (
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A nodeWatch finds out that the nodes are gone of calls with a Window: a callee that waits
// for more of it would wait until their time is over. Its goroutine exists while the callee
// holds such calls (none with a key, which outlive their nodes), and asks for each of the
// nodes four times in a lease whether it lives.
type nodeWatch struct {
	running bool
	missing map[broker.ID]time.Time // since when the server does not know a node
}

// watchNodes starts the watch, unless it runs. mu is held.
func (c *calleeConn) watchNodes() {
	if c.grants != nil && !c.nodes.running {
		c.nodes.running = true
		c.watches.Go(c.runNodeWatch)
	}
}

func (c *calleeConn) runNodeWatch() {
	ticker := time.NewTicker(c.broker.config.lease / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-c.life.Done():
			return
		}
		nodes := c.nodesToWatch()
		if len(nodes) == 0 {
			return
		}
		byLane := map[*lane][]broker.ID{}
		for _, node := range nodes {
			if l := c.broker.lane(c.broker.keys.laneOfNode(node)); l != nil {
				byLane[l] = append(byLane[l], node)
			}
		}
		var all sync.WaitGroup
		for l, of := range byLane {
			all.Go(func() { c.askForNodes(l, of) })
		}
		all.Wait()
	}
}

// nodesToWatch returns the nodes of calls with a Window. If there are none the watch has
// ended.
func (c *calleeConn) nodesToWatch() (nodes []broker.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	missing := map[broker.ID]time.Time{}
	for to, h := range c.held {
		if _, known := missing[to.Node]; !known && h.parted() && !isKeyed(to.Node) {
			missing[to.Node] = c.nodes.missing[to.Node]
			nodes = append(nodes, to.Node)
		}
	}
	c.nodes.missing = missing // of others nothing need be known
	c.nodes.running = len(nodes) > 0
	return nodes
}

// askForNodes asks a lane's server for nodes, and has the callee told of calls of those
// that are gone. A server that is not the one to ask refuses GETEX, as it does each write.
func (c *calleeConn) askForNodes(l *lane, nodes []broker.ID) {
	keys := c.broker.keys
	commands := make([]*resp.Command, 0, 2*len(nodes))
	for _, node := range nodes {
		commands = append(commands,
			resp.NewCommand("GETEX", keys.node(l.index, node)),
			resp.NewCommand("GET", keys.partsBytes(l.index, node)))
	}
	if !l.doAll(c.life, commands) {
		return
	}
	for i, node := range nodes {
		known, closed := commands[2*i].Reply.Kind == '$', string(commands[2*i+1].Reply.Text) == partsClosed
		if gone := c.found(l, node, known) || !known && closed; !gone || c.cancels == nil {
			continue
		}
		for _, to := range c.orphansOf(node) {
			c.cancels.put(to, addressLength)
		}
	}
}

// found notes whether the server knows a node that waits for parts, and reports whether
// that is gone. One that the server knew a moment ago is given time to announce itself
// again, as the server may have lost its data.
func (c *calleeConn) found(l *lane, node broker.ID, known bool) (gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since, watched := c.nodes.missing[node]
	switch {
	case known && watched && !since.IsZero():
		c.nodes.missing[node] = time.Time{}
	case !known && watched && since.IsZero():
		c.nodes.missing[node] = time.Now()
	case !known && watched:
		return time.Since(since) > c.broker.maxSilence() && !l.mayHaveLostState()
	}
	return false
}

// parted reports whether parts of the answer may be sent. conn.mu is held.
func (h *heldCall) parted() bool { return h.streams && !h.answering && !h.cancelled }

// errOrphaned is the Error of a call whose callee was told that it is over as its node seemed
// to be gone. The node may live: then its client did not cancel the call.
var errOrphaned = &broker.Error{Code: broker.CodeCalleeLost, Message: "the callee took its caller for gone"}

// orphansOf notes of the calls of a node that seems to be gone which have a Window and are
// not over, and returns them.
func (c *calleeConn) orphansOf(node broker.ID) (calls []broker.Address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for to, h := range c.held {
		if to.Node == node && h.parted() {
			h.orphaned = true
			calls = append(calls, to)
		}
	}
	return calls
}
