package redis

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// positionLife is for how long a position can still be proved after the events of its
// channel have gone.
const positionLife = 24 * time.Hour

// A publication is what an event on a channel that a rule keeps has besides, and what
// became of it. Others have none.
type publication struct {
	key  string
	args uint64 // a hash, if there is a key

	rule int              // of the channel, as it is in the batch under way
	tag  uint64           // of this attempt
	done broker.Published // without an error
}

// hashArgs returns a hash that all processes make alike.
func hashArgs(args []byte) uint64 {
	sum := sha256.Sum256(args)
	return binary.BigEndian.Uint64(sum[:])
}

// newTag returns a tag for an attempt to keep an event.
func newTag() uint64 {
	for {
		if tag := rand.Uint64(); tag != 0 {
			return tag
		}
	}
}

// PublishKept implements [broker.History].
func (b *Broker) PublishKept(ctx context.Context, events []broker.Publication, done []broker.Published) {
	plain := make([]broker.Event, len(events))
	pubs := make([]*publication, len(events))
	errs := make([]error, len(events))
	for i := range events {
		plain[i] = events[i].Event
		pubs[i] = &publication{key: events[i].Key}
		if pubs[i].key != "" {
			pubs[i].args = hashArgs(plain[i].Args)
		}
	}
	b.publishAll(ctx, plain, pubs, errs)
	for i := range done {
		done[i] = broker.Published{Err: errs[i]}
		if errs[i] == nil {
			done[i] = pubs[i].done
		}
	}
}

// sortEvents marks those of ops that are events on channels that a rule keeps.
func (b *batcher) sortEvents(ops []*op) {
	keys, index := b.lane.broker.keys, b.lane.index
	b.rules = b.lane.broker.history.of(index)
	for _, o := range ops {
		if o.kind != opEvent && o.kind != opKept {
			continue
		}
		o.kind = opEvent
		if b.rules.Len() == 0 {
			continue
		}
		topic, ok := keys.topicOf(index, o.uri)
		if rule := b.rules.Find(topic); ok && rule >= 0 && keys.laneOf(topic) == index {
			o.kind = opKept
			if o.publication == nil {
				o.publication = &publication{}
			}
			o.publication.rule = rule
		}
	}
}

// keep returns the command that keeps and publishes events, a set for each channel.
func (b *batcher) keep(sets [][]*op, size int) *resp.Command {
	keys, index := b.lane.broker.keys, b.lane.index
	names := append(make([]string, 0, 1+2*len(sets)), keys.rules(index))
	var logs, notes []string
	for _, events := range sets {
		topic, _ := keys.topicOf(index, events[0].uri)
		names, logs = append(names, keys.pos(index, topic)), append(logs, keys.log(index, topic))
		for _, o := range events {
			size += 32
			if key := o.publication.key; key != "" {
				notes = append(notes, keys.note(index, topic, key))
			}
		}
		size += len(events[0].uri) + 64
	}
	c := keepScript.On(slices.Concat(names, logs, notes), size)
	c.AddNumber(int64(len(sets)))
	c.AddText(b.rules.version)
	c.AddText(keys.publish())
	c.AddNumber(positionLife.Milliseconds())
	c.AddNumber(broker.KeyLife.Milliseconds())
	for _, events := range sets {
		place := events[0].publication.rule
		rule := b.rules.At(place)
		c.AddText(events[0].uri)
		c.AddText(b.rules.ids[place])
		c.AddNumber(int64(rule.Events))
		c.AddNumber(rule.For.Milliseconds())
		c.AddNumber(int64(len(events)))
		for _, o := range events {
			p := o.publication
			p.tag = newTag()
			var room [16]byte
			head := binary.BigEndian.AppendUint64(room[:0], p.tag)
			if p.key != "" {
				head = binary.BigEndian.AppendUint64(head, p.args)
			}
			c.AddBytes(head)
			c.AddBytes(o.value)
		}
	}
	return c
}

// finishKept reads the reply of keep.lua.
func (b *batcher) finishKept(g *group) (again []*op, reason error) {
	replies := g.command.Reply.List
	confirmed := &b.lane.confirmed
	confirmed.mu.Lock()
	defer confirmed.mu.Unlock()
	confirmed.begin()
	for _, set := range g.sets {
		channel, _ := b.lane.broker.keys.topicOf(b.lane.index, set[0].uri)
		for _, o := range set {
			if len(replies) == 0 {
				o.Finish(fmt.Errorf("%w: unexpected reply of keep.lua", broker.ErrUnknownOutcome))
				continue
			}
			err := o.publication.finished(replies[0])
			replies = replies[1:]
			if resp.SuggestsFailover(err) {
				b.lane.broker.view.MarkStale()
			}
			switch {
			case resp.IsMisdirected(err):
				again, reason = append(again, o), err
			case resp.IsServerError(err):
				o.Finish(fmt.Errorf("%w: %w", broker.ErrUnavailable, err))
			default:
				if err == nil {
					confirmed.note(channel, &o.publication.done)
				}
				o.Finish(err)
			}
		}
	}
	return again, reason
}

// finished notes what the reply to one event says. If the server refused the event it
// returns the server's error.
func (p *publication) finished(r resp.Reply) error {
	switch {
	case r.Kind == ':' && r.Value > 0:
		p.done = broker.Published{Pos: broker.Position{At: uint64(r.Value), Tag: p.tag}}
	case r.Kind == ':' && r.Value == 0:
		p.done = broker.Published{}
	case r.Kind == ':':
		return broker.ErrKeyConflict
	case len(r.Text) == 16 && r.Text[0] == 0:
		p.done = broker.Published{Pos: decodePosition(r.Text), Repeated: true}
	case strings.HasPrefix(string(r.Text), "-"):
		return resp.Error(strings.TrimLeft(string(r.Text), "-"))
	default:
		return fmt.Errorf("%w: kept, but not published: %s", broker.ErrUnknownOutcome, strings.TrimPrefix(string(r.Text), "?"))
	}
	return nil
}
