package juggler

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/handshake"
	"github.com/juggler-go/juggler/internal/names"
	"github.com/juggler-go/juggler/internal/option"
)

// config is what the options recorded.
type config struct {
	problems option.Problems // what options refused on the spot

	caller broker.Caller
	pubsub broker.PubSub

	authenticate  func(*http.Request) (*Identity, error)
	signIn        SignInFunc
	signInTimeout time.Duration
	authorizer    Authorizer
	middleware    []Middleware // all
	blocking      bool         // some of it may block
	nonBlocking   []NonBlockingMiddleware
	callObservers []func(CallEnd)
	callHeaders   []callHeader

	keyScope func(Session) string // nil: the user
	outcomes []outcomeRule

	presence      []presenceRule
	needPresence  []string // options that the broker has to know for who is in channels
	presenceGrace time.Duration
	maxPresent    int

	needOutcomes []string // options that the broker has to keep outcomes for
	maxKeys      int      // of one scope and URI

	compression *Compression // nil: none
	exempt      []names.Set  // from it

	handshakeHeaders []string // to be kept
	hooks            Hooks
	origin           func(*http.Request) bool
	originOption     string // what allows other origins
	hiddenRefusals   bool
	errorTexts       bool

	defaultProtocol *frame.Protocol
	keepCalls       bool
	logger          *slog.Logger
	eventLoops      int
	drainRate       int

	maxMessage, maxArgs, maxHeaders, maxName int // bytes of one request
	maxSubscriptions, maxCalls               int // of one session
	maxPatterns, maxPatternBytes             int // of one session; of one pattern
	maxNodePatterns                          int
	maxNodeQueue                             int64
	maxRequests, maxQueue                    int // of one session
	callStats                                int // URIs
	top                                      int // counters
	maxSessions, maxUnauthenticated          int
	maxUserSessions, maxAddressSessions      int
	maxUserSessionsEverywhere                int
	maxSignIns                               int // at once
	maxCallsPerURI                           int // of one session
	streamWindow, streamWindowBytes          int // of one call

	cluster      bool
	clusterLease time.Duration

	proxies      handshake.Proxies
	sessionRates Rates
	userRates    Rates
	addressRates AddressRates

	// What the rates come to.
	sessionBounds, userBounds, addressBounds bounds
	paced                                    bool // messages are counted

	callTimeout, maxCallTimeout     time.Duration
	ping, readTimeout, writeTimeout time.Duration
	brokerTimeout, streamStall      time.Duration

	// Given by an option. If not, the default follows the limit beside it.
	callTimeoutGiven, maxQueueGiven, maxNodeQueueGiven bool
	sessionRatesGiven, maxUnauthenticatedGiven         bool
}

// settings says where the values of the options are kept that have a range.
func (c *config) settings() []option.Setting {
	callTimeout := option.ServerCallTimeout
	callTimeout.Max = c.maxCallTimeout
	return []option.Setting{
		option.ServerEventLoops.In(&c.eventLoops),
		option.ServerDrainRate.In(&c.drainRate),
		option.ServerMaxMessageBytes.In(&c.maxMessage),
		option.ServerMaxArgsBytes.In(&c.maxArgs),
		option.ServerMaxHeadersBytes.In(&c.maxHeaders),
		option.ServerMaxNameBytes.In(&c.maxName),
		option.ServerMaxSubscriptions.In(&c.maxSubscriptions),
		option.ServerMaxPatterns.In(&c.maxPatterns),
		option.ServerMaxPatternBytes.In(&c.maxPatternBytes),
		option.ServerMaxNodePatterns.In(&c.maxNodePatterns),
		option.ServerMaxCalls.In(&c.maxCalls),
		option.ServerMaxCallsPerURI.In(&c.maxCallsPerURI),
		option.ServerMaxKeys.In(&c.maxKeys),
		option.ServerMaxPresent.In(&c.maxPresent),
		option.ServerPresenceGrace.In(&c.presenceGrace),
		option.ServerStreamWindow.In(&c.streamWindow),
		option.ServerStreamWindowBytes.In(&c.streamWindowBytes),
		option.ServerMaxRequests.In(&c.maxRequests),
		option.ServerMaxQueueBytes.In(&c.maxQueue),
		option.ServerMaxNodeQueueBytes.In(&c.maxNodeQueue),
		option.ServerMaxSessions.In(&c.maxSessions),
		option.ServerCallStats.In(&c.callStats),
		option.ServerTop.In(&c.top),
		option.ServerMaxUnauthenticated.In(&c.maxUnauthenticated),
		option.ServerMaxSignIns.In(&c.maxSignIns),
		option.ServerMaxUserSessions.In(&c.maxUserSessions),
		option.ServerMaxUserSessionsEverywhere.In(&c.maxUserSessionsEverywhere),
		option.ServerMaxAddressSessions.In(&c.maxAddressSessions),
		option.ServerDeferredAuth.In(&c.signInTimeout),
		option.ServerMaxCallTimeout.In(&c.maxCallTimeout),
		callTimeout.In(&c.callTimeout),
		option.ServerPing.In(&c.ping),
		option.ServerReadTimeout.In(&c.readTimeout),
		option.ServerWriteTimeout.In(&c.writeTimeout),
		option.ServerBrokerTimeout.In(&c.brokerTimeout),
		option.ServerStreamStall.In(&c.streamStall),
		option.ServerClusterLease.In(&c.clusterLease),
	}
}

// defaultConfig returns what holds where no option says otherwise.
func defaultConfig() *config {
	c := &config{problems: option.Problems{Package: "juggler"}, logger: slog.Default()}
	c.origin, c.originOption = handshake.SameOrigin, originsOption
	option.Reset(c.settings())
	c.sessionRates, c.addressRates = defaultSessionRates, defaultAddressRates
	if limit := descriptorLimit(); limit > 0 { // some are left to the rest of the process
		c.maxSessions = max(1, min(c.maxSessions, limit/5*4))
	}
	return c
}

// originsOption names [WithOrigins] where an origin is refused.
const originsOption = "WithOrigins (of juggler serve: --origins)"

// follow fits defaults to the limits that were given, so that a limit can be set
// alone.
func (c *config) follow() {
	if !c.callTimeoutGiven && c.maxCallTimeout >= option.ServerCallTimeout.Min {
		c.callTimeout = min(c.callTimeout, c.maxCallTimeout)
	}
	if s := &c.sessionRates.Subscriptions; !c.sessionRatesGiven {
		s.Burst = max(s.Burst, c.maxSubscriptions) // after a reconnection all are subscribed at once
	}
	if !c.maxUnauthenticatedGiven {
		c.maxUnauthenticated = (c.maxSessions + 1) / 2
	}
	if !c.maxQueueGiven {
		c.maxQueue = max(c.maxQueue, c.maxMessage+envelope)
	}
	if !c.maxNodeQueueGiven {
		c.maxNodeQueue = max(c.maxNodeQueue, int64(c.maxQueue))
	}
}

// validate returns all that is wrong with c. After it nothing in New fails.
func (c *config) validate() error {
	p := &c.problems
	if (c.caller == nil) != (c.pubsub == nil) && p.None() {
		p.Add("WithCaller and WithPubSub: want both or neither")
	}
	option.Check(p, c.settings())
	if least := c.maxMessage + envelope; c.maxQueue < least {
		p.Refuse("WithMaxQueueBytes", c.maxQueue, fmt.Sprintf("at least %d, to hold one message of WithMaxMessageBytes", least))
	}
	if c.maxNodeQueue < int64(c.maxQueue) {
		p.Refuse("WithMaxNodeQueueBytes", c.maxNodeQueue, fmt.Sprintf("at least %d, the queue of one session by WithMaxQueueBytes", c.maxQueue))
	}
	if c.maxUnauthenticated > c.maxSessions {
		p.Refuse("WithMaxUnauthenticated", c.maxUnauthenticated, fmt.Sprintf("at most WithMaxSessions, %d", c.maxSessions))
	}
	if c.maxUnauthenticatedGiven && c.signIn == nil {
		p.Add("WithMaxUnauthenticated: it has no effect without WithDeferredAuth")
	}
	c.checkOutcomes()
	c.checkRoles()
	c.checkPresence()
	validateRates(p, "WithSessionRates", c.sessionRates.list())
	validateRates(p, "WithUserRates", c.userRates.list())
	validateRates(p, "WithAddressRates", c.addressRates.list())
	return p.Err()
}

// setBounds follows validate.
func (c *config) setBounds() {
	c.sessionBounds = newBounds("this session", c.sessionRates.list())
	c.userBounds = newBounds("this user", c.userRates.list())
	c.addressBounds = newBounds("this address", c.addressRates.list())
	c.paced = c.sessionBounds.some || c.userBounds.some || c.addressBounds.some
}

// maxPayload is how many bytes of args, headers, and text of errors may be sent to a client.
func (h *Handler) maxPayload() int { return h.cfg.maxQueue - envelope }

// envelope is about how many bytes a message grows between client and client.
const envelope = 1 << 10
