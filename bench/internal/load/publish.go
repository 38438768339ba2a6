package load

import (
	"fmt"
	"slices"
)

// KeptPrefix is how channels begin whose events the server keeps.
const KeptPrefix = "kept."

// publishing keeps s.InFlight publications in flight on each connection, all
// of them to one channel, whose events the server keeps if s.Kept. It counts
// those that were acknowledged.
//
// Ids tell the publisher and count its publications, so that a subscriber can
// see whether the events of one publisher are in order.
type publishing struct {
	*loop
	tally
	publishers  []publisher
	publication template
	subscribers int
	open        int // publications without an answer
	owed        int // events that are still to come
}

type publisher struct {
	number   uint32 // of its last publication
	inFlight map[uint32]int64
	heard    []uint32 // by subscriber: how many of its events have come
}

func runPublish(s Spec, p protocol) (Result, error) {
	defer onThread()()
	if s.Conns > maxSlots {
		return Result{}, fmt.Errorf("load: %d connections publish, there are ids for %d", s.Conns, maxSlots)
	}
	conns, err := dialAll(s.Addr, s.Conns, p.open)
	if err != nil {
		return Result{}, err
	}
	channel := channelName(0)
	if s.Kept {
		channel = KeptPrefix + channel
	}
	subscribers, err := dialAll(s.Addr, s.Audience, func(c *conn) error {
		if err := p.open(c); err != nil {
			return err
		}
		return p.subscribe(c, channel)
	})
	if err != nil {
		return Result{}, err
	}
	l, err := newLoop(p, slices.Concat(conns, subscribers))
	if err != nil {
		return Result{}, err
	}
	defer l.close()

	r := newPublishing(l, s.Conns, s.Audience)
	r.publication = p.publication(channel)
	l.handle = r.answered
	for i := range r.publishers {
		for range s.InFlight {
			r.publish(i)
		}
	}
	return l.count(s, &r.tally, func() int { return r.open + r.owed })
}

func newPublishing(l *loop, publishers, subscribers int) *publishing {
	r := &publishing{loop: l, publishers: make([]publisher, publishers), subscribers: subscribers}
	for i := range r.publishers {
		r.publishers[i] = publisher{inFlight: make(map[uint32]int64), heard: make([]uint32, subscribers)}
	}
	return r
}

func (r *publishing) publish(i int) {
	from := &r.publishers[i]
	from.number = (from.number + 1) % idSlot
	from.inFlight[from.number] = r.now
	r.open++
	r.owed += r.subscribers
	r.send(r.conns[i], &r.publication, makeID(i, from.number))
}

func (r *publishing) answered(c *conn, a answer) {
	i, number, ok := splitID(a.id)
	switch {
	case !ok || i >= len(r.publishers):
		r.result.Duplicated++
	case a.kind == event:
		r.delivered(&r.publishers[i], c.index-len(r.publishers), number)
	default:
		r.acknowledged(c, i, number)
	}
}

// delivered handles an event on a subscriber's connection.
func (r *publishing) delivered(from *publisher, subscriber int, number uint32) {
	if subscriber < 0 {
		r.result.Duplicated++
		return
	}
	switch ahead := (number + idSlot - from.heard[subscriber]) % idSlot; {
	case ahead == 0 || ahead > idSlot/2:
		r.result.Duplicated++
		return
	case ahead > 1:
		r.result.Disordered++
	}
	from.heard[subscriber] = number
	r.owed--
}

func (r *publishing) acknowledged(c *conn, i int, number uint32) {
	sent, asked := r.publishers[i].inFlight[number]
	if !asked || i != c.index {
		r.result.Duplicated++
		return
	}
	delete(r.publishers[i].inFlight, number)
	r.open--
	r.result.Messages++
	if !r.stopping {
		r.times.add(r.now - sent)
		r.publish(i)
	}
}
