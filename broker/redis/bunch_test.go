package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/juggler-go/juggler/internal/redissim"
	goredis "github.com/redis/go-redis/v9"
)

// A simHost is a server in memory, in simulated time, with a node and callees.
type simHost struct {
	t      *testing.T
	world  *redissim.World
	server *redissim.Server
	node   broker.CallerConn
	calls  uint16

	mu    sync.Mutex // guards the following
	ended []broker.Result
}

// onSimHost runs a test in simulated time.
func onSimHost(t *testing.T, test func(t *testing.T, h *simHost)) {
	synctest.Test(t, func(t *testing.T) {
		h := &simHost{t: t, world: redissim.New(1)}
		h.server = h.world.Server("10.0.0.1:6379")
		var err error
		if h.node, err = h.broker("node").OpenCaller(t.Context(), broker.ID{'h'}, h.deliver); err != nil {
			t.Fatal(err)
		}
		test(t, h)
		for _, name := range h.world.Strange() {
			t.Errorf("the fake does not know %s", name)
		}
	})
}

func (h *simHost) deliver(results []broker.Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = append(h.ended, results...)
}

// refused counts the calls that ended in 404.
func (h *simHost) refused() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, r := range h.ended {
		if r.Err != nil && r.Err.Code == broker.CodeNoCallee {
			n++
		}
	}
	return n
}

func (h *simHost) broker(process string) *Broker {
	h.t.Helper()
	b, err := New(WithServer(&goredis.Options{Addr: h.server.Addr, Dialer: h.world.Dialer(process)}))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		b.Close()               //nolint:errcheck // never fails
		time.Sleep(time.Minute) // go-redis may still be dialling
	})
	return b
}

func (h *simHost) callee(uris []string) *calleeConn {
	h.t.Helper()
	conn, err := h.broker(fmt.Sprint("callee", len(uris))).OpenCallee(h.t.Context(), uris, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return conn.(*calleeConn)
}

func (h *simHost) call(uri string) error {
	h.calls++
	to := broker.Address{Node: broker.ID{'h'}}
	binary.BigEndian.PutUint16(to.Ref[:], h.calls)
	return h.node.Call(h.t.Context(), &broker.Call{URI: uri, ReplyTo: to, Timeout: time.Minute})
}

// takes has a callee take a call, and checks that it gets it at once: sooner than it
// would find one whose token is lost.
func (h *simHost) takes(c *calleeConn, uri string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), blockFor/2)
	defer cancel()
	dst := make([]broker.Call, 1)
	if _, err := c.Take(ctx, dst); err != nil || dst[0].URI != uri {
		h.t.Errorf("took %q, %v", dst[0].URI, err)
	}
}

// called makes calls to a URI until one is queued, and returns for how long none was.
func (h *simHost) called(uri string) time.Duration {
	h.t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if h.call(uri) == nil {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			h.t.Fatalf("no call of %s is queued", uri)
		}
	}
}

// several returns URIs, the first of which all have in common.
func several(n int, name string) []string {
	uris := []string{"u"}
	for i := range n - 1 {
		uris = append(uris, fmt.Sprint(name, i))
	}
	return uris
}

// Callees of one URI have other URIs besides, each others. Whoever waits takes a call
// at once, however busy the others are, one that they have given back, too.
func TestCalleesOfOtherURIs(t *testing.T) {
	t.Parallel()
	sets := [][]string{several(1, ""), several(5, "a"), several(50, "b"), several(50, "c"), several(300, "b")}
	onSimHost(t, func(t *testing.T, h *simHost) {
		var callees []*calleeConn
		for _, uris := range sets {
			callees = append(callees, h.callee(uris))
		}
		for _, c := range slices.Concat(callees, callees) {
			if err := h.call("u"); err != nil {
				t.Fatal(err)
			}
			h.takes(c, "u")
		}
		for i, taker := range callees {
			giver := callees[(i+1)%len(callees)]
			p := giver.pullers[0]
			to := broker.Address{Node: broker.ID{'h'}, Ref: [16]byte{15: byte(1 + i)}}
			value := fmt.Appendf(nil, "C%013d%s", time.Now().Add(time.Minute).UnixMilli(), encodeCall(&broker.Call{ReplyTo: to, Timeout: time.Minute}))
			if _, err := p.lane.writer.do(t.Context(), resp.NewCommand("SADD", giver.broker.keys.taken(0, giver.id), address(to))); err != nil {
				t.Fatal(err)
			}
			p.giveBack([]takenCall{{broker.Call{URI: "u", ReplyTo: to}, value, p}})
			h.takes(taker, "u")
		}
	})
}

// What is queued when nobody is there, in the grace of the last callee, a callee with
// other URIs takes at once when it comes.
func TestCalleeComesInGrace(t *testing.T) {
	t.Parallel()
	for _, before := range []int{1, 50} {
		for _, after := range []int{1, 50, 300} {
			t.Run(fmt.Sprint(before, " ", after), func(t *testing.T) {
				t.Parallel()
				onSimHost(t, func(t *testing.T, h *simHost) {
					h.callee(several(before, "a")).Close() //nolint:errcheck // never fails
					if err := h.call("u"); err != nil {
						t.Fatal(err)
					}
					h.takes(h.callee(several(after, "b")), "u")
				})
			})
		}
	}
}

// Calls in the queues of many URIs end when the grace of these is over, not before, and
// not as long as another callee serves them. A callee that was cut off is gone a lease
// later.
func TestGraceOfManyURIs(t *testing.T) {
	t.Parallel()
	const lease, grace = 5 * time.Second, 5 * time.Second
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut off: ", cut), func(t *testing.T) {
			t.Parallel()
			onSimHost(t, func(t *testing.T, h *simHost) {
				uris := several(600, "a")
				other := h.callee(uris[:100])
				gone := h.callee(uris)
				time.Sleep(3 * lease)
				for _, uri := range uris {
					if err := h.call(uri); err != nil {
						t.Fatal(err)
					}
				}
				began, wait := time.Now(), grace
				if cut {
					wait = lease + grace
					h.world.Refuse("callee600", h.server.Addr, true)
					h.world.Cut("callee600", h.server.Addr)
				} else {
					gone.Close() //nolint:errcheck // never fails
				}
				time.Sleep(time.Until(began.Add(grace - time.Second)))
				if n := h.refused(); n != 0 {
					t.Errorf("%d calls ended in the grace", n)
				}
				time.Sleep(time.Until(began.Add(wait + lease)))
				if n := h.refused(); n != 500 {
					t.Errorf("%d calls ended, want the 500 that nobody serves", n)
				}
				other.Close() //nolint:errcheck // never fails
				time.Sleep(grace + lease)
				if n := h.refused(); n != 600 {
					t.Errorf("%d calls ended, want all", n)
				}
			})
		})
	}
}

// The server loses all keys, or some of them, of a callee with many URIs. All are served again with
// the next announcement, or as soon as each was named again, and calls are taken at once.
func TestManyURIsForgotten(t *testing.T) {
	t.Parallel()
	const beat = 1250 * time.Millisecond // a quarter of a lease
	for name, test := range map[string]struct {
		evicted float64
		within  time.Duration
	}{
		"all":  {1, beat},
		"some": {0.3, 6 * beat},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onSimHost(t, func(t *testing.T, h *simHost) {
				uris := several(300, "a")
				c := h.callee(uris)
				for _, uri := range uris {
					if err := h.call(uri); err != nil {
						t.Fatal(err)
					}
					h.takes(c, uri)
				}
				time.Sleep(3 * beat)
				h.server.Evict(test.evicted)
				began := time.Now()
				for _, uri := range uris {
					h.called(uri)
				}
				if d := time.Since(began); d > test.within+beat {
					t.Errorf("not all were served for %v", d)
				}
				time.Sleep(test.within)
				for range uris {
					dst := make([]broker.Call, 1)
					ctx, cancel := context.WithTimeout(t.Context(), blockFor/2)
					if _, err := c.Take(ctx, dst); err != nil {
						t.Fatal(err)
					}
					cancel()
				}
			})
		})
	}
}

// An announcement of a callee that the server knows does not grow with its URIs.
func TestAnnouncementOfManyURIs(t *testing.T) {
	t.Parallel()
	onSimHost(t, func(t *testing.T, h *simHost) {
		var sizes []int
		for _, n := range []int{500, 5000} {
			c := h.callee(several(n, fmt.Sprint("n", n)))
			commands, _ := c.pullers[0].announce(false)
			sizes = append(sizes, commands[0].Size())
		}
		if sizes[1] > sizes[0]*11/10 {
			t.Errorf("announcements of 500 and 5,000 URIs have %v bytes", sizes)
		}
	})
}

// Callees each with a URI of its own have nearly all bunches in common: most calls to
// what they share wake one of them.
func TestBunchesOfAlmostTheSame(t *testing.T) {
	ks := newKeyspace("juggler", 1, false)
	const callees = 50
	of := map[string]map[string]bool{}
	for c := range callees {
		uris := append(several(400, "shared"), fmt.Sprint("own", c))
		for _, b := range ks.bunchesOf(0, uris) {
			for _, uri := range b.uris {
				if of[uri] == nil {
					of[uri] = map[string]bool{}
				}
				of[uri][b.tokens] = true
			}
		}
	}
	wakes := 0
	for _, uri := range several(400, "shared") {
		wakes += len(of[uri])
	}
	if mean := float64(wakes) / 400; mean > 4 {
		t.Errorf("a call to a URI that %d callees share wakes %.1f of them", callees, mean)
	}
}
