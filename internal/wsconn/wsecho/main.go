// Command wsecho is juggler's WebSocket layer alone: a server that sends every
// message back, for conformance suites and load generators from outside.
//
//	go run ./internal/wsconn/wsecho -listen 127.0.0.1:9001
//
// It takes any path and speaks no subprotocol. Of extensions it takes
// permessage-deflate, and compresses whatever gets smaller. With
// -portable connections do not use event loops. With -served they are configured as
// the juggler server does: binary messages are refused, and text is checked when
// the message is complete.
package main

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/handshake"
	"github.com/juggler-go/juggler/internal/wsconn"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9001", "the address to listen on")
	portable := flag.Bool("portable", false, "serve with goroutines instead of event loops")
	served := flag.Bool("served", false, "configure connections as the juggler server does")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *portable, *served, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "wsecho:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. The first line written to out is the URL.
func run(ctx context.Context, addr string, portable, served bool, out io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if portable {
		l = plainListener{l}
	}
	pool := wsconn.NewPool(wsconn.Config{
		MaxMessage:   16 << 20,
		MaxQueue:     64 << 20,
		ReadTimeout:  time.Minute,
		WriteTimeout: 10 * time.Second,
		CloseTimeout: 5 * time.Second,
		DeflateLevel: 3,
		DeflateFrom:  1,
		Binary:       !served,
		CheckUTF8:    !served,
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, nil)),
		NewHandler:   func(*wsconn.Group) wsconn.Handler { return echo{} },
	})
	srv := &http.Server{Handler: upgrader{pool}, ReadHeaderTimeout: 5 * time.Second}
	fmt.Fprintf(out, "ws://%s/\n", l.Addr())

	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	return errors.Join(err, srv.Close(), pool.Close())
}

// upgrader answers WebSocket handshakes (RFC 6455, section 4.2).
type upgrader struct{ pool *wsconn.Pool }

func (u upgrader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || r.Header.Get("Sec-WebSocket-Version") != "13" || key == "" {
		w.Header().Set("Sec-WebSocket-Version", "13")
		http.Error(w, "want a WebSocket handshake of version 13", http.StatusUpgradeRequired)
		return
	}
	window, extension, ok := handshake.Deflate(r.Header)
	if !ok {
		http.Error(w, "Sec-WebSocket-Extensions cannot be read", http.StatusBadRequest)
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	buffered, _ := rw.Reader.Peek(rw.Reader.Buffered())
	err = u.pool.Adopt(nc, buffered, func(g *wsconn.Group) {
		c := new(wsconn.Conn)
		g.Attach(c, response(key, extension))
		c.Deflate(window)
	})
	if err != nil {
		fmt.Fprintf(nc, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n")
		nc.Close()
	}
}

// response is the server's part of the handshake.
func response(key, extension string) []byte {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if extension != "" {
		extension = "Sec-WebSocket-Extensions: " + extension + "\r\n"
	}
	return fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), extension)
}

// echo sends back what it gets, as what it got it.
type echo struct{}

func (echo) Message(c *wsconn.Conn, op ws.OpCode, payload []byte) {
	switch {
	case op == ws.OpText && !utf8.Valid(payload): // never, if wsconn checks it
		c.Close(uint16(ws.StatusInvalidFramePayloadData), "not valid UTF-8")
	default:
		c.WriteDeflated(op, payload)
	}
}

func (echo) Quiet(*wsconn.Conn)                       {}
func (echo) Kept(*wsconn.Conn) int                    { return 0 }
func (echo) Unheard(*wsconn.Conn)                     {}
func (echo) Closing(*wsconn.Conn, *wsconn.CloseError) {}
func (echo) Closed(*wsconn.Conn, *wsconn.CloseError)  {}
func (echo) Turn(int64) int64                         { return 0 }
func (echo) Frame(*wsconn.Conn)                       {}
func (echo) EndReading() bool                         { return false }

// plainListener hides what its connections are.
type plainListener struct{ net.Listener }

func (l plainListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{nc}, nil
}
