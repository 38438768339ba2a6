package juggler_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
)

// rawClient writes masked frames made once and counts what comes back: it
// costs next to nothing, so that a benchmark shows the server.
type rawClient struct {
	conn net.Conn
	br   *bufio.Reader
}

func dialRaw(b testing.TB, addr string) *rawClient {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: juggler.1\r\n\r\n", addr)
	c := &rawClient{conn, bufio.NewReaderSize(conn, 1<<16)}
	c.skipHandshake(b)
	c.read(b, 1) // HELLO
	return c
}

// skipHandshake takes the HTTP response.
func (c *rawClient) skipHandshake(b testing.TB) {
	b.Helper()
	for {
		line, err := c.br.ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		if line == "\r\n" {
			return
		}
	}
}

// read takes n messages.
func (c *rawClient) read(b testing.TB, n int) {
	for range n {
		h, err := ws.ReadHeader(c.br)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.br.Discard(int(h.Length)); err != nil {
			b.Fatal(err)
		}
	}
}

// maskedText returns messages as masked frames, one after the other.
func maskedText(messages ...string) []byte {
	var out strings.Builder
	for _, m := range messages {
		f := ws.MaskFrame(ws.NewTextFrame([]byte(m)))
		out.Write(ws.MustCompileFrame(f))
	}
	return []byte(out.String())
}

func benchServer(b *testing.B, opts ...juggler.Option) string {
	b.Helper()
	br, err := memory.New()
	if err != nil {
		b.Fatal(err)
	}
	h, err := juggler.New(append([]juggler.Option{juggler.WithBroker(br)}, opts...)...)
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
	l := serveTCP(b, h)
	b.Cleanup(func() {
		h.Shutdown(context.Background())
		c.Close()
		br.Close()
	})
	return l
}

func BenchmarkCall(b *testing.B) {
	for _, inFlight := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(inFlight, "InFlight"), func(b *testing.B) {
			c := dialRaw(b, benchServer(b))
			messages := make([]string, inFlight)
			for i := range messages {
				messages[i] = fmt.Sprintf(`{"type":"CALL","id":"%d","uri":"echo","args":{"text":"0123456789"}}`, i)
			}
			out := maskedText(messages...)
			b.ReportAllocs()
			for range (b.N + inFlight - 1) / inFlight {
				if _, err := c.conn.Write(out); err != nil {
					b.Fatal(err)
				}
				c.read(b, 2*inFlight)
			}
		})
	}
}
