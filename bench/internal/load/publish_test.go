package load

import "testing"

// What goes wrong with publications and their events is seen.
func TestPublishFaults(t *testing.T) {
	const subscriber = 2
	for name, test := range map[string]struct {
		do                           func(*publishing)
		open, duplicated, disordered int
	}{
		"events in order": {func(r *publishing) {
			for range 2 {
				r.publish(0)
				id := makeID(0, r.publishers[0].number)
				r.answered(r.conns[0], answer{kind: accepted, id: id})
				r.answered(r.conns[subscriber], answer{kind: event, id: id})
			}
		}, 0, 0, 0},
		"one of many in flight": {func(r *publishing) {
			r.publish(0)
			r.publish(0)
			r.answered(r.conns[0], answer{kind: accepted, id: makeID(0, 2)})
		}, 3, 0, 0}, // an ACK and two events
		"two answers": {func(r *publishing) {
			r.publish(0)
			for range 2 {
				r.answered(r.conns[0], answer{kind: accepted, id: makeID(0, 1)})
			}
		}, 1, 1, 0},
		"somebody else's answer": {func(r *publishing) {
			r.publish(0)
			r.answered(r.conns[1], answer{kind: accepted, id: makeID(0, 1)})
		}, 2, 1, 0},
		"an event twice": {func(r *publishing) {
			r.publish(0)
			for range 2 {
				r.answered(r.conns[subscriber], answer{kind: event, id: makeID(0, 1)})
			}
		}, 1, 1, 0},
		"events out of order": {func(r *publishing) {
			r.publish(0)
			r.publish(0)
			r.answered(r.conns[subscriber], answer{kind: event, id: makeID(0, 2)})
			r.answered(r.conns[subscriber], answer{kind: event, id: makeID(0, 1)})
		}, 3, 1, 1},
		"an event to a publisher": {func(r *publishing) {
			r.publish(0)
			r.answered(r.conns[0], answer{kind: event, id: makeID(0, 1)})
		}, 2, 1, 0},
	} {
		r := newPublishing(&loop{conns: []*conn{{index: 0}, {index: 1}, {index: subscriber}}}, 2, 1)
		r.publication = newJuggler(Spec{}).publication("c")
		r.stopping = true
		test.do(r)
		if r.open+r.owed != test.open || r.result.Duplicated != test.duplicated || r.result.Disordered != test.disordered {
			t.Errorf("%s: %d open, %d twice, %d out of order, want %d, %d, %d", name, r.open+r.owed,
				r.result.Duplicated, r.result.Disordered, test.open, test.duplicated, test.disordered)
		}
	}
}
