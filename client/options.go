package client

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
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
	onServed   func(*Subscription)
	onRequest  []RequestHook

	compress               bool
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

	problems option.Problems // found while an option was applied
}

func defaultConfig() config {
	c := config{
		problems:   option.Problems{Package: "juggler"},
		protocols:  []frame.Protocol{frame.Juggler1},
		logger:     slog.Default(),
		minBackoff: option.ClientBackoff.Default,
		maxBackoff: option.ClientLongestBackoff,
	}
	option.Reset(c.settings())
	return c
}

// settings says where the values of the options are kept that have a range.
func (c *config) settings() []option.Setting {
	return []option.Setting{
		option.ClientHandshakeTimeout.In(&c.handshakeTimeout),
		option.ClientWriteTimeout.In(&c.writeTimeout),
		option.ClientCloseTimeout.In(&c.closeTimeout),
		option.ClientPingInterval.In(&c.pingInterval),
		option.ClientCallTimeout.In(&c.callTimeout),
		option.ClientStallTimeout.In(&c.stallTimeout),
		option.ClientEventBuffer.In(&c.eventBuffer),
		option.ClientWriteBuffer.In(&c.writeBuffer),
		option.ClientMaxMessageBytes.In(&c.maxMessage),
	}
}

// set returns an option that records v by calling put, or that v is nil.
func set[T any](name string, v T, want string, put func(*config, T)) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil(name, v, want) {
			put(c, v)
		}
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
// certificates) and its cookies. Redirects are not followed. It excludes [WithTLSConfig]
// and [WithDialer]. The default has a Transport of its own that uses the
// proxies of the environment ([http.ProxyFromEnvironment]). A proxy opens a
// tunnel for a wss URL, but has to pass the upgrade of a ws URL on.
func WithHTTPClient(hc *http.Client) Option {
	return set("WithHTTPClient", hc, "an http.Client", func(c *config, hc *http.Client) { c.httpClient = hc })
}

// WithTLSConfig sets the configuration for wss URLs. It is cloned.
func WithTLSConfig(t *tls.Config) Option {
	return set("WithTLSConfig", t, "a configuration", func(c *config, t *tls.Config) { c.tls = t.Clone() })
}

// WithDialer opens network connections with dial, e.g. to a Unix socket or in
// memory. No proxy is used then.
func WithDialer(dial DialFunc) Option {
	return set("WithDialer", dial, "a function", func(c *config, dial DialFunc) { c.dial = dial })
}

// WithToken signs in with AUTH as the first message of each connection, and
// renews the credentials when three quarters of their life are over. It needs
// juggler.1 alone.
//
// All tokens have to be of one user: what the client repeats on the next connection is
// that user's. An error of token counts as a failed attempt to connect. A token that the
// server refuses (401, 403) ends the client.
func WithToken(token TokenFunc) Option {
	return set("WithToken", token, "a function", func(c *config, token TokenFunc) { c.token = token })
}

// WithLogger sets the logger. Default: slog.Default(), as it is when [New] is
// called. The client logs at Warn what the server did wrong and, once for each
// outage, that a connection was lost or could not be made; and at Debug what else
// becomes of its connection, and messages of a type that it does not know.
func WithLogger(l *slog.Logger) Option {
	return set("WithLogger", l, "a logger", func(c *config, l *slog.Logger) { c.logger = l })
}

// WithStateHook calls hook at every change of state, one call at a time and in
// order. The connection waits for it: hook must not wait for requests of this
// client.
func WithStateHook(hook func(StateChange)) Option {
	return set("WithStateHook", hook, "a function", func(c *config, hook func(StateChange)) { c.onState = hook })
}

// WithoutReconnect ends the client when its first connection is lost or cannot
// be opened. Where the server asks it to move (GOAWAY) it does so all the same.
func WithoutReconnect() Option { return optionFunc(func(c *config) { c.noReconnect = true }) }

// WithBackoff bounds the pause before attempt n (from 0) to connect anew: it is
// random between 0 and the lesser of min·2ⁿ and max (“full jitter”), or longer
// if the server asks for it, by up to an hour. Default: 500 ms and 30 s; 1 ms
// to 24 h.
func WithBackoff(min, max time.Duration) Option {
	return optionFunc(func(c *config) { c.minBackoff, c.maxBackoff = min, max })
}

// WithHandshakeTimeout bounds an attempt to connect: token, dialing, upgrade,
// HELLO and AUTH together. Default: 10 s; 1 ms to 1 h.
func WithHandshakeTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.handshakeTimeout = d })
}

// WithWriteTimeout bounds how long the network may take for one message, or for
// 64 KiB of small ones; then the connection counts as lost. Default: 10 s; 1 ms
// to 1 h.
func WithWriteTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.writeTimeout = d })
}

// WithCloseTimeout bounds how long Close waits for what is being written and
// for the server to answer the close frame. Default: 1 s; 1 ms to 1 min.
func WithCloseTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.closeTimeout = d })
}

// WithPingInterval sets how often a juggler.0 connection is tested with a
// WebSocket ping. One that is silent for twice as long counts as lost. In
// juggler.1 the server pings and says how often. Default: 25 s; 1 ms to 24 h.
func WithPingInterval(d time.Duration) Option {
	return optionFunc(func(c *config) { c.pingInterval = d })
}

// WithCallTimeout sets the time of requests that have neither [WithTimeout] nor
// a context with a deadline. Default: 30 s; 1 ms to 24 h.
func WithCallTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.callTimeout = d })
}

// WithStallTimeout sets how long a subscription whose buffer is full may hold
// up everything else on the connection, results of calls included, before it
// ends with [ErrSlow]. 0 ends it at once. It should be less than the server's
// time for slow consumers. Default: 5 s; 0 to 1 h.
func WithStallTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.stallTimeout = d })
}

// WithEventBuffer sets how many events a subscription buffers, unless
// [WithBuffer] says otherwise. Memory is only used when they are there.
// Default: 1,024; 1 to 1,048,576.
func WithEventBuffer(events int) Option {
	return optionFunc(func(c *config) { c.eventBuffer = events })
}

// WithWriteBuffer sets how many bytes of requests may wait to be written; while
// it is full, new requests wait within their time. Default: 1 MiB; 1 KiB to 1
// GiB.
func WithWriteBuffer(bytes int) Option {
	return optionFunc(func(c *config) { c.writeBuffer = bytes })
}

// WithCompression says whether to offer the server that messages are compressed
// (permessage-deflate, RFC 7692), each by itself, and to compress those of 512 bytes and
// more once the server agrees. What belongs to somebody else should not stand in one
// message with a secret then: their lengths tell of both. Default: false.
func WithCompression(on bool) Option {
	return optionFunc(func(c *config) { c.compress = on })
}

// WithMaxMessageBytes sets the size of the greatest message that is accepted
// from the server, inflated; a greater one closes the connection with 1009. Default: 4
// MiB; 1 KiB to 1 GiB.
func WithMaxMessageBytes(n int) Option {
	return optionFunc(func(c *config) { c.maxMessage = n })
}

// validate returns all problems, each wrapping ErrInvalidOption.
func (c *config) validate() error {
	p := &c.problems
	option.Check(p, c.settings())
	option.CheckBackoff(p, option.ClientBackoff, c.minBackoff, c.maxBackoff)
	c.validateProtocols()
	if c.httpClient != nil && (c.tls != nil || c.dial != nil) {
		p.Add("WithHTTPClient: want neither WithTLSConfig nor WithDialer beside it")
	}
	return p.Err()
}

func (c *config) validateProtocols() {
	seen := map[frame.Protocol]bool{}
	for _, p := range c.protocols {
		if p > frame.Juggler1 || seen[p] {
			c.problems.Refuse("WithProtocols", c.protocols, "each of frame.Juggler1 and frame.Juggler0 at most once")
			return
		}
		seen[p] = true
	}
	switch {
	case len(seen) == 0:
		c.problems.Refuse("WithProtocols", "", "at least one protocol")
	case c.token != nil && seen[frame.Juggler0]:
		c.problems.Add("WithToken: want juggler.1 alone, as juggler.0 has no AUTH")
	}
}
