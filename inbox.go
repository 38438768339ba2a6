package juggler

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/arena"
)

// inbox holds what other goroutines have for a shard, until its next turn.
type inbox struct {
	mu    sync.Mutex   // guards mail
	mail               // what came since the last take
	taken sync.Cond    // with mu: signalled by take and giveUp
	size  atomic.Int64 // of events and arena, in bytes; see measure
	spare mail         // belongs to the turn: emptied, to be filled next
}

// maxBacklog is how many bytes of events may wait for a shard. Beyond it publications
// are refused, and deliveries of a broker that may wait are held up.
const maxBacklog = 64 << 20

// measure notes the size, with mu held.
func (in *inbox) measure() {
	in.size.Store(int64(in.arena.Size()) + int64(len(in.events))*int64(unsafe.Sizeof(eventItem{})))
}

// behind reports whether so much waits that no more should be added.
func (in *inbox) behind() bool { return in.size.Load() > maxBacklog }

// awaitRoom waits, with mu held, until the inbox is not behind or ctx has
// ended.
func (in *inbox) awaitRoom(ctx context.Context) {
	for in.behind() && ctx.Err() == nil {
		in.taken.Wait()
	}
}

// giveUp wakes goroutines in awaitRoom, to see that their context has ended.
func (in *inbox) giveUp() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.taken.Broadcast()
}

// mail is what an inbox holds. Byte slices are kept in the arena.
type mail struct {
	settled  []*job
	parts    []partItem
	results  []resultItem
	events   []eventItem
	joins    []joinItem
	commands []func()
	arena    arena.Arena
}

// resultItem is a broker.Result in an inbox.
type resultItem struct {
	slot, gen uint32
	args      []byte // in the inbox's arena
	err       *broker.Error
	ran       time.Duration
	parts     uint32
}

// eventItem is a broker.Delivery in an inbox.
type eventItem struct {
	topic         broker.Topic
	channel       string
	id            broker.ID
	headers, args []byte // in the inbox's arena
	gap           bool
	pos           broker.Position // where the channel stands after it, if its events are kept
}

// joinItem is the join of a SUB in an inbox.
type joinItem struct {
	join   *join
	before int // how many of the inbox's events come before it
}

// take empties the inbox.
func (in *inbox) take() mail {
	in.mu.Lock()
	m := in.mail
	in.mail = in.spare
	in.size.Store(0)
	in.taken.Broadcast()
	in.mu.Unlock()
	in.spare = mail{}
	return m
}

// giveBack keeps the memory of m for reuse.
func (in *inbox) giveBack(m mail) {
	m.arena.Reset()
	in.spare = mail{emptied(m.settled), emptied(m.parts), emptied(m.results), emptied(m.events), emptied(m.joins), emptied(m.commands), m.arena}
}

// maxSpareItems is how long a list may be to be kept for reuse.
const maxSpareItems = 1 << 13

// emptied returns list without its items, with its memory unless it is long.
func emptied[T any](list []T) []T {
	if cap(list) > maxSpareItems {
		return nil
	}
	clear(list)
	return list[:0]
}

// Turn handles what is in the inbox, and the timers that are due.
func (sh *shard) Turn(now int64) (next int64) {
	mail := sh.inbox.take()
	for _, j := range mail.settled {
		if j.hook == nil {
			j.s.settle(&j.Request)
		}
		j.s.queue.answered(j)
		j.recycle()
	}
	for i := range mail.parts {
		sh.calls.part(&mail.parts[i])
	}
	for i := range mail.results {
		sh.calls.result(&mail.results[i])
	}
	joins := mail.joins
	for i := range mail.events {
		for ; len(joins) > 0 && joins[0].before == i; joins = joins[1:] {
			sh.placeJoin(joins[0].join)
		}
		sh.event(&mail.events[i])
	}
	for i := range joins {
		sh.placeJoin(joins[i].join)
	}
	for _, f := range mail.commands {
		f()
	}
	sh.inbox.giveBack(mail)

	sh.top.advance(sh.h)
	sh.calls.wheel.Advance(now, (*pendingCall).expire)
	sh.streams.advance(now)
	sh.deadlines.Advance(now, (*session).overdue)
	sh.paces.Advance(now, (*session).paceDue)
	sh.replays.again.Advance(now, (*replay).retry)
	sh.replay()
	sh.streams.sendGrants(sh.h)
	return sh.nextTurn()
}

// nextTurn returns when a timer needs a turn, 0 for never.
func (sh *shard) nextTurn() (next int64) {
	sooner := func(at int64, ok bool) {
		if ok && (next == 0 || at < next) {
			next = at
		}
	}
	sooner(sh.calls.wheel.Next())
	sooner(sh.streams.next())
	sooner(sh.deadlines.Next())
	sooner(sh.paces.Next())
	sooner(sh.replays.again.Next())
	return next
}

// command runs f on the shard's turn, soon. Any goroutine may call it.
func (sh *shard) command(f func()) {
	sh.inbox.mu.Lock()
	sh.inbox.commands = append(sh.inbox.commands, f)
	sh.inbox.mu.Unlock()
	sh.group.Wake()
}

// settled puts jobs that were handled into the inbox, for session.settle.
func (sh *shard) settled(batch []*job) {
	sh.inbox.mu.Lock()
	sh.inbox.settled = append(sh.inbox.settled, batch...)
	sh.inbox.mu.Unlock()
	sh.group.Wake()
}

// deliverResults takes results from the broker, on any goroutine.
func (h *Handler) deliverResults(results []broker.Result) {
	byShard(h, results, func(r *broker.Result) *broker.Address { return &r.To }, (*shard).post)
}

// byShard posts what the broker has for calls to the shards that their addresses name, in
// the order in which it comes.
func byShard[T any](h *Handler, all []T, to func(*T) *broker.Address, post func(*shard, []T)) {
	for len(all) > 0 {
		n, number := 1, to(&all[0]).Ref[8]
		for n < len(all) && to(&all[n]).Ref[8] == number {
			n++
		}
		if sh := h.shards[number%maxShards].Load(); sh != nil {
			post(sh, all[:n])
		}
		all = all[n:]
	}
}

// post puts results into the inbox.
func (sh *shard) post(results []broker.Result) {
	in := &sh.inbox
	in.mu.Lock()
	for i := range results {
		r := &results[i]
		item := resultItem{
			slot: binary.LittleEndian.Uint32(r.To.Ref[0:]),
			gen:  binary.LittleEndian.Uint32(r.To.Ref[4:]),
			ran:  r.Ran, parts: r.Parts,
		}
		if r.Err != nil {
			e := *r.Err
			e.Data = append([]byte(nil), e.Data...)
			item.err = &e
		} else {
			item.args = in.arena.Copy(r.Args)
		}
		in.results = append(in.results, item)
	}
	in.mu.Unlock()
	sh.group.Wake()
}

// awaitRoom holds up the deliveries of a broker that may wait, while the shard is behind.
func (sh *shard) awaitRoom() {
	if in := &sh.inbox; !sh.h.broker.topicsNeverWait && in.behind() {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.awaitRoom(sh.h.ctx)
	}
}

// postJoin puts the join of a SUB into the inbox.
func (sh *shard) postJoin(j *join) {
	in := &sh.inbox
	in.mu.Lock()
	in.joins = append(in.joins, joinItem{j, len(in.events)})
	in.mu.Unlock()
	sh.group.Wake()
}

// postEvent puts a delivery into the inbox.
func (sh *shard) postEvent(d *broker.Delivery) {
	in := &sh.inbox
	in.mu.Lock()
	in.events = append(in.events, eventItem{
		topic:   d.Topic,
		channel: d.Event.Channel,
		id:      d.Event.ID,
		headers: in.arena.Copy(d.Event.Headers),
		args:    in.arena.Copy(d.Event.Args),
		gap:     d.Gap,
		pos:     d.Pos,
	})
	in.measure()
	in.mu.Unlock()
	sh.group.Wake()
}
