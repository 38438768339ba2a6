package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// What a page holds at most, and what the pages of one command hold together, so that no
// reply holds up others for long.
const (
	maxPage      = 1000
	maxPageBytes = 1 << 20

	maxReads     = 256 // in one command
	maxReadBytes = 1 << 20
)

// A keptRead asks for a page, or only where the channel stands.
type keptRead struct {
	broker.Read
	make bool // a position, if there is none, so that what follows can be proved
}

// ReadKept implements [broker.History].
func (b *Broker) ReadKept(ctx context.Context, reads []broker.Read, pages []broker.Page) {
	all := make([]keptRead, len(reads))
	for i := range reads {
		all[i].Read = reads[i]
	}
	b.readPages(ctx, all, pages)
}

// readPages answers reads[i] in pages[i]. Those of a lane share commands.
func (b *Broker) readPages(ctx context.Context, reads []keptRead, pages []broker.Page) {
	left := make([]int, len(reads))
	for i := range reads {
		pages[i], left[i] = broker.Page{}, i
	}
	for changes := 0; len(left) > 0 && changes < maxChanges; {
		var changed bool
		if left, changed = b.readSome(ctx, reads, pages, left); changed {
			changes++
		}
	}
	failPages(pages, left, fmt.Errorf("%w: the rules of history keep changing", broker.ErrUnavailable))
}

// maxChanges is how often we may know other rules than count.
const maxChanges = 4

// A readPart is reads that share a command.
type readPart struct {
	lane   *lane
	places []int
	op     op
}

// readSome answers reads at these places, and returns those that are left, also since
// other rules count than we knew.
func (b *Broker) readSome(ctx context.Context, reads []keptRead, pages []broker.Page, places []int) (left []int, changed bool) {
	parts := b.readParts(reads, pages, places)
	w := newWaiter(len(parts))
	bundle := bundle{size: len(parts)}
	for _, p := range parts {
		p.op.waiter = w
		bundle.add(p.lane, &p.op)
	}
	if len(parts) == 0 {
		return nil, false
	}
	bundle.submit()
	waited := w.wait(ctx)
	for _, p := range parts {
		err := waited
		if err == nil {
			err = p.op.err
		}
		if err == nil && p.op.command.Reply.Kind == '$' {
			if err = p.lane.missRules(ctx, string(p.op.command.Reply.Text)); err == nil {
				left, changed = append(left, p.places...), true
				continue
			}
		}
		if err == nil {
			p.places, err = readReplies(p.op.command.Reply.List, reads, pages, p.places)
		}
		if err == nil {
			left = append(left, p.places...)
		}
		failPages(pages, p.places, err)
	}
	return left, changed
}

// readParts returns the commands for reads. Those of channels that no rule keeps need none.
func (b *Broker) readParts(reads []keptRead, pages []broker.Page, places []int) (parts []*readPart) {
	byLane := map[int][]int{}
	for _, i := range places {
		index := b.keys.laneOf(reads[i].Channel)
		if b.history.of(index).Len() > 0 {
			byLane[index] = append(byLane[index], i)
		}
	}
	for index, places := range byLane {
		rules := b.history.of(index)
		places = slices.DeleteFunc(places, func(i int) bool { return rules.Find(reads[i].Channel) < 0 })
		l := b.lane(index)
		if l == nil {
			failPages(pages, places, broker.ErrClosed)
			continue
		}
		for part := range slices.Chunk(places, maxReads) {
			parts = append(parts, &readPart{l, part, op{command: b.readCommand(index, rules, reads, part)}})
		}
	}
	return parts
}

// failPages answers reads with err, unless it is nil.
func failPages(pages []broker.Page, places []int, err error) {
	if err == nil {
		return
	}
	for _, i := range places {
		pages[i] = broker.Page{Err: wrap("read", "kept events", err)}
	}
}

// readCommand returns the command for reads of one lane.
func (b *Broker) readCommand(lane int, rules *ruleSet, reads []keptRead, places []int) *resp.Command {
	names := append(make([]string, 0, 1+2*len(places)), b.keys.rules(lane))
	for _, i := range places {
		names = append(names, b.keys.pos(lane, reads[i].Channel))
	}
	for _, i := range places {
		names = append(names, b.keys.log(lane, reads[i].Channel))
	}
	c := readScript.On(names, 128*len(places))
	c.AddNumber(int64(len(places)))
	c.AddText(rules.version)
	c.AddNumber(2 * maxPage)
	c.AddNumber(maxReadBytes)
	for _, i := range places {
		r := &reads[i]
		place := rules.Find(r.Channel)
		c.AddText(rules.ids[place])
		c.AddNumber(r.from())
		c.AddNumber(int64(bounded(r.Max, maxPage)))
		c.AddNumber(int64(bounded(r.MaxBytes, maxPageBytes)))
		tag := ""
		if r.make {
			tag = string(binary.BigEndian.AppendUint64(nil, newTag()))
		}
		c.AddText(tag)
		c.AddNumber(rules.At(place).For.Milliseconds())
	}
	return c
}

// from returns what read.lua calls so; 0: no events are wanted.
func (r *keptRead) from() int64 {
	switch {
	case r.After.IsZero():
		return -int64(min(max(r.Last, 0), math.MaxInt32))
	case r.After.At >= 1<<53 || r.After.Tag == 0:
		return 0
	}
	return int64(r.After.At)
}

// bounded returns what was asked for, but not more than most, which 0 stands for.
func bounded(asked, most int) int {
	if asked <= 0 {
		return most
	}
	return min(asked, most)
}

// readReplies reads the reply of read.lua, and returns the places that it leaves open.
func readReplies(replies []resp.Reply, reads []keptRead, pages []broker.Page, places []int) (left []int, err error) {
	if len(replies) != len(places) || replies[0].Kind != '*' {
		return places, fmt.Errorf("%w: unexpected reply of read.lua", broker.ErrUnavailable)
	}
	for k, i := range places {
		list := replies[k].List
		switch {
		case len(list) < 3:
			left = append(left, i)
		case len(list[0].Text) == 16:
			pages[i].Top = decodePosition(list[0].Text)
			pages[i].Events, pages[i].Proven = reads[i].prove(pages[i].Top, list[1].Value != 0, list[2].List)
		}
	}
	return left, nil
}

// prove returns the events that were read, if it is proved that they are all that was
// asked for: each names the one before it, and the last one is that where the channel
// stands, unless there are more.
func (r *keptRead) prove(top broker.Position, more bool, entries []resp.Reply) (events []broker.KeptEvent, proven bool) {
	last := r.After
	if last.IsZero() && r.Last <= 0 {
		return nil, false
	}
	events = make([]broker.KeptEvent, 0, len(entries))
	for i := range entries {
		k, err := decodeKept(entries[i].Text)
		if err != nil || (!last.IsZero() && (k.before != last.Tag || k.pos.At <= last.At)) {
			return nil, false
		}
		k.event.Channel = r.Channel
		events = append(events, broker.KeptEvent{Pos: k.pos, Event: k.event})
		last = k.pos
	}
	if !more && last != top && !last.IsZero() {
		return nil, false
	}
	return events, true
}
