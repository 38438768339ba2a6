package redis

import (
	"fmt"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

const (
	// partsBytes is how many bytes the parts of a node's list have at most, as part.lua
	// counts them. A node takes them at once; one that hangs must not fill the server.
	partsBytes = 64 << 20

	// partOverhead is what part.lua counts for a part besides its bytes.
	partOverhead = 64

	// partsFor is how long, in ms, an untouched list of parts lives.
	partsFor = 60_000

	// partsClosed stands in the place of the bytes of a node that has closed.
	partsClosed = "closed"

	// partsRetry is after what time it is worth it to send a part again that a node's list
	// had no room for.
	partsRetry = 50 * time.Millisecond
)

// storeParts returns the command that stores sets of parts.
func (b *batcher) storeParts(sets [][]*op, size int) *resp.Command {
	keys, index := b.lane.broker.keys, b.lane.index
	names := make([]string, 0, 4*len(sets))
	for _, parts := range sets {
		node := parts[0].node
		names = append(names, keys.node(index, node), keys.parts(index, node), keys.partsBytes(index, node), keys.partsToken(index, node))
	}
	c := partScript.On(names, size)
	c.AddNumber(b.lane.broker.config.partsBytes)
	for _, parts := range sets {
		c.AddNumber(int64(len(parts)))
		for _, o := range parts {
			c.AddBytes(o.value)
		}
	}
	return c
}

// finishParts reads the reply of part.lua.
func (b *batcher) finishParts(g *group) (again []*op, reason error) {
	stored := g.command.Reply.List
	for i, set := range g.sets {
		switch {
		case i >= len(stored):
			finishSet(set, fmt.Errorf("%w: unexpected reply of part.lua", broker.ErrUnknownOutcome), 0)
		case stored[i].Kind == '$':
			if err := b.refused(set, stored[i].Text); err != nil {
				again, reason = append(again, set...), err
			}
		case stored[i].Value == -2:
			finishSet(set, broker.ErrCallOver, 0)
		case stored[i].Value < 0:
			finishSet(set, errNodeMissing, 0)
		default:
			n := min(int(stored[i].Value), len(set))
			b.lane.broker.stats.parts.Add(int64(n))
			finishSet(set[:n], nil, 0)
			finishSet(set[n:], broker.ErrQueueFull, partsRetry)
		}
	}
	return again, reason
}
