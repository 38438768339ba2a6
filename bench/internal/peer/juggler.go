package peer

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// jugglerServer is a node on the embedded broker with a callee of "echo" in
// the same process. options are added to those of every node.
func jugglerServer(serve serveFunc, options ...juggler.Option) (string, error) {
	b, err := memoryBroker()
	if err != nil {
		return "", err
	}
	if err := startCallee(b, []string{"echo"}); err != nil {
		return "", err
	}
	return startNode(serve, b, options...)
}

// jugglerHistory is a node whose embedded broker keeps events. It has no callee.
func jugglerHistory() (string, error) {
	b, err := memoryBroker(memory.WithHistory(historyRule))
	if err != nil {
		return "", err
	}
	return startNode(serveHTTP, b)
}

// jugglerURIs is a node on the embedded broker whose callee answers echo000 to echo999.
func jugglerURIs() (string, error) {
	b, err := memoryBroker()
	if err != nil {
		return "", err
	}
	uris := make([]string, 1000)
	for i := range uris {
		uris[i] = fmt.Sprintf("echo%03d", i)
	}
	if err := startCallee(b, uris); err != nil {
		return "", err
	}
	return startNode(serveHTTP, b)
}

// memoryBroker has room for the 64,000 calls that the load generator has in
// flight at most.
func memoryBroker(options ...memory.Option) (*memory.Broker, error) {
	return memory.New(append(options, memory.WithQueueCapacity(1<<17))...)
}

// startCallee answers calls to uris with their arguments.
func startCallee(b broker.Callee, uris []string, options ...calleekit.Option) error {
	callee, err := calleekit.New(b, options...)
	if err != nil {
		return err
	}
	for _, uri := range uris {
		callee.Handle(uri, func(_ context.Context, call *calleekit.Call) (any, error) {
			return call.Args, nil
		})
	}
	return callee.Start(context.Background())
}

// startNode serves a node. Clients are authenticated, as centrifuge's are: a
// session has a user of 16 bytes.
func startNode(serve serveFunc, b interface {
	broker.Caller
	broker.PubSub
}, options ...juggler.Option) (string, error) {
	h, err := juggler.New(append([]juggler.Option{
		juggler.WithBroker(b),
		juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) {
			return &juggler.Identity{User: "0123456789abcdef"}, nil
		}),
		juggler.WithMaxMessageBytes(1 << 20),
		juggler.WithMaxQueueBytes(16 << 20),
		juggler.WithSessionRates(juggler.Rates{Messages: juggler.Rate{PerSecond: 1_000_000}}), // counted, but never too much
		juggler.WithMaxSessions(19_000),                                                       // within the usual limit of descriptors
		juggler.WithLogger(slog.New(slog.DiscardHandler)),
	}, options...)...)
	if err != nil {
		return "", err
	}
	return serve(h)
}

// The application that people really write: an authorizer that looks at each
// request and a middleware that looks at its user, which may block or declare
// that they do not.
var (
	blockingHooks = []juggler.Option{
		juggler.WithAuthorizer(juggler.AuthorizerFunc(authorize)),
		juggler.WithMiddleware(addUser),
	}
	nonBlockingHooks = []juggler.Option{
		juggler.WithAuthorizer(juggler.NonBlocking(authorize)),
		juggler.WithNonBlockingMiddleware(seeUser),
	}
)

var errForbidden = errors.New("forbidden")

func authorize(_ context.Context, r *juggler.Request) error {
	if r.URI() != "echo" {
		return errForbidden
	}
	return nil
}

func addUser(next juggler.RequestHandler) juggler.RequestHandler {
	return func(ctx context.Context, r *juggler.Request) error {
		if r.Session().User() == "" {
			return errForbidden
		}
		return next(ctx, r)
	}
}

func seeUser(_ context.Context, r *juggler.Request) (done func(error) error, err error) {
	if r.Session().User() == "" {
		return nil, errForbidden
	}
	return nil, nil
}

// jugglerEcho is the WebSocket layer alone, without sessions and messages.
func jugglerEcho(serve serveFunc) (string, error) {
	pool := wsconn.NewPool(wsconn.Config{
		MaxMessage:   1 << 20,
		MaxQueue:     16 << 20,
		ReadTimeout:  10 * time.Second,
		WriteTimeout: 10 * time.Second,
		CloseTimeout: 10 * time.Second,
		Binary:       true,
		NewHandler:   func(*wsconn.Group) wsconn.Handler { return echoHandler{} },
	})
	return serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		response := fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"+
			"Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(accept[:]))
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		buffered, _ := rw.Reader.Peek(rw.Reader.Buffered())
		err = pool.Adopt(nc, append([]byte(nil), buffered...), func(g *wsconn.Group) {
			g.Attach(&wsconn.Conn{}, response)
		})
		if err != nil {
			_ = nc.Close()
		}
	}))
}

type echoHandler struct{}

func (echoHandler) Message(c *wsconn.Conn, op ws.OpCode, payload []byte) {
	if op == ws.OpText {
		c.WriteText(payload)
	} else {
		c.WriteBinary(payload)
	}
}

func (echoHandler) Quiet(*wsconn.Conn)                       {}
func (echoHandler) Kept(*wsconn.Conn) int                    { return 0 }
func (echoHandler) Unheard(*wsconn.Conn)                     {}
func (echoHandler) Closing(*wsconn.Conn, *wsconn.CloseError) {}
func (echoHandler) Closed(*wsconn.Conn, *wsconn.CloseError)  {}
func (echoHandler) Turn(int64) int64                         { return 0 }
func (echoHandler) Frame(*wsconn.Conn)                       {}
func (echoHandler) EndReading() bool                         { return false }
