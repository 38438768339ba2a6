package load

import "testing"

// newTestMixed is a mixed load of two connections that nothing is sent on.
func newTestMixed() *mixed {
	p := newJuggler(Spec{}).(mixer)
	conns := []*conn{{index: 0}, {index: 1}}
	m := &mixed{loop: &loop{p: p, conns: conns}, p: p, groups: 1, clients: make([]mixedClient, 2)}
	m.prepare()
	return m
}

// What goes wrong is seen.
func TestMixedFaults(t *testing.T) {
	publish := func(m *mixed) uint32 { // of connection 0, to both
		m.ask(0, opPublishSmall)
		return makeID(0, m.clients[0].number)
	}
	call := func(m *mixed) uint32 {
		m.ask(0, opCall16)
		return makeID(0, m.clients[0].number)
	}
	for name, test := range map[string]struct {
		do                     func(*mixed)
		duplicated, disordered int
	}{
		"a call": {func(m *mixed) {
			id := call(m)
			m.answered(m.conns[0], answer{kind: accepted, id: id})
			m.answered(m.conns[0], answer{done, id, 16})
		}, 0, 0},
		"a result without an ACK": {func(m *mixed) { m.answered(m.conns[0], answer{done, call(m), 16}) }, 0, 1},
		"the result of another call": {func(m *mixed) {
			id := call(m)
			m.answered(m.conns[0], answer{kind: accepted, id: id})
			m.answered(m.conns[0], answer{done, id, 128})
		}, 1, 0},
		"two results": {func(m *mixed) {
			id := call(m)
			m.answered(m.conns[0], answer{kind: accepted, id: id})
			m.answered(m.conns[0], answer{done, id, 16})
			m.answered(m.conns[0], answer{done, id, 16})
		}, 1, 0},
		"somebody else's result": {func(m *mixed) { m.answered(m.conns[1], answer{done, call(m), 16}) }, 1, 0},
		"events in order": {func(m *mixed) {
			for range 2 {
				id := publish(m)
				m.answered(m.conns[0], answer{kind: event, id: id})
				m.answered(m.conns[1], answer{kind: event, id: id})
			}
		}, 0, 0},
		"events out of order": {func(m *mixed) {
			first, second := publish(m), publish(m)
			m.answered(m.conns[1], answer{kind: event, id: second})
			m.answered(m.conns[1], answer{kind: event, id: first})
		}, 0, 1},
		"an event too many": {func(m *mixed) {
			id := publish(m)
			for range 3 {
				m.answered(m.conns[1], answer{kind: event, id: id})
			}
		}, 1, 1}, // the second one is not after the first
		"an event after UNSB": {func(m *mixed) {
			m.ask(0, opPublishUnheard)
			m.answered(m.conns[0], answer{kind: event, id: makeID(0, m.clients[0].number)})
		}, 1, 0},
	} {
		m := newTestMixed()
		m.stopping = true
		test.do(m)
		if m.result.Duplicated != test.duplicated || m.result.Disordered != test.disordered {
			t.Errorf("%s: %d twice and %d out of order, want %d and %d", name,
				m.result.Duplicated, m.result.Disordered, test.duplicated, test.disordered)
		}
	}
}

// The chain of a connection's own channel goes on when a publication has both
// its answer and its event, whatever comes first.
func TestMixedChain(t *testing.T) {
	for _, eventFirst := range []bool{false, true} {
		m := newTestMixed()
		m.ask(0, opPublishHeard)
		answers := []answer{
			{kind: accepted, id: makeID(0, m.clients[0].number)},
			{kind: event, id: makeID(0, m.clients[0].number)},
		}
		if eventFirst {
			answers[0], answers[1] = answers[1], answers[0]
		}
		m.answered(m.conns[0], answers[0])
		if m.owed != 1 || m.clients[0].number != 1 {
			t.Errorf("event first %v: %d owed, %d asked after the first, want 1 and 1", eventFirst, m.owed, m.clients[0].number)
		}
		m.answered(m.conns[0], answers[1])
		if a := m.clients[0].asked[2]; a.op != opUnsubscribe || !a.open {
			t.Errorf("event first %v: UNSB is not asked for", eventFirst)
		}
	}
}
