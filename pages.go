package juggler

import (
	"context"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/worker"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// What pages of kept events may have, in bytes of payload: one, and all of those that are
// asked for together.
const (
	maxPageBytes   = 128 << 10
	maxReadBytes   = 4 << 20
	maxReadsAtOnce = 256
)

// What is kept of pages for others who ask for the same: for up to twice that time, and that
// part of WithMaxNodeQueueBytes. Where many clients come back, there are pages of some
// hundred channels.
const (
	recentPagesLife = time.Second
	recentPagesPart = 16
)

// eventEnvelope is about what an event's message has besides headers, channel and args.
const eventEnvelope = 128

// A page is kept events of a channel as clients get them, for any number of replays. It
// does not change.
type page struct {
	err    error
	proven bool
	gaps   uint64 // of the nodeChain before it was read
	events []pageEvent
	frames []byte
}

type pageEvent struct {
	pos broker.Position
	end int // of its frame in frames
}

// frame returns an event as a WebSocket message.
func (p *page) frame(i int) []byte {
	begin := 0
	if i > 0 {
		begin = p.events[i-1].end
	}
	return p.frames[begin:p.events[i].end]
}

func (p *page) size() int { return cap(p.frames) + 24*cap(p.events) }

// pageKey is what is asked for: the events after a position, or the newest.
type pageKey struct {
	channel string
	after   broker.Position
	last    int
}

// pageReader reads pages for all shards: those of many channels in one request to the
// broker, and each once for all who ask for the same meanwhile. A part of the broker is
// asked by one goroutine, for what has come since it asked last.
type pageReader struct {
	h *Handler

	mu     sync.Mutex // guards the following
	parts  map[int]*pageQueue
	recent [2]map[pageKey]*page // what was read lately, and before that
	bytes  [2]int               // of these
	timed  bool                 // a timer is going to drop the older ones
}

// init prepares p.
func (p *pageReader) init(h *Handler) { p.h = h }

// pageQueue is what waits to be read from one part of the broker. It implements
// [worker.Worker].
type pageQueue struct {
	reader  *pageReader
	waiting []*pageRead // guarded by reader.mu, as what follows
	byKey   map[pageKey]*pageRead
	busy    bool
}

// A pageRead is asked for by one or more.
type pageRead struct {
	key   pageKey
	tell  []func(*page)
	chain *nodeChain
}

// now reads a page from a broker that does not wait.
func (p *pageReader) now(key pageKey) *page {
	reads := []*pageRead{{key: key, chain: p.chainOf(key.channel)}}
	return p.read(p.h.ctx, reads)[0]
}

// get is ask that waits.
func (p *pageReader) get(ctx context.Context, key pageKey) *page {
	if p.h.broker.publishesNeverWait {
		return p.now(key)
	}
	ctx, cancel := p.h.broker.bound(ctx, false)
	defer cancel()
	got := make(chan *page, 1)
	p.ask(key, func(page *page) { got <- page })
	select {
	case page := <-got:
		return page
	case <-ctx.Done():
		return &page{err: ctx.Err()}
	}
}

// ask has tell called with a page, maybe at once, on any goroutine.
func (p *pageReader) ask(key pageKey, tell func(*page)) {
	p.mu.Lock()
	if found := p.find(key); found != nil {
		p.mu.Unlock()
		tell(found)
		return
	}
	defer p.mu.Unlock()
	q := p.queue(p.h.broker.partOf(key.channel))
	if r := q.byKey[key]; r != nil {
		r.tell = append(r.tell, tell)
		return
	}
	r := &pageRead{key: key, tell: []func(*page){tell}}
	q.byKey[key] = r
	q.waiting = append(q.waiting, r)
	if !q.busy {
		q.busy = true
		worker.Start(&p.h.work, q)
	}
}

// queue returns the queue of a part of the broker. The caller holds mu.
func (p *pageReader) queue(part int) *pageQueue {
	q := p.parts[part]
	if q == nil {
		if p.parts == nil {
			p.parts = make(map[int]*pageQueue)
		}
		q = &pageQueue{reader: p, byKey: make(map[pageKey]*pageRead)}
		p.parts[part] = q
	}
	return q
}

// Step implements [worker.Worker].
func (q *pageQueue) Step() (more bool) {
	reads := q.take()
	if len(reads) == 0 {
		return false
	}
	p := q.reader
	for _, r := range reads {
		r.chain = p.chainOf(r.key.channel)
	}
	ctx, cancel := context.WithTimeout(p.h.ctx, p.h.broker.timeout)
	pages := p.read(ctx, reads)
	cancel()
	for i, r := range reads {
		p.note(r.key, pages[i])
		for _, tell := range r.tell {
			tell(pages[i])
		}
	}
	return true
}

// take takes what is read together next, or ends the work.
func (q *pageQueue) take() []*pageRead {
	q.reader.mu.Lock()
	defer q.reader.mu.Unlock()
	n := min(len(q.waiting), maxReadsAtOnce)
	reads := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	for _, r := range reads {
		delete(q.byKey, r.key) // who asks from now on may want newer events
	}
	q.busy = n > 0
	return reads
}

// read asks the broker for pages, and makes them what clients get.
func (p *pageReader) read(ctx context.Context, reads []*pageRead) []*page {
	ask, answers := make([]broker.Read, len(reads)), make([]broker.Page, len(reads))
	made := make([]*page, len(reads))
	for i, r := range reads {
		made[i] = &page{}
		if r.chain != nil {
			_, made[i].gaps = r.chain.state()
		}
		ask[i] = broker.Read{Channel: r.key.channel, After: r.key.after, Last: r.key.last,
			MaxBytes: min(maxPageBytes, p.h.cfg.maxQueue/4, maxReadBytes/len(reads))}
	}
	p.h.broker.history.ReadKept(ctx, ask, answers)
	for i := range answers {
		p.h.makePage(made[i], reads[i].key.channel, &answers[i])
	}
	return made
}

// makePage frames the events of a. What cannot be sent becomes a gap in its place.
func (h *Handler) makePage(p *page, channel string, a *broker.Page) {
	p.err, p.proven = a.Err, a.Proven
	p.events = make([]pageEvent, len(a.Events))
	size := 0
	for i := range a.Events {
		size += len(a.Events[i].Event.Args) + len(a.Events[i].Event.Headers) + len(channel) + eventEnvelope
	}
	p.frames = make([]byte, 0, size)
	var text []byte
	for i := range a.Events {
		e := &a.Events[i]
		begin := len(p.frames)
		problem := h.unfitEvent(&broker.Delivery{Event: e.Event})
		if problem == "" {
			name, own := broker.IsOwn(channel)
			text = frame.Juggler1.Append(text[:0], &frame.Frame{
				Type: frame.Evnt, Publication: e.Event.ID, Channel: bytesOf(name), Own: own,
				Args: e.Event.Args, Headers: e.Event.Headers, Pos: e.Pos,
			})
			p.frames = wsconn.AppendText(p.frames, text)
		}
		if problem != "" || len(p.frames)-begin > h.cfg.maxQueue {
			p.frames = append(p.frames[:begin], frameGap(broker.Topic{Name: channel}, e.Pos)...)
		}
		p.events[i] = pageEvent{e.Pos, len(p.frames)}
	}
}

// chainOf returns the chain of a channel that the node is subscribed to.
func (p *pageReader) chainOf(channel string) *nodeChain {
	if nt := p.h.topics.find(broker.Topic{Name: channel}); nt != nil {
		return nt.chain
	}
	return nil
}

// find returns a page that was read lately, or nil. The newest events are always read
// anew. The caller holds mu.
func (p *pageReader) find(key pageKey) *page {
	for _, m := range p.recent {
		if found := m[key]; found != nil && key.last == 0 {
			return found
		}
	}
	return nil
}

// note keeps a page for a while, for those who come back at once. One without events
// would bring nobody further.
func (p *pageReader) note(key pageKey, read *page) {
	if key.last > 0 || len(read.events) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if int64(p.bytes[0]+read.size()) > p.h.cfg.maxNodeQueue/recentPagesPart/2 {
		p.turnOver()
	}
	if p.recent[0] == nil {
		p.recent[0] = make(map[pageKey]*page)
	}
	p.recent[0][key] = read
	p.bytes[0] += read.size()
	if !p.timed {
		p.timed = true
		time.AfterFunc(recentPagesLife, p.age)
	}
}

// turnOver drops the older pages. The caller holds mu.
func (p *pageReader) turnOver() {
	p.recent = [2]map[pageKey]*page{nil, p.recent[0]}
	p.bytes = [2]int{0, p.bytes[0]}
}

// age is called while there are recent pages.
func (p *pageReader) age() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turnOver()
	if p.timed = p.recent[1] != nil; p.timed {
		time.AfterFunc(recentPagesLife, p.age)
	}
}
