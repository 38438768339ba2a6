package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/waiting"
)

// countingConn counts the bytes of a connection.
type countingConn struct {
	net.Conn
	read, written *atomic.Int64
}

func (c countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func (c countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// What the client offers is taken by a server that has the option, in both directions, and
// is no matter to one that has not.
func TestRealCompression(t *testing.T) {
	cl := newCluster(t)
	long := strings.Repeat("compressible ", 4000)
	for name, tt := range map[string]struct{ server, client bool }{
		"both": {true, true}, "server alone": {true, false}, "client alone": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			var opts []juggler.Option
			if tt.server {
				opts = append(opts, juggler.WithCompression(juggler.Compression{}))
			}
			n := cl.start(opts...)
			defer n.stop()
			var read, written atomic.Int64
			c := cl.client(client.WithCompression(tt.client), client.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := cl.dial(ctx, network, addr)
				return countingConn{nc, &read, &written}, err
			}))
			sub, err := c.Subscribe(t.Context(), "news")
			if err != nil {
				t.Fatal(err)
			}
			var echo string
			if err := c.Call(t.Context(), "test.echo", long, &echo); err != nil || echo != long {
				t.Fatalf("got %.40q, %v", echo, err)
			}
			if err := c.Publish(t.Context(), "news", long); err != nil {
				t.Fatal(err)
			}
			e, err := sub.Next(t.Context())
			if err != nil || len(e.Args) < len(long) {
				t.Fatalf("got event %.40q, %v", e.Args, err)
			}
			small := int64(len(long) / 4)
			if got, want := read.Load() < small, tt.server && tt.client; got != want {
				t.Errorf("%d bytes were read for twice %d", read.Load(), len(long))
			}
			if got, want := written.Load() < small, tt.server && tt.client; got != want {
				t.Errorf("%d bytes were written for twice %d", written.Load(), len(long))
			}
		})
	}
}

// What the server sends is bounded by what it holds.
func TestCompressedMessageBeyondTheLimit(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan websocket.StatusCode, 1)
	srv := &http.Server{ReadHeaderTimeout: waiting.Most, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"juggler.1"}, CompressionMode: websocket.CompressionNoContextTakeover})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		bomb := `{"type":"HELLO","session":"` + strings.Repeat("x", 1<<20) + `"}`
		if err := ws.Write(r.Context(), websocket.MessageText, []byte(bomb)); err == nil {
			_, _, err = ws.Read(r.Context())
			closed <- websocket.CloseStatus(err)
		}
	})}
	served := make(chan struct{})
	go func() { // ends with Close
		srv.Serve(l)
		close(served)
	}()
	defer func() { srv.Close(); <-served }()
	_, err = client.Dial(t.Context(), "ws://"+l.Addr().String(), client.WithCompression(true), client.WithMaxMessageBytes(64<<10), client.WithoutReconnect())
	if err == nil {
		t.Fatal("the message is taken")
	}
	select {
	case code := <-closed:
		if code != websocket.StatusMessageTooBig {
			t.Errorf("the server was told %d, want 1009", code)
		}
	case <-time.After(waiting.Most):
		t.Fatal(errors.New("the client does not close"))
	}
}
