package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// modes are what a client offers that compresses, and one that does not.
var modes = map[bool]*websocket.DialOptions{true: {CompressionMode: websocket.CompressionContextTakeover}, false: nil}

func TestAnotherImplementationGetsItsMessagesBack(t *testing.T) {
	for i := range 8 {
		portable, served, compressed := i&1 != 0, i&2 != 0, i&4 != 0
		ctx, stop := context.WithCancel(t.Context())
		r, w := io.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, "127.0.0.1:0", portable, served, w) }()
		url, err := bufio.NewReader(r).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		c, resp, err := websocket.Dial(ctx, strings.TrimSpace(url), modes[compressed])
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body != nil {
			resp.Body.Close()
		}
		if got := resp.Header.Get("Sec-WebSocket-Extensions") != ""; got != compressed {
			t.Errorf("the answer has an extension: %v, want %v", got, compressed)
		}
		c.SetReadLimit(1 << 20)
		kinds := []websocket.MessageType{websocket.MessageText, websocket.MessageBinary}
		if served {
			kinds = kinds[:1]
		}
		for _, kind := range kinds {
			for _, msg := range []string{"", "hello", strings.Repeat("0123456789", 10_000)} {
				if err := c.Write(ctx, kind, []byte(msg)); err != nil {
					t.Fatal(err)
				}
				gotKind, got, err := c.Read(ctx)
				if err != nil || gotKind != kind || string(got) != msg {
					t.Fatalf("got %v %.40q, %v; want %v %.40q", gotKind, got, err, kind, msg)
				}
			}
		}
		if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
			t.Errorf("close handshake: %v", err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

func TestAnOccupiedAddressIsAnError(t *testing.T) {
	if err := run(t.Context(), "256.0.0.1:0", false, false, io.Discard); err == nil {
		t.Error("no error for an address that does not exist")
	}
}
