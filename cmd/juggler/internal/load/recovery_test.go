package load

import (
	"errors"
	"testing"

	"github.com/juggler-go/juggler/frame"
)

// A client that comes back goes on where it was, and takes its position from nothing but
// what proves one.
func TestRecovery(t *testing.T) {
	at := func(n uint64) frame.Position { return frame.Position{At: n, Tag: n} }
	for _, tt := range []struct {
		name                              string
		acks                              frame.Position
		answer                            frame.Frame
		events                            []uint64 // behind the answer; 0: a GAP without position
		asks                              bool
		recovered, replayed, notRecovered uint64
		pos                               frame.Position
		gapped                            bool
	}{
		{"all that was missed", at(5), frame.Frame{Recovery: frame.Recovered, Pos: at(8)}, []uint64{7, 8, 9}, true, 1, 2, 0, at(9), false},
		{"nothing was missed", at(5), frame.Frame{Recovery: frame.Recovered, Pos: at(6)}, []uint64{7}, true, 1, 0, 0, at(7), false},
		{"a node that is behind", at(5), frame.Frame{Recovery: frame.Recovered, Pos: at(4)}, nil, true, 1, 0, 0, at(6), false},
		{"not all of it yet", at(5), frame.Frame{Recovery: frame.Recovered, Pos: at(8)}, []uint64{7}, true, 0, 1, 0, at(7), false},
		{"something may be missing", at(5), frame.Frame{Recovery: frame.NotRecovered, Pos: at(8)}, []uint64{9}, true, 0, 0, 1, at(9), true},
		{"nothing is kept any more", at(5), frame.Frame{Recovery: frame.NotRecovered}, nil, true, 0, 0, 1, frame.Position{}, true},
		{"a gap on the way", at(5), frame.Frame{Recovery: frame.Recovered, Pos: at(8)}, []uint64{7, 0}, true, 0, 1, 0, frame.Position{}, true},
		{"a channel that is not kept", frame.Position{}, frame.Frame{}, nil, false, 0, 0, 0, frame.Position{}, true},
	} {
		r := &run{config: Config{InFlight: 1, Publish: 1, Channels: 1}, record: newRecord()}
		c := newClient(r, 0)
		confirm := func(f frame.Frame) {
			f.Type, f.For = frame.Ack, appendID(nil, frame.Juggler1, kindSub, 0)
			r.config.Protocol = frame.Juggler1
			c.handle(&f)
		}
		n := uint64(0)
		event := func(pos frame.Position) {
			n++
			c.handle(&frame.Frame{Type: frame.Evnt, Pos: pos, Args: appendArgs(nil, 0, n, 0, 0)})
		}
		c.recovery.subscribe("c", 0)
		confirm(frame.Frame{Pos: tt.acks})
		if !tt.acks.IsZero() {
			event(at(6))
		}
		c.lost(errors.New("dropped"), true)
		if sub := c.recovery.subscribe("c", 0); sub.HasSince != tt.asks || tt.asks && sub.Since != at(6) {
			t.Errorf("%s: SUB %+v", tt.name, sub)
		}
		confirm(tt.answer)
		for _, pos := range tt.events {
			if pos == 0 {
				c.handle(&frame.Frame{Type: frame.Gap})
			} else {
				event(at(pos))
			}
		}
		report := &Report{total: newCounts()}
		r.clients = []*client{c}
		r.finish(report)
		if report.Recovered != tt.recovered || report.Replayed != tt.replayed || report.NotRecovered != tt.notRecovered || report.Drops != 1 || report.LostConnections != 0 {
			t.Errorf("%s: %d recovered, %d replayed, %d not recovered", tt.name, report.Recovered, report.Replayed, report.NotRecovered)
		}
		if c.recovery.pos != tt.pos || c.gapped != tt.gapped || !report.OK() {
			t.Errorf("%s: at %v, gapped: %v, want %v, %v", tt.name, c.recovery.pos, c.gapped, tt.pos, tt.gapped)
		}
	}
}
