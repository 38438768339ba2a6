// The race detector makes a message ten times as dear, and the rates that protect the
// neighbours do not know: CI runs this without it.
//go:build long && !race

package juggler_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/calleekit"
)

// hostileEnv is how long each attack of TestHostileClients goes on, instead of until its
// neighbours were seen to be well: 10m for a night.
const hostileEnv = "JUGGLER_TEST_HOSTILE"

// An attack is what a stranger does to a server, again and again until ctx ends.
type attack func(ctx context.Context, addr string)

// session is an attack of one connection: what it sends first, and then for as long as
// the server takes it. Its answers are read.
func sessionAttack(first, then []byte) attack {
	return func(ctx context.Context, addr string) {
		conn, err := hostileDial(ctx, addr)
		if err != nil {
			return
		}
		defer conn.Close()
		go func() { // ends with conn
			buf := make([]byte, 1<<16)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
			}
		}()
		if _, err := conn.Write(first); err != nil {
			return
		}
		for ctx.Err() == nil {
			if len(then) == 0 {
				<-ctx.Done()
				return
			}
			if _, err := conn.Write(then); err != nil {
				return
			}
		}
	}
}

// hostileDial opens a session and leaves everything of it unread.
func hostileDial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: juggler.1\r\n\r\n")
	return conn, err
}

// text returns messages as frames, n times.
func text(n int, messages ...string) []byte {
	return []byte(strings.Repeat(string(maskedText(messages...)), n))
}

// each returns a message n times, with its number in the place of %d.
func each(n int, message string) []byte {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(message, i))
	}
	return maskedText(all...)
}

func hostileAttacks() map[string]attack {
	signIn := text(1, `{"type":"AUTH","id":"a","token":"eve"}`)
	raw := func(op ws.OpCode, fin bool) []byte {
		return []byte(strings.Repeat(string(ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, nil)))), 500))
	}
	worst := strings.Repeat("*a", 120) + "*b"
	return map[string]attack{
		"publications":   sessionAttack(signIn, text(500, `{"type":"PUB","id":"1","channel":"c","args":1}`)),
		"guesses":        sessionAttack(nil, text(100, `{"type":"AUTH","id":"1","token":"expired"}`)),
		"malformed":      sessionAttack(signIn, text(500, `{"type":"CALL","id":"1"}`)),
		"PONG":           sessionAttack(signIn, text(500, `{"type":"PONG"}`)),
		"CANCEL":         sessionAttack(signIn, text(500, `{"type":"CANCEL","for":"1"}`)),
		"pings":          sessionAttack(signIn, raw(ws.OpPing, true)),
		"fragments":      sessionAttack(append(slices.Clone(signIn), ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(ws.OpText, false, nil)))...), raw(ws.OpContinuation, false)),
		"large messages": sessionAttack(signIn, text(10, `{"type":"PUB","id":"1","channel":"c","args":"`+strings.Repeat("x", 60<<10)+`"}`)),
		"deep messages":  sessionAttack(signIn, text(10, `{"type":"PUB","id":"1","channel":"c","args":`+strings.Repeat("[", 30_000)+strings.Repeat("]", 30_000)+`}`)),
		"subscriptions":  sessionAttack(signIn, append(each(100, `{"type":"SUB","id":"1","channel":"c%d"}`), each(100, `{"type":"UNSB","id":"1","channel":"c%d"}`)...)),
		"patterns":       sessionAttack(append(slices.Clone(signIn), each(128, `{"type":"SUB","id":"1","pattern":true,"channel":"`+worst+`%d"}`)...), text(20, `{"type":"PUB","id":"1","channel":"`+strings.Repeat("a", 1000)+`"}`)),
		// 8 sessions with as many calls have nearly all of the 256 places of a callee.
		"slow calls":       sessionAttack(append(slices.Clone(signIn), each(30, `{"type":"CALL","id":"%d","uri":"work","timeout":600000,"args":"slow"}`)...), nil),
		"nobody signs in":  nobodySignsIn,
		"bad handshakes":   badHandshakes,
		"nothing is read":  nothingIsRead,
		"sessions and out": sessionAttack(signIn, nil).briefly(),
	}
}

// briefly is an attack that connects anew as often as it can.
func (a attack) briefly() attack {
	return func(ctx context.Context, addr string) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
		defer cancel()
		a(ctx, addr)
	}
}

// nobodySignsIn takes places and waits.
func nobodySignsIn(ctx context.Context, addr string) {
	conn, err := hostileDial(ctx, addr)
	if err != nil {
		return
	}
	defer conn.Close()
	buf := make([]byte, 1<<10)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

func badHandshakes(ctx context.Context, addr string) {
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+addr, nil)
	if resp, err := http.DefaultClient.Do(r); err == nil {
		resp.Body.Close()
	}
}

// nothingIsRead has events come for connections that take none.
func nothingIsRead(ctx context.Context, addr string) {
	conn, err := hostileDial(ctx, addr)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write(text(1, `{"type":"AUTH","id":"a","token":"eve"}`, `{"type":"SUB","id":"1","channel":"big"}`))
	pub := text(1, `{"type":"PUB","id":"1","channel":"big","args":"`+strings.Repeat("x", 30<<10)+`"}`)
	for ctx.Err() == nil {
		if _, err := conn.Write(pub); err != nil {
			return
		}
	}
}

// strangers is how many attack at a time, in one session after the other.
const strangers = 8

// hostileHeap is what the process may hold: a queue of a megabyte, whose buffer may be
// twice as large, and a message for each of 60 sessions, and what it takes to run.
const hostileHeap = 60*(2<<20+64<<10) + 32<<20

// A lineCounter is a slog.Handler that counts lines at info and above.
type lineCounter struct{ lines atomic.Int64 }

func (c *lineCounter) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (c *lineCounter) Handle(context.Context, slog.Record) error {
	c.lines.Add(1)
	return nil
}

func (c *lineCounter) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c *lineCounter) WithGroup(string) slog.Handler      { return c }

// neighbours are clients who make one call after the other.
type neighbours struct {
	mu    sync.Mutex
	times []time.Duration // of the calls since the last window
}

func newNeighbours(t *testing.T, addr string) *neighbours {
	n := &neighbours{}
	for range 4 {
		c := dialRaw(t, addr)
		c.conn.Write(text(1, `{"type":"AUTH","id":"a","token":"ann"}`))
		c.read(t, 1)
		go n.call(c) // ends with the test, which closes c
	}
	return n
}

func (n *neighbours) call(c *rawClient) {
	call := text(1, `{"type":"CALL","id":"1","uri":"work"}`)
	for {
		start := time.Now()
		if _, err := c.conn.Write(call); err != nil {
			return
		}
		for answered := false; !answered; {
			_, payload, err := c.frame()
			if err != nil {
				return
			}
			answered = strings.Contains(string(payload), `"RES"`)
		}
		n.mu.Lock()
		n.times = append(n.times, time.Since(start))
		n.mu.Unlock()
	}
}

// window takes the calls since the last one: how many, and what 99 of 100 took at most.
func (n *neighbours) window() (calls int, p99 time.Duration) {
	n.mu.Lock()
	times := n.times
	n.times = nil
	n.mu.Unlock()
	if len(times) == 0 {
		return 0, time.Hour
	}
	slices.Sort(times)
	return len(times), times[len(times)*99/100]
}

// The neighbours of a stranger who attacks make 0.7 times the calls, and wait twice as
// long at most, that those of a server beside it do which is not attacked. Memory is
// bounded, and so is the log. All defaults are the library's.
func TestHostileClients(t *testing.T) {
	hold, _ := time.ParseDuration(os.Getenv(hostileEnv))
	for name, attack := range hostileAttacks() {
		t.Run(name, func(t *testing.T) {
			var log lineCounter
			servers := [2]*testServer{}
			var near [2]*neighbours
			for i := range servers {
				s := newServer(t, juggler.WithDeferredAuth(tokens, 10*time.Second), juggler.WithMaxSessions(60), juggler.WithLogger(slog.New(&log)))
				s.handle("work", func(ctx context.Context, c *calleekit.Call) (any, error) {
					if string(c.Args) == `"slow"` {
						<-ctx.Done()
					}
					return 1, nil
				})
				servers[i], near[i] = s, newNeighbours(t, s.http.Listener.Addr().String())
			}
			ctx, stop := context.WithCancel(t.Context())
			var attackers sync.WaitGroup
			for range strangers {
				attackers.Go(func() {
					for ctx.Err() == nil {
						attack(ctx, servers[0].http.Listener.Addr().String())
					}
				})
			}
			defer attackers.Wait()
			defer stop()
			start := time.Now()
			well(t, near, hold)
			most := int64(100 * (1 + time.Since(start)/time.Minute))
			if n := log.lines.Load(); n > most {
				t.Errorf("%d log lines, want at most 100 a minute", n)
			}
			if n := heapInUse(); n > hostileHeap {
				t.Errorf("%d MB in memory, want at most %d", n>>20, hostileHeap>>20)
			}
		})
	}
}

// well waits until the first are as well as the second, in a window of half a second,
// and expects that in the end if it has to go on for a time.
func well(t *testing.T, near [2]*neighbours, hold time.Duration) {
	t.Helper()
	start, windows, good := time.Now(), 0, 0
	waitFor(t, "neighbours that do not suffer", func() bool {
		near[0].window()
		near[1].window()
		time.Sleep(500 * time.Millisecond) // the window: both are counted in the same time
		calls, p99 := near[0].window()
		others, otherP99 := near[1].window()
		windows++
		fine := float64(calls) >= 0.7*float64(others) && p99 <= 2*otherP99
		if fine {
			good++
		}
		t.Logf("calls %d of %d, p99 %v beside %v", calls, others, p99, otherP99)
		return fine && time.Since(start) >= hold
	})
	if good*2 < windows && hold > 0 {
		t.Errorf("well in %d of %d windows", good, windows)
	}
}
