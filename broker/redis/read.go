package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// What a page holds at most, and what the pages of one command hold together, so that no
// reply holds up others for long.
const (
	maxPage      = 1000
	maxPageBytes = 1 << 20

	maxReads     = 64 // in one command
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
	byLane := map[int][]int{}
	for i := range reads {
		pages[i] = broker.Page{}
		if index := b.keys.laneOf(reads[i].Channel); b.Kept(reads[i].Channel) {
			byLane[index] = append(byLane[index], i)
		}
	}
	var ops []*op
	var parts [][]int // of each op: its reads
	bundle := bundle{size: len(reads)}
	for index, places := range byLane {
		l := b.lane(index)
		for len(places) > 0 {
			part := places[:min(len(places), maxReads)]
			places = places[len(part):]
			if l == nil {
				failPages(pages, part, broker.ErrClosed)
				continue
			}
			o := &op{command: b.readCommand(index, reads, part)}
			ops, parts = append(ops, o), append(parts, part)
			bundle.add(l, o)
		}
	}
	if len(ops) == 0 {
		return
	}
	w := newWaiter(len(ops))
	for _, o := range ops {
		o.waiter = w
	}
	bundle.submit()
	waited := w.wait(ctx)
	for i, o := range ops {
		err := waited
		if err == nil {
			err = o.err
		}
		if err == nil {
			err = readReplies(o.command.Reply.List, reads, pages, parts[i])
		}
		if err != nil {
			failPages(pages, parts[i], wrap("read", "kept events", err))
		}
	}
}

func failPages(pages []broker.Page, places []int, err error) {
	for _, i := range places {
		pages[i] = broker.Page{Err: err}
	}
}

// readCommand returns the command for reads of one lane.
func (b *Broker) readCommand(lane int, reads []keptRead, places []int) *resp.Command {
	names := make([]string, 0, 2*len(places))
	for _, i := range places {
		names = b.keys.appendKeys(names, lane, reads[i].Channel, "log", "pos")
	}
	c := readScript.On(names, 128*len(places))
	c.AddNumber(2 * maxPage)
	c.AddNumber(maxReadBytes)
	for _, i := range places {
		r := &reads[i]
		rule := b.rules.At(b.rules.Find(r.Channel))
		c.AddText(ruleID)
		c.AddNumber(r.from())
		c.AddNumber(int64(bounded(r.Max, maxPage)))
		c.AddNumber(int64(bounded(r.MaxBytes, maxPageBytes)))
		tag := ""
		if r.make {
			tag = string(binary.BigEndian.AppendUint64(nil, newTag()))
		}
		c.AddText(tag)
		c.AddNumber(rule.For.Milliseconds())
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

// readReplies reads the reply of read.lua.
func readReplies(replies []resp.Reply, reads []keptRead, pages []broker.Page, places []int) error {
	if len(replies) != len(places) {
		return fmt.Errorf("%w: unexpected reply of read.lua", broker.ErrUnavailable)
	}
	for k, i := range places {
		list := replies[k].List
		if len(list) != 3 {
			return fmt.Errorf("%w: unexpected reply of read.lua", broker.ErrUnavailable)
		}
		if len(list[0].Text) == 16 {
			pages[i].Top = decodePosition(list[0].Text)
			pages[i].Events, pages[i].Proven = reads[i].prove(pages[i].Top, list[1].Value != 0, list[2].List)
		}
	}
	return nil
}

// prove returns the events that were read, if it is proved that they are all that was
// asked for: each names the one before it, and the last one is that where the channel
// stands, unless there are more.
func (r *keptRead) prove(top broker.Position, more bool, entries []resp.Reply) (events []broker.KeptEvent, proven bool) {
	last := r.After
	if last.IsZero() && r.Last <= 0 {
		return nil, false
	}
	for i := range entries {
		k, err := decodeKept(string(entries[i].Text))
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
