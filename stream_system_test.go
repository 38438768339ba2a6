package juggler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/internal/race"
)

// inParts answers in as many parts as its argument says, each of some bytes, and counts
// what it has sent.
func inParts(sent *atomic.Int64, size int) calleekit.HandlerFunc {
	filling := strings.Repeat("x", size)
	return func(ctx context.Context, c *calleeCall) (any, error) {
		var total int
		if err := c.Decode(&total); err != nil {
			return nil, err
		}
		for n := range total {
			if err := c.Send(ctx, []any{n + 1, filling}); err != nil {
				return nil, err
			}
			sent.Add(1)
		}
		return total, nil
	}
}

// streamReader reads an answer in parts over a raw connection, asking for more as clients
// do. The call is number 1.
type streamReader struct {
	*rawClient
	asked, last int
}

// next takes the next part. At the RES it returns false.
func (r *streamReader) next(t *testing.T) bool {
	t.Helper()
	for {
		_, payload, err := r.frame()
		if err != nil {
			t.Fatal(err)
		}
		got := decode(t, payload)
		switch {
		case got["type"] == "PING":
			r.conn.Write(maskedText(`{"type":"PONG"}`))
			continue
		case got["type"] == "ACK":
			continue
		case got["type"] == "RES" && got["error"] == nil:
			return false
		case got["type"] != "PART" || int(got["n"].(float64)) != r.last+1 || int(got["args"].([]any)[0].(float64)) != r.last+1:
			t.Fatalf("got %.100s behind part %d", payload, r.last)
		}
		if r.last++; r.asked-r.last <= r.window()/2 {
			r.ask(r.window() - r.window()/2)
		}
		return true
	}
}

func (r *streamReader) window() int { return 20 }

func (r *streamReader) ask(parts int) {
	r.asked += parts
	r.conn.Write(maskedText(fmt.Sprintf(`{"type":"MORE","for":"1","parts":%d}`, parts)))
}

// readParts calls uri for so many parts and takes them all.
func readParts(t *testing.T, c *rawClient, uri string, total int) {
	t.Helper()
	r := &streamReader{rawClient: c}
	r.asked = r.window()
	c.conn.Write(maskedText(fmt.Sprintf(`{"type":"CALL","id":"1","uri":%q,"args":%d,"parts":%d}`, uri, total, r.asked)))
	for r.next(t) {
	}
	if r.last != total {
		t.Errorf("%d parts, want %d", r.last, total)
	}
}

// An answer comes whole and in order on event loops, over TLS and in memory, with
// middleware of both kinds, and over a broker that is asked off the turn.
func TestStreamsOnAllWays(t *testing.T) {
	pass := func(next juggler.RequestHandler) juggler.RequestHandler {
		return func(ctx context.Context, r *juggler.Request) error { return next(ctx, r) }
	}
	see := func(context.Context, *juggler.Request) (func(error) error, error) { return nil, nil }
	for name, o := range map[string]juggler.Option{
		"bare": juggler.WithErrorTexts(true), "middleware": juggler.WithMiddleware(pass), "non-blocking": juggler.WithNonBlockingMiddleware(see),
	} {
		s := newFaultServer(t, o)
		var sent atomic.Int64
		s.handle("parts", inParts(&sent, 100))
		for _, w := range s.ways {
			t.Run(name+", "+w.name, func(t *testing.T) {
				var all sync.WaitGroup
				for range 4 {
					c := openRaw(t, w.dial(t), "juggler.1")
					all.Go(func() { readParts(t, c, "parts", 300) })
				}
				all.Wait()
			})
		}
		if n := sent.Load(); n != 3*4*300 {
			t.Errorf("%d parts were sent", n)
		}
		waitFor(t, "the streams to end", func() bool { return s.h.Stats().Streams == 0 && s.h.Stats().QueuedBytes == 0 })
	}
}

// A client that does not read holds back its callee, and little memory is taken for it
// however long the answer is. Then it reads, and lacks nothing.
func TestStreamToClientThatDoesNotRead(t *testing.T) {
	const total, size = 8000, 1000 // more than sockets hold
	s := newServer(t, juggler.WithMaxMessageBytes(16<<10), juggler.WithMaxQueueBytes(64<<10))
	var sent atomic.Int64
	s.handle("parts", inParts(&sent, size))
	c := dialRaw(t, s.http.Listener.Addr().String())
	c.conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	before := heapInUse()
	c.conn.Write(maskedText(fmt.Sprintf(`{"type":"CALL","id":"1","uri":"parts","args":%d,"parts":1000000}`, total)))
	waitFor(t, "the window to be full", func() bool { return s.h.Stats().QueuedBytes > 56<<10 })
	if sent.Load() == total {
		t.Error("the callee is done before the client has read anything")
	}
	if grown := heapInUse() - before; grown > 1<<20 && !race.Enabled {
		t.Errorf("%d bytes are kept for one slow client", grown)
	}
	r := &streamReader{rawClient: c, asked: 1_000_000}
	for r.next(t) {
	}
	if r.last != total {
		t.Errorf("%d parts, want %d", r.last, total)
	}
}

// Clients that never ask for more hold a callee's places for WithStreamStall only. One that
// reads beside them gets its answer, and slowly is no offence.
func TestStreamsThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := memory.New()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		s := newStreamServerOn(t, b, juggler.WithCallTimeout(10*time.Minute))
		callee, err := calleekit.New(b, calleekit.WithConcurrency(17), calleekit.WithLogger(quiet))
		if err != nil {
			t.Fatal(err)
		}
		var sent atomic.Int64
		callee.Handle("parts", inParts(&sent, 10))
		if err := callee.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { callee.Close() })
		var idle []*streamClient
		for range 16 {
			c := s.dial()
			c.say(`{"type":"CALL","id":"1","uri":"parts","args":1000,"parts":3}`)
			idle = append(idle, c)
		}
		reader := s.dial()
		r := &streamReader{rawClient: reader.rawClient, asked: 20}
		reader.say(`{"type":"CALL","id":"1","uri":"parts","args":100,"parts":20}`)
		for r.next(t) {
			time.Sleep(time.Second) // as slow as it likes
		}
		if r.last != 100 {
			t.Errorf("%d parts, want 100", r.last)
		}
		for _, c := range idle {
			c.expect(ackOfStream)
			for n := 1; n <= 3; n++ {
				c.expect(fmt.Sprintf(`{"type":"PART","for":"1","n":%d,"args":[%d,"xxxxxxxxxx"]}`, n, n))
			}
			c.expect(resOf(429, "the client has asked for no more parts in time"))
		}
		synctest.Wait()
		if n := s.h.Stats().StreamsStalled; n != 16 {
			t.Errorf("%d are counted as stalled", n)
		}
		if n := sent.Load(); n != 16*3+100 {
			t.Errorf("%d parts were sent", n)
		}
	})
}

// The callee stops when its client cancels or goes, and when the node is shut down it has
// the time that a call has.
func TestCalleesOfStreamsStop(t *testing.T) {
	s := newFaultServer(t)
	var running atomic.Int64
	s.handle("endless", func(ctx context.Context, c *calleeCall) (any, error) {
		running.Add(1)
		defer running.Add(-1)
		for {
			if err := c.Send(ctx, json.RawMessage("1")); err != nil {
				return nil, err
			}
		}
	})
	for _, w := range s.ways {
		for name, end := range map[string]func(*rawClient){
			"CANCEL": func(c *rawClient) { c.conn.Write(maskedText(`{"type":"CANCEL","for":"1"}`)) },
			"gone":   func(c *rawClient) { c.conn.Close() },
		} {
			t.Run(w.name+", "+name, func(t *testing.T) {
				c := openRaw(t, w.dial(t), "juggler.1")
				c.conn.Write(maskedText(`{"type":"CALL","id":"1","uri":"endless","parts":100}`))
				c.read(t, 50)
				if n := running.Load(); n != 1 {
					t.Errorf("%d run", n)
				}
				end(c)
				waitFor(t, "the callee to stop", func() bool { return running.Load() == 0 })
			})
		}
	}
}

// A node that is shut down lets answers come to their end.
func TestStreamEndsBeforeShutdown(t *testing.T) {
	s := newServer(t)
	var sent atomic.Int64
	s.handle("parts", inParts(&sent, 10))
	c := dialRaw(t, s.http.Listener.Addr().String())
	r := &streamReader{rawClient: c, asked: 20}
	c.conn.Write(maskedText(`{"type":"CALL","id":"1","uri":"parts","args":500,"parts":20}`))
	r.next(t)
	down := make(chan error)
	go func() { down <- s.h.Shutdown(context.Background()) }()
	for {
		_, payload, err := c.frame()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(payload), "GOAWAY") {
			break
		}
		r.last++
	}
	r.ask(20)
	for r.next(t) {
	}
	if r.last != 500 {
		t.Errorf("%d parts, want 500", r.last)
	}
	c.conn.Close()
	if err := <-down; err != nil {
		t.Error(err)
	}
}
