package juggler_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// rawClient writes masked frames made once and counts what comes back: it
// costs next to nothing, so that a benchmark shows the server.
type rawClient struct {
	conn net.Conn
	br   *bufio.Reader
}

func dialRaw(b testing.TB, addr string, headers ...string) *rawClient {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: juggler.1\r\n%s\r\n", addr, strings.Join(append(headers, ""), "\r\n"))
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

// frame takes one frame.
func (c *rawClient) frame() (op ws.OpCode, payload []byte, err error) {
	h, err := ws.ReadHeader(c.br)
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, h.Length)
	_, err = io.ReadFull(c.br, payload)
	return h.OpCode, payload, err
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
