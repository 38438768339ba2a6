package juggler

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/handshake"
)

// An Option configures a [Handler] in [New]. Options only record what they
// are given; New validates them together and reports every problem at once.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

// WithBroker sets the engine that carries calls and events. Default: an
// embedded one (broker/memory) of the handler's own, closed by Shutdown. A
// broker that is set stays the caller's to close, after Shutdown.
func WithBroker(b interface {
	broker.Caller
	broker.PubSub
}) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithBroker", b, "a broker") {
			c.caller, c.pubsub = b, b
		}
	})
}

// WithCaller sets the engine that carries calls, where RPC and pub-sub use
// different ones. It goes with [WithPubSub].
func WithCaller(b broker.Caller) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithCaller", b, "a broker") {
			c.caller = b
		}
	})
}

// WithPubSub sets the engine that carries events. It goes with [WithCaller].
func WithPubSub(b broker.PubSub) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithPubSub", b, "a broker") {
			c.pubsub = b
		}
	})
}

// WithAuthenticator sets who a client is, decided from its HTTP request
// before the upgrade. Default: every client is accepted, anonymous.
//
// f runs on the goroutine of the request and may block as long as the
// http.Server allows. It returns the client's identity; nil for an anonymous
// client (or, together with [WithDeferredAuth], one that will sign in); or an
// error. An [Error] with code 401 or 403 refuses for good, any other error is
// a failure after which clients come back (503).
func WithAuthenticator(f func(*http.Request) (*Identity, error)) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithAuthenticator", f, "a function") {
			c.authenticate = f
		}
	})
}

// WithDeferredAuth lets clients sign in by an AUTH message after the upgrade,
// as browsers must who cannot send headers, and renew credentials that expire.
// A session without an identity may send only AUTH, and is closed after timeout (1 ms
// to 1 h): with 4400, which is final for clients, or with 1013 if an AUTH is not
// answered yet, or was refused for a reason that passes (408, 429, 5xx). An identity that [WithAuthenticator] already
// found needs no AUTH. juggler.0 has no AUTH: its clients are refused unless
// they are authenticated by the request.
//
// An AUTH that signs in another user leaves the session's subscriptions and
// calls as they are; an application that does not want that closes the
// session ([Session.Disconnect]) instead.
//
// f gets the token. It may block: that holds up its session only. An [Error]
// is passed to the client in a NACK, other errors as code 500; neither an
// identity nor an error means [ErrUnauthenticated]. A client whose AUTH was
// refused may send another one.
func WithDeferredAuth(f SignInFunc, timeout time.Duration) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithDeferredAuth", f, "a function") {
			c.signIn, c.signInTimeout = f, timeout
		}
	})
}

// WithAuthorizer sets what decides whether a session may call a URI, subscribe
// or publish. Default: everything is allowed, and New logs a warning: [AllowAll] says
// that it is meant. The package rules makes an authorizer of rules. One that never waits
// should be wrapped in [NonBlocking]: it then costs next to nothing.
func WithAuthorizer(a Authorizer) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithAuthorizer", a, "an Authorizer") {
			c.authorizer = a
		}
	})
}

// WithMiddleware wraps the handling of CALL, SUB, UNSB and PUB; the first is
// the outermost. Used several times, it appends. What m does may block: that
// holds up its session only, whose requests are handled one after the other.
func WithMiddleware(m ...Middleware) Option {
	return optionFunc(func(c *config) {
		for _, mw := range m {
			c.addMiddleware(mw)
		}
	})
}

// WithNonBlockingMiddleware adds middleware that never waits, neither for I/O nor
// for a lock that is held across I/O: it runs on the event loop, where it costs next
// to nothing and where waiting would hold up many sessions: if it takes more than 100 ms
// it is logged, and counted in [Stats]. It may panic, but not call runtime.Goexit. Together with that of [WithMiddleware] it is called in the
// order of the options.
func WithNonBlockingMiddleware(m ...NonBlockingMiddleware) Option {
	return optionFunc(func(c *config) {
		for _, mw := range m {
			c.addNonBlocking(mw)
		}
	})
}

// WithHooks sets functions that are told what happens. Used several times,
// the later wins.
func WithHooks(h Hooks) Option {
	return optionFunc(func(c *config) { c.hooks = h })
}

// WithOriginCheck sets which handshakes with an Origin header are accepted;
// others are refused with 403. Default: the same origin, which means that the
// host and port of Origin are those of Host. f is not asked about requests
// without Origin: they do not come from a browser.
func WithOriginCheck(f func(*http.Request) bool) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithOriginCheck", f, "a function") {
			c.origin, c.originOption = f, "the function of WithOriginCheck"
		}
	})
}

// WithOrigins accepts handshakes from web pages of the same origin and of these, e.g.
// "https://app.example.com". A host may begin with "*.", for one label or more:
// "https://*.example.com" does not match "https://example.com". A port may be "*":
// "http://localhost:*". Letters' case and default ports do not matter; names with
// other letters than those of ASCII are written as browsers send them ("xn--…").
// Requests without Origin, which no browser sends, are not concerned. It takes the place
// of an earlier WithOrigins or [WithOriginCheck], and they that of this one.
func WithOrigins(origins ...string) Option {
	return optionFunc(func(c *config) {
		allowed, err := handshake.Origins(origins)
		if err != nil {
			c.problems.Add("WithOrigins: " + err.Error())
			return
		}
		c.origin, c.originOption = allowed, originsOption
	})
}

// WithVisibleRefusals says whether a browser that is refused by the
// authenticator or for overload gets the upgrade and then a close code
// (4400, 4403, 1013), which it can see, in place of an HTTP status, which it
// cannot. Default: true. It concerns juggler.1 and requests with an allowed
// Origin only.
func WithVisibleRefusals(on bool) Option {
	return optionFunc(func(c *config) { c.hiddenRefusals = !on })
}

// WithErrorTexts says whether clients get the texts of errors that are not for them: of
// plain errors and panics of user code, which otherwise become "internal error" and a log
// line. It is for development: such texts tell of databases, files and hosts. Default:
// false. Callees have their own, calleekit.WithErrorTexts.
func WithErrorTexts(on bool) Option {
	return optionFunc(func(c *config) { c.errorTexts = on })
}

// WithDefaultProtocol sets the protocol of clients that offer none in
// Sec-WebSocket-Protocol. Default: they are refused with 400.
func WithDefaultProtocol(p frame.Protocol) Option {
	return optionFunc(func(c *config) {
		if p != frame.Juggler0 && p != frame.Juggler1 {
			c.problems.Refuse("WithDefaultProtocol", uint8(p), "frame.Juggler0 or frame.Juggler1")
		}
		c.defaultProtocol = &p
	})
}

// WithMaxMessageBytes sets the size of the largest message of a client; a
// larger one closes with 1009. Default: 64 KiB; 256 B to 16 MiB.
func WithMaxMessageBytes(n int) Option {
	return optionFunc(func(c *config) { c.maxMessage = n })
}

// WithMaxArgsBytes sets the size of the largest args of a request; larger
// ones get NACK 413. Default, and 0: only the message is limited; 0 to 16 MiB.
func WithMaxArgsBytes(n int) Option {
	return optionFunc(func(c *config) { c.maxArgs = n })
}

// WithMaxHeadersBytes sets the size of the largest headers of a request, as
// JSON; larger ones get NACK 413. Default: 4 KiB; 0 to 1 MiB.
func WithMaxHeadersBytes(n int) Option {
	return optionFunc(func(c *config) { c.maxHeaders = n })
}

// WithMaxNameBytes sets the length of the longest URI, channel or pattern;
// longer ones get NACK 400. Default: 1,024 bytes; 1 to 65,536.
func WithMaxNameBytes(n int) Option {
	return optionFunc(func(c *config) { c.maxName = n })
}

// WithMaxSubscriptions sets how many topics a session may be subscribed to;
// more get NACK 429. Default: 128; 0 to 1,000,000.
func WithMaxSubscriptions(n int) Option {
	return optionFunc(func(c *config) { c.maxSubscriptions = n })
}

// WithMaxPatterns sets how many of the topics of a session may be patterns; more get NACK
// 429. With 0 clients may not subscribe to patterns: they get NACK 403. Default: 16; 0 to
// 1,000,000.
func WithMaxPatterns(n int) Option {
	return optionFunc(func(c *config) { c.maxPatterns = n })
}

// WithMaxPatternBytes sets the length of the longest pattern, which is not longer than
// [WithMaxNameBytes] in any case; longer ones get NACK 400. What it costs to compare one
// with a channel is up to both lengths, not to the stars and brackets of the pattern.
// Default: 256 bytes; 1 to 65,536.
func WithMaxPatternBytes(n int) Option {
	return optionFunc(func(c *config) { c.maxPatternBytes = n })
}

// WithMaxNodePatterns sets how many different patterns the sessions of the node may be
// subscribed to together; more get NACK 503. Each publication is compared with all that
// begin as its channel does. Default: 16,384; 1 to 16,777,216.
func WithMaxNodePatterns(n int) Option {
	return optionFunc(func(c *config) { c.maxNodePatterns = n })
}

// WithMaxCalls sets how many calls of a session may be without an outcome at
// a time; more get NACK 429. Default: 128; 0 to 1,000,000.
func WithMaxCalls(n int) Option {
	return optionFunc(func(c *config) { c.maxCalls = n })
}

// WithMaxCallsPerURI sets how many calls of one URI a session may have without an outcome
// at a time; more get NACK 429. It keeps the slow calls of one session from taking all
// the places of a callee (calleekit.WithConcurrency, 256 by default), so it should be
// a part of those. Default: 128; 1 to 1,000,000.
func WithMaxCallsPerURI(n int) Option {
	return optionFunc(func(c *config) { c.maxCallsPerURI = n })
}

// WithStreamWindow sets how many parts of the answer to a call its callee may send ahead of
// what was written for the client, whatever more the client asks for: so many may wait on
// their way. More of them make a fast answer of small parts faster where ways are long.
// Default: 128; 1 to 65,536.
func WithStreamWindow(parts int) Option {
	return optionFunc(func(c *config) { c.streamWindow = parts })
}

// WithStreamWindowBytes sets how many bytes these parts may have together, besides the last
// of them; they count for [WithMaxNodeQueueBytes] while they wait for the client. Default:
// 64 KiB; 1 KiB to 16 MiB.
func WithStreamWindowBytes(n int) Option {
	return optionFunc(func(c *config) { c.streamWindowBytes = n })
}

// WithStreamStall sets how long the answer to a call may stand still that was sent as far
// as the client has asked for. Then the call ends with 429 and its callee is told to stop:
// who does not read shall not hold a callee. Default: 30 s; 10 ms to 1 h.
func WithStreamStall(d time.Duration) Option {
	return optionFunc(func(c *config) { c.streamStall = d })
}

// WithSessionRates sets how often a session may send what. What comes too early gets NACK
// 429, with the time after which to try again; UNSB, CANCEL and what has no answer count,
// but are not refused. A session that sends too many messages is not read until half of its
// burst is paid off, and closed with 1013 if that happens 50 times without a rest; one that
// is a whole burst ahead of another rate is closed at once. HELLO tells clients the rates,
// and the Go client keeps to them.
//
// Default: 10,000 messages a second, 2,000 of them at once; and 500 subscriptions, 1,000
// at once or as many as a session may have ([WithMaxSubscriptions]). The option takes the
// place of all: Rates{} is no bound.
func WithSessionRates(r Rates) Option {
	return optionFunc(func(c *config) { c.sessionRates, c.sessionRatesGiven = r, true })
}

// WithUserRates sets how often the sessions of one user on this node may send what, all
// of them together. What comes too early gets NACK 429 and does not count. Default: no
// bound beside those of the sessions.
func WithUserRates(r Rates) Option {
	return optionFunc(func(c *config) { c.userRates = r })
}

// WithAddressRates sets how often the clients of one address (of IPv6, a /64) may send
// what on this node, all of them together, and how often they may connect and fail to sign
// in. What comes too early gets NACK 429, a handshake status 429 or close code 1013, with
// the time after which to try again; it does not count. The rates concern clients whose
// address is known; see [WithTrustedProxies].
//
// Default: 20,000 messages a second (100,000 at once), 2,000 subscriptions (50,000), 100
// handshakes (2,000), 10 failed sign-ins (200). The option takes the place of all:
// AddressRates{} is no bound.
func WithAddressRates(r AddressRates) Option {
	return optionFunc(func(c *config) { c.addressRates = r })
}

// WithTrustedProxies names the proxies in front of the server, by address or prefix
// ("10.0.0.0/8"): the address of a client is that which the last of them says in
// X-Forwarded-For. Without any argument there is none, and each peer is a client. Default:
// a peer on loopback or in a private network is taken for a proxy, and the address of its
// clients is not known, as X-Forwarded-For could be the client's own; others are clients.
func WithTrustedProxies(proxies ...string) Option {
	return optionFunc(func(c *config) {
		trusted, err := handshake.TrustedProxies(proxies)
		if err != nil {
			c.problems.Add("WithTrustedProxies: " + err.Error())
			return
		}
		c.proxies = trusted
	})
}

// WithMaxRequests sets how many requests of a session wait while user code or
// a broker that waits is busy with earlier ones. At the limit, and where they take as
// many bytes as [WithMaxQueueBytes] says, the server stops reading from that client.
// Default: 64; 1 to 100,000.
func WithMaxRequests(n int) Option {
	return optionFunc(func(c *config) { c.maxRequests = n })
}

// WithMaxQueueBytes sets how many bytes may wait for a client to read them, and
// so how large a result or an event may be.
// A client that is slower is closed with 4500; so is one that no event loop
// serves, as over TLS, when more comes for it at once. Default: 1 MiB, or more
// where the largest message needs it; 4 KiB to 1 GiB, and at least 1 KiB more than
// a message may have ([WithMaxMessageBytes]).
func WithMaxQueueBytes(n int) Option {
	return optionFunc(func(c *config) { c.maxQueue, c.maxQueueGiven = n, true })
}

// WithMaxNodeQueueBytes sets how many bytes of memory may be taken, by all sessions of the
// node together, by what waits: for clients to read it, for the rest of a message, and for
// user code or a broker that is slow. Beyond it those for which most waits are closed, with
// 4500 if they do not read, else with 1013. What waits for a client counts when it has not
// read all for 100 ms; what one turn writes may come on top. Default: 256 MiB, or as much as [WithMaxQueueBytes]; 4 KiB to 1
// TiB, and at least as much as [WithMaxQueueBytes].
func WithMaxNodeQueueBytes(n int64) Option {
	return optionFunc(func(c *config) { c.maxNodeQueue, c.maxNodeQueueGiven = n, true })
}

// WithMaxSessions sets how many sessions the node has at most; more are
// refused with 503. Default: 65,536, or four fifths of RLIMIT_NOFILE where that
// is less; 1 to 16,777,216. New warns of a number beyond RLIMIT_NOFILE.
func WithMaxSessions(n int) Option {
	return optionFunc(func(c *config) { c.maxSessions = n })
}

// WithMaxUnauthenticated sets how many sessions the node has at most that have yet to send
// their AUTH ([WithDeferredAuth]), a quarter of them from one address (see
// [WithTrustedProxies]). One more has the oldest closed with 1013: a client that signs in
// at once finds room, whoever does not. Default: 32,768, half of [WithMaxSessions];
// 1 to 16,777,216, and not more than sessions.
func WithMaxUnauthenticated(n int) Option {
	return optionFunc(func(c *config) { c.maxUnauthenticated, c.maxUnauthenticatedGiven = n, true })
}

// WithMaxSignIns sets how many calls of the functions of [WithAuthenticator] and
// [WithDeferredAuth] run at once; other clients wait for their turn, within the time that
// they have to sign in. Default: 128; 1 to 1,048,576.
func WithMaxSignIns(n int) Option {
	return optionFunc(func(c *config) { c.maxSignIns = n })
}

// WithCallTimeout sets the time of a call that asks for none. Default: 1 min, or
// the maximum of [WithMaxCallTimeout] if that is less; 1 ms to the maximum.
func WithCallTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.callTimeout, c.callTimeoutGiven = d, true })
}

// WithMaxCallTimeout sets the longest time a call may ask for; more gets NACK
// 400. Default: 10 min; 1 ms to 24 h.
func WithMaxCallTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.maxCallTimeout = d })
}

// WithPing sets after how much silence of either side the server sends a PING
// (juggler.1) or a WebSocket ping (juggler.0). A client that has sent nothing, not even a
// ping or a part of a message, for twice that time is closed with 4501, whatever was sent
// to it. Default: 25 s; 10 ms to 1 h.
func WithPing(d time.Duration) Option {
	return optionFunc(func(c *config) { c.ping = d })
}

// WithReadTimeout sets the time for the rest of a message once its first byte
// has arrived; later it is closed with 4501. Default: 10 s; 10 ms to 1 h.
func WithReadTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.readTimeout = d })
}

// WithWriteTimeout sets how long a client may read nothing of what waits for
// it before it is closed with 4500. Default: 10 s; 10 ms to 1 h.
func WithWriteTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.writeTimeout = d })
}

// WithBrokerTimeout sets the time that a broker that waits has to take a
// request. Default: 10 s; 10 ms to 1 h.
func WithBrokerTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.brokerTimeout = d })
}

// WithDrainRate sets how many sessions a second Shutdown asks to go
// elsewhere. It goes faster where its context leaves less time. Default: 500;
// 1 to 1,000,000.
func WithDrainRate(perSecond int) Option {
	return optionFunc(func(c *config) { c.drainRate = perSecond })
}

// WithKeepCalls lets calls run on when their client cancels them or goes
// away, but for those that answer in parts, which nobody takes any more. Default: the
// callee's context is cancelled.
func WithKeepCalls() Option {
	return optionFunc(func(c *config) { c.keepCalls = true })
}

// WithEventLoops sets how many event loops serve the connections; each is a
// goroutine. Default, and 0: one for two of GOMAXPROCS, since callees and
// brokers need processors too; 0 to 32. Connections that an event loop cannot
// serve (TLS, wrapped ones, systems without epoll) have goroutines of their
// own.
func WithEventLoops(n int) Option {
	return optionFunc(func(c *config) { c.eventLoops = n })
}

// WithLogger sets where the handler logs. Default: slog.Default(), as it is
// when New is called.
func WithLogger(l *slog.Logger) Option {
	return optionFunc(func(c *config) {
		if c.problems.NotNil("WithLogger", l, "a logger") {
			c.logger = l
		}
	})
}
