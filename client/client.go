package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/ratelog"
)

// Client is a client of a juggler server. Its methods may be called
// concurrently. It keeps one connection, and connects anew when that is lost;
// during a handover that the server asked for it has two for a while.
//
// Every Client must be closed.
type Client struct {
	url    string
	shown  string // url without secrets
	cfg    config
	offers []string
	logs   *ratelog.Limit // of the logger
	http   *http.Client
	topics *topics

	current atomic.Pointer[conn] // for new requests; may have failed
	work    workload

	requests sync.Pool // of *request

	ctx        context.Context // ends with the client
	stop       context.CancelFunc
	goroutines sync.WaitGroup // all but the handlers of SubscribeFunc

	hookMu sync.Mutex // held while the state hook runs; before mu

	mu      sync.Mutex // guards the following
	started bool
	state   State
	changed chan struct{}      // closed and replaced at every change
	why     error              // the latest reason for having no connection
	ended   error              // why the client ended, or nil
	conns   map[*conn]struct{} // that were adopted and have not failed
	retries []retry            // requests that wait for the next connection
}

// New returns a client for the server at url (ws, wss, http or https) that
// connects when it is first used. Its errors wrap [ErrInvalidOption].
func New(url string, opts ...Option) (*Client, error) {
	cfg := defaultConfig()
	option.Apply(&cfg.problems, opts, func(o Option) { o.apply(&cfg) })
	shown := checkURL(&cfg.problems, url)
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	var logs *ratelog.Limit
	cfg.logger, logs = ratelog.New(cfg.logger.With("component", "client"))
	c := &Client{
		url:     url,
		shown:   shown,
		logs:    logs,
		cfg:     cfg,
		offers:  offers(cfg.protocols),
		http:    newHTTPClient(&cfg),
		changed: make(chan struct{}),
		conns:   make(map[*conn]struct{}),
	}
	c.work.idle = make(chan struct{})
	c.topics = newTopics(c)
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// checkURL returns the URL text without what may be secret in it, for logs and
// errors.
func checkURL(p *option.Problems, text string) (shown string) {
	u, err := url.Parse(text)
	if err != nil {
		if wrong := (*url.Error)(nil); errors.As(err, &wrong) {
			err = wrong.Err // without the text
		}
		p.Add("URL: " + err.Error())
		return ""
	}
	shown = redacted(*u)
	switch u.Scheme {
	case "ws", "wss", "http", "https":
	default:
		p.Refuse("URL", shown, "ws, wss, http or https")
		return shown
	}
	if u.Host == "" {
		p.Refuse("URL", shown, "a host")
	}
	return shown
}

// redacted returns a URL without what may be secret in it.
func redacted(u url.URL) string {
	u.RawQuery, u.Fragment = "", ""
	return u.Redacted()
}

// Dial returns a client that is connected. Unlike later, a first attempt that
// fails is an error; use [New] for a client that goes on trying. The end of ctx
// ends the attempt, and means nothing to the client afterwards.
func Dial(ctx context.Context, url string, opts ...Option) (*Client, error) {
	c, err := New(url, opts...)
	if err != nil {
		return nil, err
	}
	if err := c.connect(ctx, true); err != nil {
		c.Close()
		if e, ok := errors.AsType[*gaveUpError](err); ok {
			err = e.why // there is no client yet that could give up, or be closed
		}
		return nil, fmt.Errorf("juggler: dial %s: %w", c.shown, err)
	}
	return c, nil
}

// Connect waits until the client is connected, however many attempts that
// takes. It returns an error when ctx ends or the client does.
func (c *Client) Connect(ctx context.Context) error {
	if err := c.connect(ctx, false); err != nil {
		return fmt.Errorf("juggler: connect: %w", err)
	}
	return nil
}

// connect waits for a connection; with once, for the first attempt at one.
func (c *Client) connect(ctx context.Context, once bool) error {
	c.start()
	for {
		c.mu.Lock()
		changed, state, ended, why := c.changed, c.state, c.ended, c.why
		c.mu.Unlock()
		switch {
		case state == Open:
			return nil
		case once && why != nil:
			return why
		case ended != nil:
			return ended
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), notConnected(why))
		}
	}
}

// start begins to connect, once.
func (c *Client) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.started && c.ended == nil {
		c.started = true
		c.goroutines.Go(c.run)
	}
}

// Shutdown lets requests in flight come to their end, while new ones fail with
// [ErrClosed], and then closes the client. If ctx ends first, it closes the
// client at once and returns the error of ctx.
func (c *Client) Shutdown(ctx context.Context) error {
	err := c.work.finish(ctx)
	c.Close()
	if err != nil {
		return fmt.Errorf("juggler: shutdown: %w", err)
	}
	return nil
}

// Close ends the client: requests in flight fail with [ErrUnknownOutcome] if
// they were sent, and with [ErrClosed] if not; subscriptions end with
// ErrClosed, after what they have buffered. It waits until nothing of the
// client runs any more, other than handlers of [Client.SubscribeFunc], and may
// therefore not be called by a hook or a [TokenFunc]. It may be called twice,
// and returns nil.
func (c *Client) Close() error {
	c.finish(ErrClosed)
	c.goroutines.Wait()
	c.logs.Close()
	return nil
}

// finish ends the client for the reason err, unless it has ended.
func (c *Client) finish(err error) {
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		return
	}
	c.ended = err
	conns, retries := c.conns, c.retries
	c.conns, c.retries = nil, nil
	c.mu.Unlock()

	c.stop()
	c.requeue(retries) // which ends them
	for cn := range conns {
		cn.fail(err, frame.CloseNormal, "")
	}
	c.topics.end(err)
	c.setState(StateChange{State: Closed, Err: err})
}

// workload counts requests, so that Shutdown can wait for them.
type workload struct {
	active  atomic.Int64
	closing atomic.Bool
	once    sync.Once
	idle    chan struct{} // closed when active becomes 0 while closing
}

// begin counts a request, or returns ErrClosed.
func (w *workload) begin() error {
	w.active.Add(1)
	if w.closing.Load() {
		w.end()
		return ErrClosed
	}
	return nil
}

func (w *workload) end() {
	if w.active.Add(-1) == 0 && w.closing.Load() {
		w.once.Do(func() { close(w.idle) })
	}
}

// finish refuses new requests and waits for the others.
func (w *workload) finish(ctx context.Context) error {
	w.closing.Store(true)
	if w.active.Load() == 0 {
		return nil
	}
	select {
	case <-w.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
