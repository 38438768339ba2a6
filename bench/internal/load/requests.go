package load

// requests keeps s.InFlight requests in flight on each connection.
type requests struct {
	*loop
	tally
	promised promises
	open     int
}

func runRequests(s Spec, p protocol) (Result, error) {
	defer onThread()()
	conns, err := dialAll(s.Addr, s.Conns, p.open)
	if err != nil {
		return Result{}, err
	}
	l, err := newLoop(p, conns)
	if err != nil {
		return Result{}, err
	}
	defer l.close()

	r := &requests{loop: l, promised: p.promises()}
	l.handle = r.answered
	for _, c := range conns {
		c.request = p.request(c)
		c.slots = make([]slot, s.InFlight)
		for i := range c.slots {
			r.ask(c, i)
		}
	}
	return l.count(s, &r.tally, func() int { return r.open })
}

func (r *requests) ask(c *conn, i int) {
	s := &c.slots[i]
	s.number = (s.number + 1) % idSlot
	s.open, s.accepted, s.sent = true, false, r.now
	r.open++
	r.send(c, &c.request, makeID(i, s.number))
}

func (r *requests) answered(c *conn, a answer) {
	i, number, ok := splitID(a.id)
	if !ok || i >= len(c.slots) || !c.slots[i].open || c.slots[i].number != number {
		r.result.Duplicated++
		return
	}
	s := &c.slots[i]
	if a.kind == accepted {
		if s.accepted {
			r.result.Duplicated++
		}
		s.accepted = true
		return
	}
	if r.promised.accepted && !s.accepted {
		r.result.Disordered++
	}
	if r.promised.order {
		if i != c.next {
			r.result.Disordered++
		}
		c.next = (i + 1) % len(c.slots)
	}
	s.open = false
	r.open--
	r.result.Messages++
	if !r.stopping {
		r.times.add(r.now - s.sent)
		r.ask(c, i)
	}
}
