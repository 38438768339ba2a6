package load

import "testing"

// What goes wrong with the pieces of a long answer is seen.
func TestStreamFaults(t *testing.T) {
	for name, test := range map[string]struct {
		pieces               []answer
		wrong, disordered, n int
	}{
		"in order": {[]answer{{kind: ready}, piece(0), piece(1)}, 0, 0, 2},
		"a hole":   {[]answer{piece(0), piece(2), piece(3)}, 0, 1, 3},
		"twice":    {[]answer{piece(0), piece(0)}, 0, 1, 2},
		"a result": {[]answer{piece(0), {kind: done, id: makeID(0, 1)}}, 1, 0, 1},
		"no id":    {[]answer{{kind: event}}, 1, 0, 0},
	} {
		var r streams
		c := &conn{}
		for _, a := range test.pieces {
			r.came(c, a)
		}
		if got := r.result; got.Duplicated != test.wrong || got.Disordered != test.disordered || got.Messages != test.n {
			t.Errorf("%s: %d wrong, %d out of order, %d in all, want %d, %d, %d",
				name, got.Duplicated, got.Disordered, got.Messages, test.wrong, test.disordered, test.n)
		}
	}
}

func piece(n uint32) answer { return answer{kind: event, id: makeID(0, n)} }
