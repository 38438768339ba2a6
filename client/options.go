package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// An Option configures a [Client]. Options only record; [New] checks them all
// and reports every problem, with the name of its option.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

// DialFunc opens a network connection; it is the type of
// [net.Dialer.DialContext].
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// TokenFunc returns the token for AUTH. It is called before each connection
// and again before the credentials expire, from one goroutine of the client at
// a time for each connection; it may block until ctx ends.
type TokenFunc = func(ctx context.Context) (string, error)

// config holds what the options record. The zero value of a pointer, slice or
// function means that its option was not given.
type config struct {
	protocols  []frame.Protocol
	header     http.Header
	httpClient *http.Client
	tls        *tls.Config
	dial       DialFunc
	token      TokenFunc
	logger     *slog.Logger
	onState    func(StateChange)

	noReconnect            bool
	minBackoff, maxBackoff time.Duration

	handshakeTimeout time.Duration
	writeTimeout     time.Duration
	closeTimeout     time.Duration
	pingInterval     time.Duration
	callTimeout      time.Duration
	stallTimeout     time.Duration

	eventBuffer int // events
	writeBuffer int // bytes
	maxMessage  int // bytes

	isNil []string // options that were given nil
}

func defaultConfig() config {
	return config{
		protocols:        []frame.Protocol{frame.Juggler1},
		logger:           slog.Default(),
		minBackoff:       500 * time.Millisecond,
		maxBackoff:       30 * time.Second,
		handshakeTimeout: 10 * time.Second,
		writeTimeout:     10 * time.Second,
		closeTimeout:     time.Second,
		pingInterval:     25 * time.Second,
		callTimeout:      30 * time.Second,
		stallTimeout:     5 * time.Second,
		eventBuffer:      1024,
		writeBuffer:      1 << 20,
		maxMessage:       4 << 20,
	}
}

// set returns an option that records v by calling put, or that v is nil.
func set[T any](name string, isNil bool, v T, put func(*config, T)) Option {
	return optionFunc(func(c *config) {
		if isNil {
			c.isNil = append(c.isNil, name)
			return
		}
		put(c, v)
	})
}

// WithProtocols says which protocols to offer; the server takes the highest
// that it speaks. The default is juggler.1 alone. What juggler.0 lacks
// (headers, cancellation, GAP, GOAWAY, AUTH) then fails with
// [ErrUnsupported] or does not happen; calls are timed by the client; and the
// server closes with 1008, which ends the client, where it has a code that asks
// to come back in juggler.1.
func WithProtocols(p ...frame.Protocol) Option {
	return optionFunc(func(c *config) { c.protocols = append([]frame.Protocol(nil), p...) })
}

// WithHTTPHeader adds header to the handshake request, e.g. Authorization,
// Origin or Juggler-Allowed-Messages. It is cloned.
func WithHTTPHeader(header http.Header) Option {
	return optionFunc(func(c *config) { c.header = header.Clone() })
}

// WithHTTPClient makes the handshake with hc: its Transport (proxies,
// certificates), its cookies and its redirects. It excludes [WithTLSConfig]
// and [WithDialer]. The default has a Transport of its own that uses the
// proxies of the environment ([http.ProxyFromEnvironment]). A proxy opens a
// tunnel for a wss URL, but has to pass the upgrade of a ws URL on.
func WithHTTPClient(hc *http.Client) Option {
	return set("WithHTTPClient", hc == nil, hc, func(c *config, hc *http.Client) { c.httpClient = hc })
}

// WithTLSConfig sets the configuration for wss URLs. It is cloned.
func WithTLSConfig(t *tls.Config) Option {
	return set("WithTLSConfig", t == nil, t, func(c *config, t *tls.Config) { c.tls = t.Clone() })
}

// WithDialer opens network connections with dial, e.g. to a Unix socket or in
// memory. No proxy is used then.
func WithDialer(dial DialFunc) Option {
	return set("WithDialer", dial == nil, dial, func(c *config, dial DialFunc) { c.dial = dial })
}

// WithToken signs in with AUTH as the first message of each connection, and
// renews the credentials when three quarters of their life are over. It needs
// juggler.1 alone.
//
// An error of token counts as a failed attempt to connect. A token that the
// server refuses (401, 403) ends the client.
func WithToken(token TokenFunc) Option {
	return set("WithToken", token == nil, token, func(c *config, token TokenFunc) { c.token = token })
}

// WithLogger sets the logger. Default: slog.Default(), as it is when [New] is
// called. The client
// logs at Info what becomes of its connection, at Warn what the server did
// wrong, and at Debug messages of a type that it does not know.
func WithLogger(l *slog.Logger) Option {
	return set("WithLogger", l == nil, l, func(c *config, l *slog.Logger) { c.logger = l })
}

// WithStateHook calls hook at every change of state, one call at a time and in
// order. The connection waits for it: hook must not wait for requests of this
// client.
func WithStateHook(hook func(StateChange)) Option {
	return set("WithStateHook", hook == nil, hook, func(c *config, hook func(StateChange)) { c.onState = hook })
}

// WithoutReconnect ends the client when its first connection is lost or cannot
// be opened. Where the server asks it to move (GOAWAY) it does so all the same.
func WithoutReconnect() Option { return optionFunc(func(c *config) { c.noReconnect = true }) }

// WithBackoff bounds the pause before attempt n (from 0) to connect anew: it is
// random between 0 and the lesser of min·2ⁿ and max (“full jitter”), or longer
// if the server asks for it, by up to an hour. The default is 500 ms and 30 s.
func WithBackoff(min, max time.Duration) Option {
	return optionFunc(func(c *config) { c.minBackoff, c.maxBackoff = min, max })
}

// WithHandshakeTimeout bounds an attempt to connect: token, dialing, upgrade,
// HELLO and AUTH together. The default is 10 s.
func WithHandshakeTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.handshakeTimeout = d })
}

// WithWriteTimeout bounds how long the network may take for one message, or for
// 64 KiB of small ones; then the connection counts as lost. The default is 10 s.
func WithWriteTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.writeTimeout = d })
}

// WithCloseTimeout bounds how long Close waits for what is being written and
// for the server to answer the close frame. The default is 1 s.
func WithCloseTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.closeTimeout = d })
}

// WithPingInterval sets how often a juggler.0 connection is tested with a
// WebSocket ping. One that is silent for twice as long counts as lost. The
// default is 25 s. In juggler.1 the server pings and says how often.
func WithPingInterval(d time.Duration) Option {
	return optionFunc(func(c *config) { c.pingInterval = d })
}

// WithCallTimeout sets the time of requests that have neither [WithTimeout]
// nor a context with a deadline. The default is 30 s.
func WithCallTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.callTimeout = d })
}

// WithStallTimeout sets how long a subscription whose buffer is full may hold
// up everything else on the connection, results of calls included, before it
// ends with [ErrSlow]. 0 ends it at once. The default is 5 s; it should be
// less than the server's time for slow consumers.
func WithStallTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.stallTimeout = d })
}

// WithEventBuffer sets how many events a subscription buffers, unless
// [WithBuffer] says otherwise. Memory is only used when they are there. The
// default is 1024.
func WithEventBuffer(events int) Option {
	return optionFunc(func(c *config) { c.eventBuffer = events })
}

// WithWriteBuffer sets how many bytes of requests may wait to be written;
// while it is full, new requests wait within their time. The default is 1 MiB.
func WithWriteBuffer(bytes int) Option {
	return optionFunc(func(c *config) { c.writeBuffer = bytes })
}

// WithMaxMessageBytes sets the size of the greatest message that is accepted
// from the server; a greater one closes the connection with 1009. The default
// is 4 MiB.
func WithMaxMessageBytes(n int) Option {
	return optionFunc(func(c *config) { c.maxMessage = n })
}

// validate returns all problems, each wrapping ErrInvalidOption.
func (c *config) validate() error {
	var problems []error
	refuse := func(option string, value any, want string) {
		problems = append(problems, fmt.Errorf("juggler: %s(%v): %w: want %s", option, value, ErrInvalidOption, want))
	}
	for _, name := range c.isNil {
		refuse(name, "nil", "a value")
	}
	for _, d := range []struct {
		option   string
		value    time.Duration
		min, max time.Duration
	}{
		{"WithHandshakeTimeout", c.handshakeTimeout, time.Millisecond, time.Hour},
		{"WithWriteTimeout", c.writeTimeout, time.Millisecond, time.Hour},
		{"WithCloseTimeout", c.closeTimeout, time.Millisecond, time.Minute},
		{"WithPingInterval", c.pingInterval, time.Millisecond, 24 * time.Hour},
		{"WithCallTimeout", c.callTimeout, time.Millisecond, 24 * time.Hour},
		{"WithStallTimeout", c.stallTimeout, 0, time.Hour},
	} {
		if d.value < d.min || d.value > d.max {
			refuse(d.option, d.value, fmt.Sprintf("%v to %v", d.min, d.max))
		}
	}
	for _, n := range []struct {
		option          string
		value, min, max int
	}{
		{"WithEventBuffer", c.eventBuffer, 1, 1 << 20},
		{"WithWriteBuffer", c.writeBuffer, 1 << 10, 1 << 30},
		{"WithMaxMessageBytes", c.maxMessage, 1 << 10, 1 << 30},
	} {
		if n.value < n.min || n.value > n.max {
			refuse(n.option, n.value, fmt.Sprintf("%d to %d", n.min, n.max))
		}
	}
	if c.minBackoff < time.Millisecond || c.maxBackoff < c.minBackoff || c.maxBackoff > 24*time.Hour {
		refuse("WithBackoff", fmt.Sprintf("%v, %v", c.minBackoff, c.maxBackoff), "1ms ≤ min ≤ max ≤ 24h")
	}
	c.validateProtocols(refuse)
	if c.httpClient != nil && (c.tls != nil || c.dial != nil) {
		refuse("WithHTTPClient", "…", "neither WithTLSConfig nor WithDialer beside it")
	}
	return errors.Join(problems...)
}

func (c *config) validateProtocols(refuse func(option string, value any, want string)) {
	seen := map[frame.Protocol]bool{}
	for _, p := range c.protocols {
		if p > frame.Juggler1 || seen[p] {
			refuse("WithProtocols", c.protocols, "each of frame.Juggler1 and frame.Juggler0 at most once")
			return
		}
		seen[p] = true
	}
	switch {
	case len(seen) == 0:
		refuse("WithProtocols", "", "at least one protocol")
	case c.token != nil && seen[frame.Juggler0]:
		refuse("WithToken", "…", "juggler.1 alone, as juggler.0 has no AUTH")
	}
}
