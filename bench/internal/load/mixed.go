package load

import "fmt"

// A mixer is a protocol that a mixed load can speak. Each request has an
// answer of the kind done, or accepted if that is all it gets.
type mixer interface {
	protocol

	// mixed prepares parse for payloads of all sizes: answers to calls carry
	// that of theirs.
	mixed()

	call(payload int) template
	publish(channel string, payload int) template
	subscribing(channel string) template
	unsubscribing(channel string) template
}

// mixed is what a server really gets: on each connection calls and
// publications of several sizes, some in flight at once, and one chain of
// SUB, PUB, UNSB, PUB of a channel of its own, of which only the first PUB may
// make an event. Every connection stays subscribed to one of some group
// channels, to which all of them publish.
//
// Ids tell the publisher and count its requests, so that each subscriber can
// see whether events of one publisher are in order.
type mixed struct {
	*loop
	tally
	p       mixer
	clients []mixedClient
	kinds   [opPublishUnheard + 1]template // those that are the same for all connections
	groups  int
	owed    int // outcomes and events that are still to come
	missed  int // events that never came
}

// mixedGroup is how many subscribers a group channel has.
const mixedGroup = 10

// A mixedClient is one connection.
type mixedClient struct {
	own        [opPublishUnheard + 1]template // requests that name its channels
	number     uint32                         // of its last request
	step       int                            // in the cycle of calls and publications
	asked      [1024]mixedAsked               // by number
	lastByConn []uint32                       // number of the last event of each publisher
}

// mixedAsked is a request whose outcome or events are to come.
type mixedAsked struct {
	number     uint32
	op         mixedOp
	open       bool // has no outcome yet
	accepted   bool // was acknowledged
	deliveries int  // that are to come
	sent       int64
}

type mixedOp int

const (
	opCall16 mixedOp = iota
	opCall128
	opCall1K
	opCall4K
	opPublishSmall
	opPublishLarge
	opSubscribe // the chain of each connection's own channel
	opPublishHeard
	opUnsubscribe
	opPublishUnheard
)

// mixedCycle is what a connection does beside the chain, again and again.
var mixedCycle = []mixedOp{opCall16, opCall128, opPublishSmall, opCall16, opCall1K, opCall16, opPublishLarge, opCall4K}

var mixedPayloads = map[mixedOp]int{
	opCall16: 16, opCall128: 128, opCall1K: 1 << 10, opCall4K: 4 << 10, opPublishSmall: 128, opPublishLarge: 1 << 10,
}

func runMixed(s Spec, p mixer) (Result, error) {
	defer onThread()()
	groups := (s.Conns + mixedGroup - 1) / mixedGroup
	conns, err := dialAll(s.Addr, s.Conns, func(c *conn) error {
		if err := p.open(c); err != nil {
			return err
		}
		return p.subscribe(c, channelName(c.index%groups))
	})
	if err != nil {
		return Result{}, err
	}
	l, err := newLoop(p, conns)
	if err != nil {
		return Result{}, err
	}
	defer l.close()
	p.mixed()
	m := &mixed{loop: l, p: p, groups: groups, clients: make([]mixedClient, len(conns))}
	l.handle = m.answered
	m.prepare()
	for i := range conns {
		m.ask(i, opSubscribe)
		for range max(1, s.InFlight-1) {
			m.next(i)
		}
	}
	counted, err := l.count(s, &m.tally, func() int { return m.owed })
	counted.Lost += m.missed
	return counted, err
}

// prepare makes all messages.
func (m *mixed) prepare() {
	for _, op := range []mixedOp{opCall16, opCall128, opCall1K, opCall4K} {
		m.kinds[op] = m.p.call(mixedPayloads[op])
	}
	for i := range m.clients {
		c := &m.clients[i]
		c.lastByConn = make([]uint32, len(m.clients))
		group := channelName(i % m.groups)
		own := fmt.Sprintf("own%05d", i)
		c.own[opPublishSmall] = m.p.publish(group, mixedPayloads[opPublishSmall])
		c.own[opPublishLarge] = m.p.publish(group, mixedPayloads[opPublishLarge])
		c.own[opSubscribe] = m.p.subscribing(own)
		c.own[opUnsubscribe] = m.p.unsubscribing(own)
		c.own[opPublishHeard] = m.p.publish(own, 16)
		c.own[opPublishUnheard] = c.own[opPublishHeard]
	}
}

// next asks for what comes next in the cycle.
func (m *mixed) next(i int) {
	c := &m.clients[i]
	c.step++
	m.ask(i, mixedCycle[c.step%len(mixedCycle)])
}

func (m *mixed) ask(i int, op mixedOp) {
	c := &m.clients[i]
	c.number = (c.number + 1) % idSlot
	a := &c.asked[c.number%uint32(len(c.asked))]
	m.missed += a.deliveries // 1,024 requests ago
	m.owed -= a.deliveries
	*a = mixedAsked{number: c.number, op: op, open: true, sent: m.now}
	switch op {
	case opPublishSmall, opPublishLarge:
		a.deliveries = m.members(i % m.groups)
	case opPublishHeard:
		a.deliveries = 1
	}
	m.owed += 1 + a.deliveries
	t := &c.own[op]
	if t.bytes == nil {
		t = &m.kinds[op]
	}
	m.send(m.conns[i], t, makeID(i, c.number))
}

// members returns how many connections are in a group.
func (m *mixed) members(group int) int {
	return (len(m.conns) - group + m.groups - 1) / m.groups
}

func (m *mixed) answered(c *conn, got answer) {
	from, number, ok := splitID(got.id)
	if !ok || from >= len(m.clients) {
		m.result.Duplicated++
		return
	}
	a := &m.clients[from].asked[number%uint32(len(m.clients[from].asked))]
	if a.number != number {
		m.result.Duplicated++ // or very late
		return
	}
	if got.kind == event {
		m.delivered(c, from, a)
		return
	}
	call := a.op <= opCall4K
	switch {
	case from != c.index || !a.open:
		m.result.Duplicated++
		return
	case call && got.kind == accepted:
		a.accepted = true
		return
	case call && !a.accepted && m.p.promises().accepted:
		m.result.Disordered++
	case call && got.size != mixedPayloads[a.op]:
		m.result.Duplicated++ // the result of another call
	}
	a.open = false
	m.owed--
	m.result.Messages++
	m.times.add(m.now - a.sent)
	if m.stopping {
		return
	}
	switch a.op {
	case opSubscribe:
		m.ask(from, opPublishHeard)
	case opUnsubscribe:
		m.ask(from, opPublishUnheard)
	case opPublishUnheard:
		m.ask(from, opSubscribe)
	case opPublishHeard:
		m.heard(from, a)
	default:
		m.next(from)
	}
}

// delivered handles an event of connection from on c.
func (m *mixed) delivered(c *conn, from int, a *mixedAsked) {
	last := &m.clients[c.index].lastByConn[from]
	if a.deliveries == 0 {
		m.result.Duplicated++
		return
	}
	if a.op != opPublishHeard {
		if a.number <= *last && *last-a.number < idSlot/2 { // numbers start again
			m.result.Disordered++
		}
		*last = a.number
	}
	a.deliveries--
	m.owed--
	m.result.Messages++
	if a.op == opPublishHeard && !m.stopping {
		m.heard(from, a)
	}
}

// heard goes on with the chain when a publication to the own channel has both
// its answer and its event.
func (m *mixed) heard(from int, a *mixedAsked) {
	if !a.open && a.deliveries == 0 {
		m.ask(from, opUnsubscribe)
	}
}
