package load

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/frame"
)

func TestPeer(t *testing.T) {
	for _, tt := range []struct {
		name                           string
		arrive                         []uint64
		received, duplicates, disorder uint64
		missing                        int
	}{
		{"in order", []uint64{1, 2, 3}, 3, 0, 0, 0},
		{"lost", []uint64{1, 4}, 2, 0, 0, 2},
		{"doubled", []uint64{1, 1, 2, 2}, 2, 2, 0, 0},
		{"out of order", []uint64{2, 1, 3}, 3, 0, 1, 0},
		{"late and doubled", []uint64{1, 3, 2, 2}, 3, 1, 1, 0},
		{"nothing", nil, 0, 0, 0, 0},
	} {
		p := &peer{}
		for _, n := range tt.arrive {
			p.arrive(n)
		}
		if p.received != tt.received || p.duplicates != tt.duplicates || p.disorder != tt.disorder || len(p.missing) != tt.missing {
			t.Errorf("%s: %+v", tt.name, p)
		}
	}
}

func TestRequests(t *testing.T) {
	r := newRequests(2)
	a, b := r.begin(kindCall, 1), r.begin(kindPub, 2)
	if a == nil || b == nil || r.begin(kindCall, 3) != nil || r.open() != 2 {
		t.Fatalf("two slots: %v, %v, %d open", a, b, r.open())
	}
	seq := a.seq
	if r.find(kindCall, seq) != a || r.find(kindPub, seq) != nil {
		t.Error("found by the wrong kind")
	}
	r.end(a)
	if r.find(kindCall, seq) != nil {
		t.Error("a second outcome finds a request that is over")
	}
	if c := r.begin(kindCall, 4); c == nil || c.seq == seq {
		t.Errorf("the slot is used again with the same seq: %+v", c)
	}
}

func TestIDsAndArgs(t *testing.T) {
	for _, p := range []frame.Protocol{frame.Juggler0, frame.Juggler1} {
		for _, seq := range []uint64{0, 1, 1 << 40} {
			id := appendID(nil, p, kindPub, seq)
			if kind, got, ok := parseID(id, p); !ok || kind != kindPub || got != seq {
				t.Errorf("juggler.%d: %s is %c, %d, %v", p, id, kind, got, ok)
			}
		}
	}
	for _, size := range []int{0, 40, 1000} {
		args := appendArgs(nil, 7, 1<<40, -5, size)
		if from, n, due, ok := parseArgs(args); !ok || from != 7 || n != 1<<40 || due != -5 || len(args) < size || !frame.ValidJSON(args) {
			t.Errorf("%s: %d, %d, %d, %v", args, from, n, due, ok)
		}
	}
	for _, args := range []string{"", "1", `{"n":`, `{"n":1,"from":2}`, `{"n":x,"from":1,"at":1`} {
		if _, _, _, ok := parseArgs([]byte(args)); ok {
			t.Errorf("%q was read", args)
		}
	}
}

func TestNiceStep(t *testing.T) {
	var got []float64
	for _, v := range []float64{0, 0.03, 1, 1.1, 4.9, 5, 7, 10, 12345} {
		got = append(got, niceStep(v))
	}
	if want := []float64{1, 0.05, 1, 2, 5, 5, 10, 10, 20000}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// An event that is missing is lost, unless the server has said by GAP that some
// may be.
func TestGapIsNoLoss(t *testing.T) {
	for _, gap := range []bool{false, true} {
		r := &run{config: Config{InFlight: 1, Publish: 1, Channels: 1}, record: newRecord()}
		c := newClient(r, 0)
		c.acked = 2
		r.clients = []*client{c}
		if gap {
			c.handle(&frame.Frame{Type: frame.Gap, Channel: []byte(c.channel)})
		}
		c.handle(&frame.Frame{Type: frame.Evnt, Channel: []byte(c.channel), Args: appendArgs(nil, 0, 2, 0, 0)})
		report := &Report{total: newCounts()}
		r.finish(report)
		want := uint64(1)
		if gap {
			want = 0
		}
		if report.EventsLost != want || report.OK() != gap || report.Gaps != 1-want {
			t.Errorf("GAP came: %v: %d events lost, %d gaps", gap, report.EventsLost, report.Gaps)
		}
	}
}

// A server that closes each connection at once, as one that is overloaded, is
// left alone for longer and longer.
func TestPausesGrow(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "juggler.1" }}
		nc, _, _, err := u.Upgrade(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		_ = ws.WriteFrame(nc, ws.NewCloseFrame(ws.NewCloseFrameBody(1013, "overloaded")))
		nc.Close()
	}))
	defer server.Close()
	start := time.Now()
	report, err := Run(t.Context(), Config{
		URL: "ws" + strings.TrimPrefix(server.URL, "http"), Protocol: frame.Juggler1,
		Clients: 1, InFlight: 1, Rate: 1, Duration: 300 * time.Millisecond, Drain: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	// Six pauses at most are shorter than the longest one, which takes at least a second.
	if most := 7 + uint64(time.Since(start).Seconds()); report.LostConnections == 0 || report.LostConnections > most {
		t.Errorf("%d connections were lost, want 1 to %d", report.LostConnections, most)
	}
}

// A request is sent when it is due, not when the next one is: at a low rate the
// latencies, which count from then, would tell of the rate and of nothing else.
func TestPaceIsPunctual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &run{config: Config{Rate: 10, InFlight: 20}, record: newRecord(), epoch: time.Now()}
		c := newClient(r, 0)
		c.socket = &socket{wake: make(chan struct{}, 1)} // nobody writes what is queued there
		r.clients = []*client{c}
		r.open.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 950*time.Millisecond)
		defer cancel()
		r.pace(ctx)
		if got := r.record.take(); got.Sent != 10 || got.lag.Max() > paceInterval.Microseconds() {
			t.Errorf("%d requests in 950 ms at 10 a second, up to %d µs late", got.Sent, got.lag.Max())
		}
	})
}
