package load

import (
	"fmt"
	"slices"
)

// fanOut keeps s.InFlight publications of one publisher outstanding: the next
// one leaves when all subscribers have got one.
type fanOut struct {
	*loop
	tally
	publisher    *conn
	publications []template // for each channel
	subscribers  []int      // of each channel
	remaining    []int      // deliveries, of the publications outstanding, by number
	sent         []int64
	published    uint32
	outstanding  int // deliveries
}

func runFanOut(s Spec, p protocol) (Result, error) {
	defer onThread()()
	channels := max(1, s.Channels)
	conns, err := dialAll(s.Addr, s.Conns, func(c *conn) error {
		if err := p.open(c); err != nil {
			return err
		}
		return p.subscribe(c, channelName(c.index%channels))
	})
	if err != nil {
		return Result{}, err
	}
	publisher, err := dialAll(s.Addr, 1, p.open)
	if err != nil {
		return Result{}, err
	}
	l, err := newLoop(p, slices.Concat(conns, publisher))
	if err != nil {
		return Result{}, err
	}
	defer l.close()

	f := &fanOut{
		loop:        l,
		publisher:   publisher[0],
		subscribers: make([]int, channels),
		remaining:   make([]int, idSlot),
		sent:        make([]int64, idSlot),
	}
	for i := range channels {
		f.publications = append(f.publications, p.publication(channelName(i)))
	}
	for _, c := range conns {
		c.expects = uint32(c.index % channels)
		f.subscribers[c.index%channels]++
	}
	l.handle = f.answered
	for range s.InFlight {
		f.publish()
	}
	return l.count(s, &f.tally, func() int { return f.outstanding })
}

func (f *fanOut) publish() {
	number := f.published % idSlot
	channel := int(f.published) % len(f.publications)
	f.remaining[number] = f.subscribers[channel]
	f.sent[number] = f.now
	f.outstanding += f.subscribers[channel]
	f.published++
	f.send(f.publisher, &f.publications[channel], makeID(0, number))
}

func (f *fanOut) answered(c *conn, a answer) {
	if c == f.publisher {
		return
	}
	_, number, ok := splitID(a.id)
	if !ok || f.remaining[number] == 0 {
		f.result.Duplicated++
		return
	}
	if number != c.expects {
		f.result.Disordered++
	}
	c.expects = (number + uint32(len(f.publications))) % idSlot
	f.result.Messages++
	f.remaining[number]--
	f.outstanding--
	if f.remaining[number] > 0 {
		return
	}
	f.times.add(f.now - f.sent[number])
	if !f.stopping {
		f.publish()
	}
}

func channelName(i int) string { return fmt.Sprintf("channel%05d", i) }
