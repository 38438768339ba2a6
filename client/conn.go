package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler/frame"
)

// conn is one WebSocket connection and the session on it. Three goroutines
// serve it from its opening to its failure: read, write and watch. The first of
// them (or the client) that finds a reason to end it calls fail, which settles
// all requests; then all three end, and the writer closes the socket.
//
// Lock order: topics.mu before conn.mu before request.mu. Client.mu is taken
// while none of these is held.
type conn struct {
	c     *Client
	ws    *websocket.Conn
	sock  *socket
	proto frame.Protocol
	born  time.Time

	ready   chan struct{}      // closed when hello is there (juggler.1)
	goAway  chan time.Duration // what GOAWAY said; has room for one
	drained chan struct{}      // closed when a draining conn has nothing left to do
	closed  chan struct{}      // closed when the writer has closed the socket

	ctx context.Context // ends when cn has failed and its requests are settled
	end context.CancelFunc

	stalled atomic.Bool // the reader waits for a slow subscription

	// Of the reader alone.
	unexpected int             // messages that were logged
	full       []*Subscription // scratch

	// Guarded by topics.mu.
	adopted bool // by topics
	lost    bool // topics know
	early   early

	mu      sync.Mutex // guards the following
	hello   frame.HelloBody
	keys    bool // the server minds keys of publications; by HELLO or the latest AUTH
	keyed   bool // and those of calls
	paces   paces
	queue   queue
	pending map[uint64]entry
	calls   int // CALLs in pending
	lastID  uint64
	prefix  [8]byte         // of our ids in juggler.0
	retries []retry         // calls that wait until the server allows one more
	waiting []chan struct{} // requests that found no room; closed in order

	expiry  *time.Timer // read by the watcher
	expires time.Time   // what expiry is set to; zero: not running

	leaving  bool // new requests go to another conn
	draining bool // leaving, and not drained yet
	moving   int  // topics that still leave a draining conn

	closing bool
	err     error // why it ended
	code    int   // of our close frame; 0: none
	reason  string
}

// entry is a request that awaits its answer. Of req and topic one is set, or
// neither when its caller has given up.
type entry struct {
	typ      frame.Type
	req      *request
	topic    *topic
	acked    bool
	leaves   bool // of a topic that moves to another connection
	deadline time.Time
}

func newConn(c *Client, ws *websocket.Conn, sock *socket, proto frame.Protocol) *conn {
	cn := &conn{
		c:       c,
		ws:      ws,
		sock:    sock,
		proto:   proto,
		born:    time.Now(),
		ready:   make(chan struct{}),
		goAway:  make(chan time.Duration, 1),
		drained: make(chan struct{}),
		closed:  make(chan struct{}),
		pending: make(map[uint64]entry),
		expiry:  time.NewTimer(time.Hour),
	}
	cn.ctx, cn.end = context.WithCancel(context.Background())
	cn.expiry.Stop()
	cn.queue.work.L = &cn.mu
	rand.Read(cn.prefix[:])
	cn.prefix[6] = 0x40 | cn.prefix[6]&0x0f // version 4 (RFC 9562)
	return cn
}

// open makes a connection that is ready for requests: token, dialing, upgrade,
// HELLO and AUTH, all within the handshake timeout. Its goroutines have been
// started, and end without help if it returns an error.
func (c *Client) open(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.handshakeTimeout)
	defer cancel()
	var token string
	if c.cfg.token != nil {
		var err error
		if token, err = c.cfg.token(ctx); err != nil {
			return nil, &tokenError{err}
		}
	}
	ws, sock, proto, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	cn := newConn(c, ws, sock, proto)
	c.goroutines.Go(cn.read)
	c.goroutines.Go(cn.write)
	c.goroutines.Go(cn.watch)
	if err := cn.greet(ctx, token); err != nil {
		cn.fail(err, frame.CloseNormal, "giving up")
		return nil, cn.notGreeted(cn.why())
	}
	return cn, nil
}

// greet waits for HELLO and signs in.
func (cn *conn) greet(ctx context.Context, token string) error {
	var expires time.Duration
	if cn.c.cfg.token != nil {
		var err error
		if expires, err = cn.signIn(ctx, token); err != nil {
			return err
		}
	}
	if cn.proto == frame.Juggler1 {
		select {
		case <-cn.ready:
		case <-cn.ctx.Done():
			return cn.why()
		case <-ctx.Done():
			return fmt.Errorf("waiting for HELLO: %w", ctx.Err())
		}
	}
	if expires == 0 {
		expires = cn.greeting().Expires
	}
	if cn.c.cfg.token != nil && expires > 0 {
		cn.c.goroutines.Go(func() { cn.keepSignedIn(expires) })
	}
	return nil
}

// notGreeted returns why cn could not be used. A server that has no patience with AUTH,
// although it would take it, does not mean what 4400 says.
func (cn *conn) notGreeted(why error) error {
	var closed *CloseError
	if !errors.As(why, &closed) || closed.Code != frame.CloseUnauthenticated || cn.c.cfg.token == nil {
		return why
	}
	select {
	case <-cn.ready: // HELLO has come
		return &CloseError{Code: closed.Code, Reason: closed.Reason, proto: cn.proto, hasty: true}
	default: // it refused the handshake
		return why
	}
}

// greeting returns what HELLO said; zero in juggler.0.
func (cn *conn) greeting() frame.HelloBody {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.hello
}

// gone reports whether cn takes no more requests.
func (cn *conn) gone() bool { return cn.ctx.Err() != nil }

// ending reports whether fail was called, though it may not be done.
func (cn *conn) ending() bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.closing
}

// why returns what ended cn.
func (cn *conn) why() error {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.err
}

// fail ends cn for the reason why, if it has not ended yet. What was not
// written yet is dropped, which makes it certain that it is not done. With a
// code, the writer then does the closing handshake, else the socket is closed.
func (cn *conn) fail(why error, code int, reason string) {
	cn.mu.Lock()
	if cn.closing {
		cn.mu.Unlock()
		return
	}
	cn.closing = true
	cn.err, cn.code, cn.reason = why, code, reason
	var requests []*request
	for id, e := range cn.pending {
		if e.req != nil {
			e.req.maybeSent = e.req.maybeSent || id <= cn.queue.sentID
			requests = append(requests, e.req)
		}
	}
	clear(cn.pending)
	cn.calls = 0
	retries, waiting := cn.retries, cn.waiting
	cn.retries, cn.waiting = nil, nil
	cn.queue.drop()
	cn.mu.Unlock()

	cn.c.requeue(retries)
	cn.c.lost(cn, requests, why)
	cn.c.topics.lost(cn)
	cn.end()
	for _, w := range waiting {
		close(w)
	}
}

// drain lets cn finish what is in flight, and then closes it. What waits for room
// goes to the connection that is current now. The caller has to requeue the retries.
// Before cn is closed, so many topics move to the other connection; each calls moved.
func (cn *conn) drain(topics int) (retries []retry) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	retries, cn.retries = cn.retries, nil
	cn.leaving, cn.draining = true, true
	for range cn.waiting {
		cn.wakeNext()
	}
	cn.moving += topics
	cn.checkDrained()
	return retries
}

// refuses reports, with mu held, whether cn takes no request like r any more.
// Credentials are renewed as long as anything is in flight.
func (cn *conn) refuses(r *request) bool {
	return cn.closing || cn.leaving && r.typ != frame.Auth
}

// moved says that one topic has left cn.
func (cn *conn) moved() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.moving--
	cn.checkDrained()
}

// checkDrained is called with mu held after pending or moving shrank.
func (cn *conn) checkDrained() {
	if cn.draining && len(cn.pending) == 0 && cn.moving == 0 {
		cn.draining = false // once
		close(cn.drained)
	}
}
