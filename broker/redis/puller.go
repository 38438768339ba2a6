package redis

import (
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// A puller takes calls from one lane for one callee: a goroutine, from start
// to stop, and a connection that waits on the server. It waits there only
// while a Take waits here, so that what it is woken for finds somebody.
type puller struct {
	conn    *calleeConn
	lane    *lane
	blocker *blocker
	beat    *beat
	stopped chan struct{}

	appeared bool // announced once; owned by open

	uris []string
	keys []string // of take.lua
	wait *command // BRPOP, for a token of any URI; nil where these are many
	span *span    // which URIs a take looks at; nil: at all

	// Owned by the goroutine.
	first int         // the URI that is asked first
	more  bool        // calls are waiting: there is no need to wait for a token
	calls []takenCall // used again

	// Guarded by conn.mu.
	takes    int                    // how often one began or ended: odd while one is under way
	done     []*heldCall            // answered, but still in the set of taken ones
	suspects map[broker.Address]int // in that set, but nobody here knows them -> takes when they were found
	suspect  bool                   // the set is larger than it should be
	left     bool                   // the announcement has ended, the set is still there
}

func newPuller(c *calleeConn, l *lane, uris []string) *puller {
	p := &puller{
		conn:    c,
		lane:    l,
		blocker: newBlocker(l, "take"),
		stopped: make(chan struct{}),
		uris:    uris,
	}
	p.beat = newBeat(p.announce)
	keys := c.broker.keys
	p.keys = []string{keys.callees(l.index), keys.taken(l.index, c.id)}
	for _, uri := range uris {
		p.keys = append(p.keys, keys.calls(l.index, uri), keys.wake(l.index, uri), keys.cancelled(l.index, uri))
	}
	if len(uris) > manyURIs {
		p.span = newSpan(p.keys[2:])
	} else {
		p.wait = p.waitFrom(0)
	}
	return p
}

// waitFrom returns the command that waits for a token, of the first-th URI rather
// than of those behind it.
func (p *puller) waitFrom(first int) *command {
	c := plain("BRPOP", p.conn.broker.keys.stop(p.lane.index, p.conn.id))
	for i := range p.uris {
		c.text(p.keys[3*((first+i)%len(p.uris))+3])
	}
	c.number(int64(blockFor / time.Second))
	c.blocks = blockFor
	return c
}

func (p *puller) start() { go p.run() }

// stop ends the goroutine: gently, by a wake-up through the server, for a
// connection that is cut loses what is on its way; else by cutting it.
func (p *puller) stop() {
	t := time.NewTimer(p.conn.broker.farewell())
	defer t.Stop()
	told := p.interrupt()
	select {
	case <-p.stopped:
	case <-t.C:
	case <-told.waiter.done:
		if told.err == nil {
			select {
			case <-p.stopped:
			case <-t.C:
			}
		}
	}
	p.blocker.cut()
	<-p.stopped
	p.blocker.close()
}

// interrupt ends the blocking pop. It does not wait.
func (p *puller) interrupt() *op {
	key := p.conn.broker.keys.stop(p.lane.index, p.conn.id)
	o := &op{command: stopScript.run([]string{key}), waiter: newWaiter(1)}
	p.lane.writer.submit(o)
	return o
}

func (p *puller) run() {
	defer close(p.stopped)
	p.blocker.connected() // before the first Take needs it
	for p.conn.awaitTake() {
		link := p.blocker.connected()
		if link == nil {
			return
		}
		if err := p.pull(link); err != nil {
			p.blocker.failed(err)
		} else {
			p.blocker.worked()
		}
	}
}

// pull waits for calls, unless it knows of some, and takes what Take has room
// for. A callee of one lane and few URIs does both in one round trip. One of
// several lanes does not know yet which lane will fill the room, one of many URIs
// where to look: it waits first.
func (p *puller) pull(l *link) error {
	alone := len(p.conn.pullers) == 1
	if alone || p.more {
		room := p.conn.room()
		if room == 0 {
			return nil
		}
		if alone && (p.more || p.span == nil) {
			var wait *command
			if !p.more {
				wait = p.wait
			}
			return p.take(l, wait, room)
		}
	}
	if !p.more {
		if err := p.await(l); err != nil {
			return err
		}
	}
	// Without room, the token that was just taken is put back.
	p.conn.turn.lock()
	defer p.conn.turn.unlock()
	return p.take(l, nil, p.conn.room())
}

// await waits for a token.
func (p *puller) await(l *link) error {
	wait := p.wait
	if p.span != nil {
		wait = p.waitFrom(p.span.turn)
	}
	if err := l.run(wait); err != nil {
		return err
	}
	if p.span != nil {
		p.span.woken(&wait.reply)
	}
	return wait.reply.err()
}

// take runs take.lua for up to room calls, after wait if that is not nil, and
// hands over what it got.
func (p *puller) take(l *link, wait *command, room int) error {
	p.countTake()
	defer p.countTake()
	done := p.answered()
	keys, first := p.keys, p.first
	if p.span != nil {
		keys, first = p.span.look(p.keys), 0
	}
	take := takeScript.on(keys, 64+40*len(done))
	take.text(p.conn.id)
	take.number(int64(room))
	take.number(int64(first))
	var buffer [addressLength]byte
	for _, h := range done {
		take.bytes(appendAddress(buffer[:0], h.to))
	}
	commands := []*command{take}
	if wait != nil {
		commands = []*command{wait, take}
	}
	err := l.run(commands...)
	if err == nil && take.unknown() {
		err = l.run(take)
	}
	if err == nil {
		err = take.reply.err()
	}
	if err == nil && wait != nil {
		err = wait.reply.err()
	}
	if take.reply.err() == nil {
		p.receive(take.reply.list)
		p.forget(done)
	}
	return err
}

func (p *puller) countTake() {
	p.conn.mu.Lock()
	defer p.conn.mu.Unlock()
	p.takes++
}

// receive hands over what take.lua returned.
func (p *puller) receive(values []reply) {
	if len(values) == 0 {
		return
	}
	now := values[0].value
	if now < 0 || len(values) < 2 {
		// The lease is over: this process stood still, or the server forgot.
		p.lane.kick()
		p.blocker.pause(p.conn.broker.config.backoffMin)
		return
	}
	p.more = values[1].value == 1
	if p.span != nil {
		p.span.found(values[2:], p.more)
	}
	calls := p.calls[:0]
	for rest := values[2:]; len(rest) >= 2; {
		uri, count := rest[0].value, rest[1].value
		if p.span != nil {
			uri = p.span.uri(uri)
		}
		if int(uri) >= len(p.uris) || int(count) > len(rest)-2 {
			break
		}
		for _, v := range rest[2 : 2+count] {
			call, err := decodeCall(v.text, now)
			if err != nil {
				p.lane.broker.corrupt(p.keys[3*uri+2], err)
				continue
			}
			call.URI = p.uris[uri]
			calls = append(calls, takenCall{call, v.text, p})
		}
		rest = rest[2+count:]
		p.first = (int(uri) + 1) % len(p.uris)
	}
	p.lane.broker.stats.taken.Add(int64(len(calls)))
	p.calls = calls
	if unwanted := p.conn.handOver(calls); len(unwanted) > 0 {
		p.giveBack(unwanted)
		p.more = true
	}
	clear(p.calls) // they belong to others now
}

// A takenCall is a call with what is needed to give it back.
type takenCall struct {
	call   broker.Call
	value  []byte
	puller *puller
}

// giveBack puts calls back at the heads of their queues: the Take that they
// were taken for has ended. If that fails, they are found later as calls that
// are taken and that nobody knows.
func (p *puller) giveBack(calls []takenCall) {
	keys := p.conn.broker.keys
	for len(calls) > 0 {
		uri := calls[0].call.URI
		n := 1
		for n < len(calls) && calls[n].call.URI == uri {
			n++
		}
		back := givebackScript.run([]string{keys.calls(p.lane.index, uri), keys.wake(p.lane.index, uri), keys.taken(p.lane.index, p.conn.id)})
		for i := n - 1; i >= 0; i-- {
			back.text(address(calls[i].call.ReplyTo))
			back.bytes(calls[i].value)
		}
		p.lane.writer.do(background, back) //nolint:errcheck // see above
		p.lane.broker.stats.taken.Add(-int64(n))
		calls = calls[n:]
	}
}

// answered returns the calls that the server may forget, at most as many as a
// script may get.
func (p *puller) answered() []*heldCall {
	p.conn.mu.Lock()
	defer p.conn.mu.Unlock()
	return slices.Clone(p.done[:min(len(p.done), scriptValues-1000)])
}

// forget forgets calls as the server did. Another round trip may have had the
// same.
func (p *puller) forget(calls []*heldCall) {
	if len(calls) == 0 {
		return
	}
	p.conn.mu.Lock()
	defer p.conn.mu.Unlock()
	for _, h := range calls {
		if !h.forgotten {
			h.forgotten = true
			delete(p.conn.held, h.to)
			p.conn.answered.add(h.to)
		}
	}
	p.done = slices.DeleteFunc(p.done, func(h *heldCall) bool { return h.forgotten })
}

// announce returns the command that renews the lease, and what to do once it
// is done. It also looks for calls that the server gave to this callee in a
// reply that got lost.
func (p *puller) announce() (commands []*command, replied func()) {
	c := p.conn
	keys := c.broker.keys
	names := []string{keys.callees(p.lane.index), keys.taken(p.lane.index, c.id)}
	for _, uri := range p.uris {
		names = append(names, keys.served(p.lane.index, uri), keys.calleesOf(p.lane.index, uri))
	}
	done := p.answered()
	args := []any{c.id, c.broker.config.lease.Milliseconds(), c.broker.config.grace.Milliseconds()}
	for _, h := range done {
		args = append(args, address(h.to))
	}
	lease := announceScript.run(names, args...)
	c.mu.Lock()
	suspect := p.suspect
	c.mu.Unlock()
	if !suspect {
		return []*command{lease}, func() { p.announced(lease, done) }
	}
	members := plain("SMEMBERS", keys.taken(p.lane.index, c.id))
	return []*command{lease, members}, func() {
		p.announced(lease, done)
		p.reportUnknown(members.reply.texts())
	}
}

func (p *puller) announced(lease *command, done []*heldCall) {
	p.forget(done)
	p.conn.mu.Lock()
	defer p.conn.mu.Unlock()
	p.suspect = int(lease.reply.value) > p.conn.heldIn(p)
}

// reportUnknown answers calls of the set that this callee does not know with
// 502: it will never run them. A call is given up only when it was unknown in
// two beats, and when the take is over that was under way in the first of them:
// its reply may bring the call, and may be long on its way.
func (p *puller) reportUnknown(members []string) {
	unknown := map[broker.Address]int{}
	var lost []letter
	p.conn.mu.Lock()
	for _, s := range members {
		to, ok := parseAddress(s)
		if !ok || p.conn.held[to] != nil || p.conn.answered.has(to) {
			continue
		}
		switch takes, before := p.suspects[to]; {
		case !before:
			unknown[to] = p.takes
		case takes == p.takes && takes%2 == 1:
			unknown[to] = takes
		default:
			h := &heldCall{to: to, puller: p}
			p.conn.held[to] = h
			lost = append(lost, p.conn.lostLetter(h))
		}
	}
	p.suspects = unknown
	p.conn.mu.Unlock()
	if len(lost) > 0 {
		p.lane.broker.config.logger.Warn("redis: calls were lost with a connection", "calls", len(lost))
		p.lane.broker.reportLost(lost)
	}
}
