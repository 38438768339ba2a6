package redis

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// Settle implements [conn.Batcher].
func (b *batcher) Settle() (again []*op, reason error) {
	for i := range b.groups {
		left, err := b.finish(&b.groups[i])
		again = append(again, left...)
		if reason == nil {
			reason = err
		}
	}
	return again, reason
}

// finish finishes the ops of a group by the reply that its command got. It
// returns those that were certainly not done and may be sent again, with the
// reason.
func (b *batcher) finish(g *group) (again []*op, reason error) {
	err := g.command.Reply.Err()
	switch {
	case resp.IsMisdirected(err):
		return slices.Concat(g.sets...), err
	case errors.Is(err, resp.ErrNoReply):
		g.finishAll(fmt.Errorf("%w: %w", broker.ErrUnknownOutcome, err))
	case err != nil && g.kind != opRules:
		g.finishAll(fmt.Errorf("%w: %w", broker.ErrUnavailable, err))
	case g.kind == opRules:
		b.lane.broker.settledRules(b.lane.index, g.command.Reply)
	case g.kind == opCall:
		return b.finishCalls(g)
	case (g.kind == opEvent || g.kind == opKept) && g.command.Reply.Kind == '$':
		if err = b.missRules(string(g.command.Reply.Text)); err != nil {
			g.finishAll(fmt.Errorf("%w: %w", broker.ErrUnavailable, err))
			return nil, nil
		}
		return slices.Concat(g.sets...), errRules
	case g.kind == opResult:
		b.finishResults(g)
	case g.kind == opPart:
		return b.finishParts(g)
	case g.kind == opAttach:
		return b.finishAttach(g)
	case g.kind == opCommit:
		b.finishCommits(g)
	case g.kind == opAppend:
		return b.finishAppends(g)
	case g.kind == opEvent:
		g.finishEvents()
	case g.kind == opKept:
		return b.finishKept(g)
	default:
		g.finishAll(nil)
	}
	return nil, nil
}

func (g *group) finishAll(err error) {
	for _, set := range g.sets {
		for _, o := range set {
			o.Finish(err)
		}
	}
}

// finishCalls reads the reply of push.lua.
func (b *batcher) finishCalls(g *group) (again []*op, reason error) {
	reply := g.command.Reply.List
	if len(reply) != 2*len(g.sets) {
		g.finishAll(fmt.Errorf("%w: unexpected reply of push.lua", broker.ErrUnknownOutcome))
		return nil, nil
	}
	for i, set := range g.sets {
		accepted, more := reply[2*i].Value, reply[2*i+1]
		if accepted < 0 {
			if err := b.notQueued(set, accepted, more); err != nil {
				again, reason = append(again, set...), err
			}
			continue
		}
		accepted = min(accepted, int64(len(set)))
		finishSet(set[:accepted], nil, 0)
		finishSet(set[accepted:], broker.ErrQueueFull, time.Duration(more.Value)*time.Millisecond)
		b.lane.broker.stats.calls.Add(accepted)
	}
	b.lane.broker.stats.pushes.Add(1)
	return again, reason
}

// notQueued handles that a script queued none of set, for a reason that push.lua says. It
// finishes them, unless they may be sent again: then it returns why.
func (b *batcher) notQueued(set []*op, code int64, more resp.Reply) error {
	if code == -1 {
		b.lane.watched(more.Value)
	}
	switch {
	case code == -3 && b.learn(set[0].uri, string(more.Text)):
		return errBunches
	case code == -1 && b.lane.mayHaveLostState():
		finishSet(set, fmt.Errorf("%w: callees have not announced themselves yet", broker.ErrUnavailable), b.lane.broker.config.lease/4)
	case code == -1:
		finishSet(set, broker.ErrNoCallee, 0)
	default:
		return b.refused(set, more.Text)
	}
	return nil
}

// refused handles that a script tells an error of the server, by which none of set was
// done. It finishes them, unless they may be sent again: then it returns the error.
func (b *batcher) refused(set []*op, text []byte) error {
	err := resp.Error(bytes.TrimPrefix(text, []byte("-")))
	if resp.SuggestsFailover(err) {
		b.lane.broker.view.MarkStale()
	}
	if resp.IsMisdirected(err) {
		return err
	}
	finishSet(set, fmt.Errorf("%w: %w", broker.ErrUnavailable, err), time.Second)
	return nil
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
			o.Finish(nil)
			continue
		}
		o.Finish(fmt.Errorf("%w: %s", broker.ErrUnavailable, refused[1].Text))
		refused = refused[2:]
	}
}

// finishSet finishes ops with err and, unless it is 0, a jittered time after
// which a retry is worth it.
func finishSet(ops []*op, err error, retry time.Duration) {
	for _, o := range ops {
		if retry > 0 {
			o.Finish(broker.WithRetryAfter(err, retry+conn.Jitter(retry/2)))
		} else {
			o.Finish(err)
		}
	}
}

// errNodeMissing: the server does not know the node. It is gone, or the server has
// forgotten it.
var errNodeMissing = fmt.Errorf("%w: the server does not know the node", broker.ErrUnavailable)

// finishResults reads the reply of result.lua. What a node has no room for is
// dropped: nobody else could use it.
func (b *batcher) finishResults(g *group) {
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
		b.lane.broker.stats.results.Add(count)
		if dropped := len(set) - int(count); dropped > 0 {
			b.lane.resultsDropped(set[0].node, dropped, "its list is full")
		}
		finishSet(set, nil, 0)
	}
}
