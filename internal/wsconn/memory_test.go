package wsconn_test

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/netpoll"
	"github.com/juggler-go/juggler/internal/race"
	"github.com/juggler-go/juggler/internal/wsconn"
)

func TestAConnIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(wsconn.Conn{}); size > 96 {
		t.Errorf("a Conn takes %d bytes, want at most 96", size)
	}
}

// atMost fails if f allocates more than n times a run on average. The race
// detector allocates too, so with it f is only run.
func atMost(t *testing.T, n float64, what string, f func()) {
	t.Helper()
	if got := testing.AllocsPerRun(200, f); got > n && !race.Enabled {
		t.Errorf("%s allocates %v times, want at most %v", what, got, n)
	}
}

func TestAnEchoedMessageAllocatesNothing(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		_, p := newServer(t, wrap, config()).connect()
		for what, in := range map[string][]byte{
			"a message":              text("hello"),
			"a larger one":           text(strings.Repeat("x", 2000)),
			"a message in fragments": bytes.Join([][]byte{frame(false, ws.OpText, []byte("one")), frame(true, ws.OpContinuation, []byte("two"))}, nil),
			"many at once":           bytes.Repeat(text("hello"), 50),
			"a ping":                 frame(true, ws.OpPing, []byte("payload")),
		} {
			out := make([]byte, replyLen(in))
			echo := func() {
				if _, err := p.Write(in); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(p.Conn, out); err != nil {
					t.Fatal(err)
				}
			}
			for range 20 {
				echo() // the buffers grow to what is needed
			}
			atMost(t, 0, what, echo)
		}
	})
}

// replyLen is how many bytes the echo of some masked frames has.
func replyLen(in []byte) (n int) {
	payload, fragment := 0, 0
	for r := bytes.NewReader(in); r.Len() > 0; {
		h, err := ws.ReadHeader(r)
		if err != nil {
			panic(err)
		}
		if _, err := r.Seek(h.Length, io.SeekCurrent); err != nil {
			panic(err)
		}
		if fragment += int(h.Length); h.Fin {
			payload += len(wsconn.AppendText(nil, make([]byte, fragment)))
			fragment = 0
		}
	}
	return payload
}

func TestADeliveryToManyAllocatesNothing(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.Loops = 1
		srv := newServer(t, wrap, cfg)
		const n = 100
		sessions := make([]*session, n)
		peers := make([]*peer, n)
		event := wsconn.AppendText(nil, bytes.Repeat([]byte("e"), 128))
		var subscribers []*session // the turn's
		srv.message = func(*session, ws.OpCode, []byte) {
			for _, s := range subscribers {
				s.WriteRaw(event)
			}
		}
		for i := range sessions {
			sessions[i], peers[i] = srv.connect()
		}
		sessions[0].on(func() { subscribers = sessions })
		in, out := text("publish"), make([]byte, len(event))
		publish := func() {
			if _, err := peers[0].Write(in); err != nil {
				t.Fatal(err)
			}
			for _, p := range peers {
				if _, err := io.ReadFull(p.Conn, out); err != nil {
					t.Fatal(err)
				}
			}
		}
		publish()
		atMost(t, 0, "a delivery to 100", publish)
	})
}

func TestAnIdleConnectionOwnsNoBuffer(t *testing.T) {
	cfg := config()
	cfg.NewHandler = func(*wsconn.Group) wsconn.Handler { return new(recording) }
	rec := wsconn.NewRecorder(cfg)
	for _, step := range []struct {
		in   []byte
		idle bool
	}{
		{text("abc"), true},
		{text("abc")[:1], false},
		{text("abc")[1:], true},
		{frame(false, ws.OpText, []byte("abc")), false},
		{frame(true, ws.OpPing, nil), false},
		{frame(true, ws.OpContinuation, nil), true},
		{frame(true, ws.OpPing, []byte("xy"))[:7], false},
		{frame(true, ws.OpPing, []byte("xy"))[7:], true},
	} {
		rec.Feed(step.in)
		if rec.Idle() != step.idle {
			t.Errorf("after % x: idle is %v, want %v", step.in, rec.Idle(), step.idle)
		}
	}
}

// heap returns the bytes of heap and stacks in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func TestIdleConnectionsCostNoGoroutineAndFewBytes(t *testing.T) {
	if !netpoll.Supported {
		t.Log("no loops on this system: nothing to prove")
		return
	}
	const n = 2000
	cfg := config()
	cfg.Ping = 25 * watchdog // their timers are running
	cfg.NewHandler = func(*wsconn.Group) wsconn.Handler { return new(recording) }
	pool := wsconn.NewPool(cfg)
	defer pool.Close()
	conns := make([]wsconn.Conn, n)
	// Clients are bare descriptors too, or they would be counted.
	peers := make([]int, 0, n)
	defer func() {
		for _, fd := range peers {
			netpoll.Close(fd)
		}
	}()
	before, goroutines := heap(), runtime.NumGoroutine()
	for i := range conns {
		server, client := sockets(t)
		fd, _, err := netpoll.Duplicate(client)
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, fd)
		client.Close()
		opened := make(chan struct{})
		err = pool.Adopt(server, nil, func(g *wsconn.Group) {
			g.Attach(&conns[i], nil)
			close(opened)
		})
		if err != nil {
			t.Fatal(err)
		}
		await(t, opened, "open")
	}
	loops := runtime.NumGoroutine() - goroutines
	if loops > runtime.GOMAXPROCS(0) {
		t.Errorf("%d goroutines for %d connections", loops, n)
	}
	// Buffers of the loops and size classes of the runtime are in it, too.
	per := float64(heap()-before)/n + float64(unsafe.Sizeof(wsconn.Conn{}))
	t.Logf("%.0f bytes for each of %d idle connections, of which the Conn is %d", per, n, unsafe.Sizeof(wsconn.Conn{}))
	if per > 300 && !race.Enabled {
		t.Errorf("%.0f bytes for an idle connection, want at most 300", per)
	}
	runtime.KeepAlive(conns)
}
