package juggler

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// config is what the options recorded.
type config struct {
	problems []string // what options refused on the spot

	caller broker.Caller
	pubsub broker.PubSub

	authenticate   func(*http.Request) (*Identity, error)
	signIn         SignInFunc
	signInTimeout  time.Duration
	authorizer     Authorizer
	middleware     []Middleware // all
	blocking       bool         // some of it may block
	nonBlocking    []NonBlockingMiddleware
	hooks          Hooks
	origin         func(*http.Request) bool
	hiddenRefusals bool

	defaultProtocol *frame.Protocol
	keepCalls       bool
	logger          *slog.Logger
	eventLoops      int
	drainRate       int

	maxMessage, maxArgs, maxHeaders, maxName int // bytes of one request
	maxSubscriptions, maxCalls               int // of one session
	maxRequests, maxQueue                    int // of one session
	maxSessions                              int

	callTimeout, maxCallTimeout     time.Duration
	ping, readTimeout, writeTimeout time.Duration
	brokerTimeout                   time.Duration

	// Given by an option. If not, the default follows the limit beside it.
	callTimeoutGiven, maxQueueGiven bool
}

// defaultConfig holds the defaults that the options' comments state.
func defaultConfig() *config {
	return &config{
		origin:           sameOrigin,
		logger:           slog.Default(),
		drainRate:        500,
		maxMessage:       64 << 10,
		maxHeaders:       4 << 10,
		maxName:          1 << 10,
		maxSubscriptions: 128,
		maxCalls:         128,
		maxRequests:      64,
		maxQueue:         1 << 20,
		maxSessions:      defaultMaxSessions(),
		signInTimeout:    10 * time.Second,
		callTimeout:      time.Minute,
		maxCallTimeout:   10 * time.Minute,
		ping:             25 * time.Second,
		readTimeout:      10 * time.Second,
		writeTimeout:     10 * time.Second,
		brokerTimeout:    10 * time.Second,
	}
}

// defaultMaxSessions leaves some descriptors to the rest of the process.
func defaultMaxSessions() int {
	const most = 1 << 16
	if limit := descriptorLimit(); limit > 0 {
		return max(1, min(most, limit/5*4))
	}
	return most
}

// refuse records what is wrong with an option.
func (c *config) refuse(problem string) { c.problems = append(c.problems, problem) }

// A bound is the range of one option.
type bound[T cmp.Ordered] struct {
	option   string
	value    T
	min, max T
}

// maxEventLoops bounds the shards: a topic keeps their set in one word, half
// of it for the groups of portable connections.
const maxEventLoops = 32

func (c *config) intBounds() []bound[int] {
	return []bound[int]{
		{"WithEventLoops", c.eventLoops, 0, maxEventLoops},
		{"WithDrainRate", c.drainRate, 1, 1_000_000},
		{"WithMaxMessageBytes", c.maxMessage, 256, 16 << 20},
		{"WithMaxArgsBytes", c.maxArgs, 0, 16 << 20},
		{"WithMaxHeadersBytes", c.maxHeaders, 0, 1 << 20},
		{"WithMaxNameBytes", c.maxName, 1, 1 << 16},
		{"WithMaxSubscriptions", c.maxSubscriptions, 0, 1_000_000},
		{"WithMaxCalls", c.maxCalls, 0, 1_000_000},
		{"WithMaxRequests", c.maxRequests, 1, 100_000},
		{"WithMaxQueueBytes", c.maxQueue, 4 << 10, 1 << 30},
		{"WithMaxSessions", c.maxSessions, 1, 1 << 24},
	}
}

func (c *config) durationBounds() []bound[time.Duration] {
	return []bound[time.Duration]{
		{"WithDeferredAuth", c.signInTimeout, time.Millisecond, time.Hour},
		{"WithMaxCallTimeout", c.maxCallTimeout, time.Millisecond, 24 * time.Hour},
		{"WithCallTimeout", c.callTimeout, time.Millisecond, c.maxCallTimeout},
		{"WithPing", c.ping, 10 * time.Millisecond, time.Hour},
		{"WithReadTimeout", c.readTimeout, 10 * time.Millisecond, time.Hour},
		{"WithWriteTimeout", c.writeTimeout, 10 * time.Millisecond, time.Hour},
		{"WithBrokerTimeout", c.brokerTimeout, 10 * time.Millisecond, time.Hour},
	}
}

// follow fits defaults to the limits that were given, so that a limit can be set
// alone.
func (c *config) follow() {
	if !c.callTimeoutGiven && c.maxCallTimeout >= time.Millisecond {
		c.callTimeout = min(c.callTimeout, c.maxCallTimeout)
	}
	if !c.maxQueueGiven {
		c.maxQueue = max(c.maxQueue, c.maxMessage+envelope)
	}
}

// validate returns all that is wrong with c. After it nothing in New fails.
func (c *config) validate() error {
	var errs []error
	refuse := func(problem string) {
		errs = append(errs, fmt.Errorf("juggler: %s: %w", problem, ErrInvalidOption))
	}
	for _, p := range c.problems {
		refuse(p)
	}
	for _, b := range c.intBounds() {
		if b.value < b.min || b.value > b.max {
			refuse(fmt.Sprintf("%s(%d): want %d to %d", b.option, b.value, b.min, b.max))
		}
	}
	for _, b := range c.durationBounds() {
		if b.value < b.min || b.value > b.max {
			refuse(fmt.Sprintf("%s(%v): want %v to %v", b.option, b.value, b.min, b.max))
		}
	}
	if (c.caller == nil) != (c.pubsub == nil) && len(c.problems) == 0 {
		refuse("WithCaller and WithPubSub: want both or neither")
	}
	if c.maxQueue < c.maxMessage+envelope {
		refuse(fmt.Sprintf("WithMaxQueueBytes(%d): want at least %d, to hold one message of WithMaxMessageBytes", c.maxQueue, c.maxMessage+envelope))
	}
	return errors.Join(errs...)
}

// envelope is about how many bytes a message grows between client and client.
const envelope = 1 << 10
