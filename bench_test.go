package juggler_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
)

func benchServer(b *testing.B, opts ...juggler.Option) (addr string) {
	b.Helper()
	return serveTCP(b, benchHandler(b, opts...))
}

// benchHandler is a node with a callee of "echo".
func benchHandler(b testing.TB, opts ...juggler.Option) http.Handler {
	b.Helper()
	br, err := memory.New()
	if err != nil {
		b.Fatal(err)
	}
	// What a benchmark sends is counted, but never too much.
	rates := juggler.WithSessionRates(juggler.Rates{Messages: juggler.Rate{PerSecond: 1_000_000}})
	h, err := juggler.New(append([]juggler.Option{juggler.WithBroker(br), juggler.WithAuthorizer(juggler.AllowAll()), rates}, opts...)...)
	if err != nil {
		b.Fatal(err)
	}
	c, err := calleekit.New(br)
	if err != nil {
		b.Fatal(err)
	}
	c.Handle("echo", echo)
	if err := c.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		h.Shutdown(context.Background())
		c.Close()
		br.Close()
	})
	return h
}

// hiddenSocket keeps the handler from taking over the socket, so that the
// connection is served on the portable path, as one over TLS is.
type hiddenSocket struct{ http.ResponseWriter }

func (w hiddenSocket) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	return struct{ net.Conn }{c}, rw, err
}

// BenchmarkCall measures calls from CALL to RES on one connection, so many in
// flight: without hooks, with an authorizer and a middleware of both kinds, with
// observers, and on the portable path.
func BenchmarkCall(b *testing.B) {
	for _, inFlight := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(inFlight, "InFlight"), func(b *testing.B) {
			benchmarkCalls(b, benchServer(b), inFlight)
		})
	}
	allow := func(context.Context, *juggler.Request) error { return nil }
	pass := func(next juggler.RequestHandler) juggler.RequestHandler {
		return func(ctx context.Context, r *juggler.Request) error { return next(ctx, r) }
	}
	see := func(context.Context, *juggler.Request) (func(error) error, error) {
		return func(err error) error { return err }, nil
	}
	for name, opts := range map[string][]juggler.Option{
		"NonBlockingHooks": {
			juggler.WithAuthorizer(juggler.NonBlocking(allow)), juggler.WithNonBlockingMiddleware(see),
		},
		"Watched": {juggler.WithCallStats(100), juggler.WithCallObserver(func(juggler.CallEnd) {})},
		"BlockingHooks": {
			juggler.WithAuthorizer(juggler.AuthorizerFunc(allow)), juggler.WithMiddleware(pass),
		},
	} {
		b.Run(name, func(b *testing.B) {
			for _, inFlight := range []int{1, 64} {
				b.Run(fmt.Sprint(inFlight, "InFlight"), func(b *testing.B) {
					benchmarkCalls(b, benchServer(b, opts...), inFlight)
				})
			}
		})
	}
	b.Run("Portable", func(b *testing.B) {
		for _, inFlight := range []int{1, 64} {
			b.Run(fmt.Sprint(inFlight, "InFlight"), func(b *testing.B) {
				h := benchHandler(b, juggler.WithLogger(quiet))
				addr := serveTCP(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					h.ServeHTTP(hiddenSocket{w}, r)
				}))
				benchmarkCalls(b, addr, inFlight)
			})
		}
	})
}

func benchmarkCalls(b *testing.B, addr string, inFlight int) {
	c := dialRaw(b, addr)
	messages := make([]string, inFlight)
	for i := range messages {
		messages[i] = fmt.Sprintf(`{"type":"CALL","id":"%d","uri":"echo","args":{"text":"0123456789"}}`, i)
	}
	out := maskedText(messages...)
	b.ReportAllocs()
	b.ResetTimer()
	for range (b.N + inFlight - 1) / inFlight {
		send(b, c, out)
		c.read(b, 2*inFlight)
	}
}

// send writes frames, and allocates nothing.
func send(b *testing.B, c *rawClient, frames []byte) {
	if _, err := c.conn.Write(frames); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFanOut measures deliveries to 100 subscribers, so many publications
// at once: an operation is one delivery.
func BenchmarkFanOut(b *testing.B) {
	const subscribers = 100
	for _, outstanding := range []int{1, 16} {
		b.Run(fmt.Sprint(outstanding, "Outstanding"), func(b *testing.B) {
			addr := benchServer(b)
			conns := make([]*rawClient, subscribers)
			for i := range conns {
				conns[i] = dialRaw(b, addr)
				send(b, conns[i], maskedText(`{"type":"SUB","id":"1","channel":"c"}`))
				conns[i].read(b, 1)
			}
			publisher := dialRaw(b, addr)
			messages := make([]string, outstanding)
			for i := range messages {
				messages[i] = fmt.Sprintf(`{"type":"PUB","id":"%d","channel":"c","args":{"text":"0123456789"}}`, i)
			}
			out := maskedText(messages...)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += subscribers * outstanding {
				send(b, publisher, out)
				publisher.read(b, outstanding)
				for _, c := range conns {
					c.read(b, outstanding)
				}
			}
		})
	}
}

// BenchmarkSubscribe measures SUB and UNSB of a channel, to both ACKs.
func BenchmarkSubscribe(b *testing.B) {
	c := dialRaw(b, benchServer(b))
	out := maskedText(`{"type":"SUB","id":"1","channel":"c"}`, `{"type":"UNSB","id":"2","channel":"c"}`)
	b.ReportAllocs()
	for b.Loop() {
		send(b, c, out)
		c.read(b, 2)
	}
}

// BenchmarkHandshake measures a connection from dialling to HELLO and its end.
func BenchmarkHandshake(b *testing.B) {
	addr := benchServer(b)
	b.ReportAllocs()
	for b.Loop() {
		dialRaw(b, addr).conn.Close()
	}
}
