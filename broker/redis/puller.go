package redis

import (
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// blockFor is how long a blocking pop waits on the server. A wake token that
// got lost (with a callee that died just then) delays a call at most so long.
const blockFor = 2 * time.Second

// A puller takes calls from one lane for one callee: a goroutine, from start to stop, and
// a connection that waits on the server. It waits there only while a Take waits here, so
// that no token is lost on a callee without room.
type puller struct {
	conn      *calleeConn
	lane      *lane
	blocker   *conn.Redialer
	heartbeat *heartbeat
	stopped   chan struct{}

	announcedOnce bool // announced once; owned by open

	bunches []bunch
	uris    []string      // of the bunches, in their order
	bunchOf []*bunch      // of each URI
	keys    []string      // of take.lua
	wait    *resp.Command // BZPOPMIN, for a token of any URI; nil where these are many
	finder  *finder       // where a take is to look; nil: at all URIs

	// Owned by the goroutine.
	first int         // the URI that is asked first
	more  bool        // calls are waiting: there is no need to wait for a token
	calls []takenCall // used again

	// Guarded by conn.mu.
	takes    int                    // how often one began or ended: odd while one is under way
	done     []*heldCall            // answered, but still in the set of taken ones
	suspects map[broker.Address]int // in that set, but not known here -> takes when they were found
	suspect  bool                   // the set is larger than it should be
	left     bool                   // the announcement has ended, the set is still there
	naming   int                    // the URI that the next announcement names first
	unknown  bool                   // the server has forgotten: it names all
}

func newPuller(c *calleeConn, l *lane, uris []string) *puller {
	p := &puller{
		conn:    c,
		lane:    l,
		blocker: l.newRedialer("take"),
		stopped: make(chan struct{}),
		bunches: c.broker.keys.bunchesOf(l.index, uris),
	}
	p.heartbeat = newHeartbeat(p.announce)
	keys := c.broker.keys
	p.keys = []string{keys.callees(l.index), keys.taken(l.index, c.id)}
	for i := range p.bunches {
		b := &p.bunches[i]
		for _, uri := range b.uris {
			p.uris, p.bunchOf = append(p.uris, uri), append(p.bunchOf, b)
			p.keys = append(p.keys, keys.calls(l.index, uri), b.tokens, keys.cancelled(l.index, uri))
		}
	}
	if len(uris) > fewURIs {
		p.finder = newFinder(p.keys[2:], p.bunches)
	} else {
		p.wait = p.waitFrom(0)
	}
	return p
}

// waitFrom returns the command that waits for a token, of the first-th bunch rather
// than of those behind it.
func (p *puller) waitFrom(first int) *resp.Command {
	c := resp.NewCommand("BZPOPMIN", p.conn.broker.keys.stop(p.lane.index, p.conn.id))
	for i := range p.bunches {
		c.AddText(p.bunches[(first+i)%len(p.bunches)].tokens)
	}
	c.AddNumber(int64(blockFor / time.Second))
	c.Blocks = blockFor
	return c
}

func (p *puller) start() { go p.run() }

// stop ends the goroutine: gently, by a wake-up through the server, for a
// connection that is cut loses what is on its way; else by cutting it.
func (p *puller) stop() {
	t := time.NewTimer(p.conn.broker.closeTimeout())
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
	p.blocker.Cut()
	<-p.stopped
	p.blocker.Close()
}

// interrupt ends the blocking pop. It does not wait.
func (p *puller) interrupt() *op {
	key := p.conn.broker.keys.stop(p.lane.index, p.conn.id)
	o := &op{command: stopScript.Command([]string{key}), waiter: newWaiter(1)}
	p.lane.writer.Submit(o)
	return o
}

func (p *puller) run() {
	defer close(p.stopped)
	p.blocker.Link() // before the first Take needs it
	for p.conn.awaitTake() {
		link := p.blocker.Link()
		if link == nil {
			return
		}
		if err := p.pull(link); err != nil {
			p.blocker.Failed(err)
		} else {
			p.blocker.Worked()
		}
	}
}

// pull waits for calls, unless it knows of some, and takes what Take has room
// for. A callee of one lane and few URIs does both in one round trip. One of
// several lanes does not know yet which lane will fill the room, one of many URIs
// where to look: it waits first.
func (p *puller) pull(l *conn.Link) error {
	alone := len(p.conn.pullers) == 1
	if alone || p.more {
		room := p.conn.room()
		if room == 0 {
			return nil
		}
		if alone && (p.more || p.finder == nil) {
			var wait *resp.Command
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
	p.conn.taking.Lock()
	defer p.conn.taking.Unlock()
	return p.take(l, nil, p.conn.room())
}

// await waits for a token.
func (p *puller) await(l *conn.Link) error {
	wait := p.wait
	if p.finder != nil {
		wait = p.waitFrom(p.finder.turn)
	}
	if err := l.Run(wait); err != nil {
		return err
	}
	if p.finder != nil {
		p.more = p.finder.woken(&wait.Reply)
	}
	return wait.Reply.Err()
}

// take runs take.lua for up to room calls, after wait if that is not nil, and gives the
// calls to the Take that waits.
func (p *puller) take(l *conn.Link, wait *resp.Command, room int) error {
	p.countTake()
	defer p.countTake()
	done := p.answered()
	keys, first, uris := p.keys, p.first, len(p.uris)
	if p.finder != nil {
		first = 0
		keys, uris = p.finder.look(p.keys)
	}
	take := takeScript.On(keys, 64+40*len(done))
	take.AddText(p.conn.id)
	take.AddNumber(int64(room))
	take.AddNumber(int64(first))
	take.AddNumber(int64(uris))
	var buffer [addressLength]byte
	for _, h := range done {
		take.AddBytes(appendAddress(buffer[:0], h.to))
	}
	commands := []*resp.Command{take}
	if wait != nil {
		commands = []*resp.Command{wait, take}
	}
	err := l.Run(commands...)
	if err == nil {
		err = take.Reply.Err()
	}
	if err == nil && wait != nil {
		err = wait.Reply.Err()
	}
	if take.Reply.Err() == nil {
		p.receive(take.Reply.List)
		p.forget(done)
	}
	return err
}

func (p *puller) countTake() {
	p.conn.mu.Lock()
	defer p.conn.mu.Unlock()
	p.takes++
}

// receive handles what take.lua returned.
func (p *puller) receive(values []resp.Reply) {
	if len(values) == 0 {
		return
	}
	now := values[0].Value
	if now < 0 || len(values) < 2 {
		// The lease is over: this process stood still, or the server forgot.
		p.lane.announceNow()
		p.blocker.Pause(p.conn.broker.config.backoffMin)
		return
	}
	p.more = values[1].Value == 1
	calls, tokens := p.decode(values[2:], now)
	if p.finder != nil {
		p.more = p.finder.taken(tokens, p.more)
	}
	p.lane.broker.stats.taken.Add(int64(len(calls)))
	p.calls = calls
	if unwanted := p.conn.handOver(calls); len(unwanted) > 0 {
		p.giveBack(unwanted)
		p.more = true
	}
	clear(p.calls) // they belong to others now
}

// decode decodes the calls that take.lua returned, and returns the tokens as they are.
func (p *puller) decode(values []resp.Reply, now int64) (calls []takenCall, tokens []resp.Reply) {
	calls = p.calls[:0]
	for len(values) >= 2 {
		uri, count := values[0].Value, values[1].Value
		if count < 0 || int(count) > len(values)-2 {
			break
		}
		found := values[2 : 2+count]
		values = values[2+count:]
		if uri < 0 {
			tokens = append(tokens, found...)
			continue
		}
		if p.finder != nil {
			uri = p.finder.gives(uri)
		}
		if int(uri) >= len(p.uris) {
			break
		}
		for _, v := range found {
			call, err := decodeCall(v.Text, now)
			if err != nil {
				p.lane.broker.corrupt(p.keys[3*uri+2], err)
				continue
			}
			call.URI = p.uris[uri]
			calls = append(calls, takenCall{call, v.Text, p})
		}
		p.first = (int(uri) + 1) % len(p.uris)
	}
	return calls, tokens
}

// A takenCall is a call with what is needed to give it back.
type takenCall struct {
	call   broker.Call
	value  []byte
	puller *puller
}

// giveBack puts calls back at the heads of their queues: the Take that they were taken
// for has ended. If that fails, they are found later as calls that are taken and that the
// callee does not know.
func (p *puller) giveBack(calls []takenCall) {
	for len(calls) > 0 {
		uri := calls[0].call.URI
		n := 1
		for n < len(calls) && calls[n].call.URI == uri {
			n++
		}
		bunches := ""
		for range 4 { // they change rarely
			reply, err := p.lane.writer.do(background, p.givingBack(calls[:n], bunches))
			if err != nil || reply.Kind != '$' {
				break // see above
			}
			bunches = string(reply.Text)
		}
		p.lane.broker.stats.taken.Add(-int64(n))
		calls = calls[n:]
	}
}

// givingBack returns the command that puts calls of one URI back, as long as these are
// its bunches.
func (p *puller) givingBack(calls []takenCall, bunches string) *resp.Command {
	keys, lane, uri := p.conn.broker.keys, p.lane.index, calls[0].call.URI
	names := []string{keys.calls(lane, uri), keys.taken(lane, p.conn.id), keys.bunches(lane, uri), keys.key(lane, "tokens", uri)}
	for _, name := range namesOf(bunches) {
		names = append(names, keys.key(lane, "bunch-tokens", name))
	}
	for _, c := range slices.Backward(calls) {
		if to := c.call.ReplyTo; isKeyed(to.Node) {
			names = append(names, keys.keyed(lane, to.Node))
		}
	}
	back := givebackScript.Command(names, bunches)
	for _, c := range slices.Backward(calls) {
		back.AddText(address(c.call.ReplyTo))
		back.AddBytes(c.value)
	}
	return back
}

// answered returns the calls that the server may forget, at most as many as a
// script may get.
func (p *puller) answered() []*heldCall {
	p.conn.mu.Lock()
	defer p.conn.mu.Unlock()
	return slices.Clone(p.done[:min(len(p.done), resp.MaxScriptValues-1000)])
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

// namedAtOnce is how many URIs a callee of many names in an announcement, in turn, as
// long as the server knows it.
const namedAtOnce = 64

// announce returns the command that renews the lease, and what to do once it is done.
// first: the server may know nothing. It also looks for calls that the server gave to
// this callee in a reply that got lost.
func (p *puller) announce(first bool) (commands []*resp.Command, replied func()) {
	c := p.conn
	done := p.answered()
	c.mu.Lock()
	suspect, from, count := p.suspect, p.naming, min(namedAtOnce, len(p.uris))
	if first || p.unknown {
		from, count = 0, len(p.uris)
	} else {
		p.naming = (from + count) % len(p.uris)
	}
	c.mu.Unlock()
	lease := p.renewal(from, count)
	for _, h := range done {
		lease.AddText(address(h.to))
	}
	if !suspect {
		return []*resp.Command{lease}, func() { p.announced(lease, done) }
	}
	members := resp.NewCommand("SMEMBERS", c.broker.keys.taken(p.lane.index, c.id))
	return []*resp.Command{lease, members}, func() {
		p.announced(lease, done)
		p.reportUnknown(members.Reply.Texts())
	}
}

// renewal returns the command that renews the lease and names count URIs.
func (p *puller) renewal(from, count int) *resp.Command {
	c, keys, lane := p.conn, p.conn.broker.keys, p.lane.index
	names := []string{keys.callees(lane), keys.taken(lane, c.id), keys.uris(lane)}
	for _, b := range p.bunches {
		names = append(names, b.served, b.callees)
	}
	lease, grace := c.broker.config.lease, c.broker.config.grace
	turns := time.Duration(len(p.uris)/namedAtOnce + 1) // until a URI is named again
	all := 0
	if count == len(p.uris) {
		all = 1
	}
	args := []any{c.id, lease.Milliseconds(), grace.Milliseconds(), (lease + grace + turns*lease/2).Milliseconds(), len(p.bunches), all}
	for i := range count {
		uri := (from + i) % len(p.uris)
		b := p.bunchOf[uri]
		names = append(names, keys.bunches(lane, p.uris[uri]), p.keys[3*uri+2], b.tokens)
		args = append(args, b.name)
	}
	return announceScript.Command(names, args...)
}

func (p *puller) announced(lease *resp.Command, done []*heldCall) {
	p.forget(done)
	reply := lease.Reply.List
	if len(reply) < 2 {
		return
	}
	p.conn.mu.Lock()
	defer p.conn.mu.Unlock()
	p.suspect = int(reply[0].Value) > p.conn.heldIn(p)
	p.unknown = reply[1].Value != 0
	if p.unknown {
		p.lane.announceNow()
	}
}

// reportUnknown answers calls of the set that this callee does not know with 502: it will
// never run them. A call is given up only when it was unknown in two heartbeats, and when
// the take is over that was under way in the first of them: its reply may bring the call,
// and may be long on its way.
func (p *puller) reportUnknown(members []string) {
	unknown := map[broker.Address]int{}
	var lost []outboxEntry
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
			lost = append(lost, p.conn.lossEntry(h))
		}
	}
	p.suspects = unknown
	p.conn.mu.Unlock()
	if len(lost) > 0 {
		p.lane.broker.config.logger.Warn("calls were lost with a connection", "calls", len(lost))
		p.lane.broker.reportLost(lost)
	}
}
