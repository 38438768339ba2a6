package juggler_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/option/optiontest"
)

func signIn(context.Context, juggler.Session, string) (*juggler.Identity, error) { return nil, nil }

// Each option accepts its bounds and refuses what is one past them, with an
// error that names it.
func TestOptionBounds(t *testing.T) {
	with := func(others ...juggler.Option) func(juggler.Option) error {
		return func(o juggler.Option) error {
			_, err := juggler.New(append(others, o)...)
			return err
		}
	}
	alone := with()
	longest := with(juggler.WithMaxCallTimeout(option.ServerMaxCallTimeout.Max))
	optiontest.Range(t, option.ServerEventLoops, juggler.WithEventLoops, alone)
	optiontest.Range(t, option.ServerDrainRate, juggler.WithDrainRate, alone)
	optiontest.Range(t, option.ServerMaxMessageBytes, juggler.WithMaxMessageBytes, alone)
	optiontest.Range(t, option.ServerMaxArgsBytes, juggler.WithMaxArgsBytes, alone)
	optiontest.Range(t, option.ServerMaxHeadersBytes, juggler.WithMaxHeadersBytes, alone)
	optiontest.Range(t, option.ServerMaxNameBytes, juggler.WithMaxNameBytes, alone)
	optiontest.Range(t, option.ServerMaxSubscriptions, juggler.WithMaxSubscriptions, alone)
	optiontest.Range(t, option.ServerMaxPatterns, juggler.WithMaxPatterns, alone)
	optiontest.Range(t, option.ServerMaxPatternBytes, juggler.WithMaxPatternBytes, alone)
	optiontest.Range(t, option.ServerMaxNodePatterns, juggler.WithMaxNodePatterns, alone)
	optiontest.Range(t, option.ServerMaxCalls, juggler.WithMaxCalls, alone)
	optiontest.Range(t, option.ServerMaxKeys, juggler.WithMaxKeys, alone)
	optiontest.Range(t, option.ServerStreamWindow, juggler.WithStreamWindow, alone)
	optiontest.Range(t, option.ServerStreamWindowBytes, juggler.WithStreamWindowBytes, alone)
	optiontest.Range(t, option.ServerStreamStall, juggler.WithStreamStall, alone)
	optiontest.Range(t, option.ServerMaxRequests, juggler.WithMaxRequests, alone)
	optiontest.Range(t, option.ServerMaxQueueBytes, juggler.WithMaxQueueBytes, with(juggler.WithMaxMessageBytes(256)))
	optiontest.Range(t, option.ServerMaxNodeQueueBytes, juggler.WithMaxNodeQueueBytes, with(juggler.WithMaxMessageBytes(256), juggler.WithMaxQueueBytes(4<<10)))
	optiontest.Range(t, option.ServerMaxSessions, juggler.WithMaxSessions, with(juggler.WithLogger(quiet)))
	optiontest.Range(t, option.ServerCallStats, juggler.WithCallStats, alone)
	optiontest.Range(t, option.ServerTop, juggler.WithTop, alone)
	optiontest.Range(t, option.ServerCallTimeout, juggler.WithCallTimeout, longest)
	optiontest.Range(t, option.ServerMaxCallTimeout, juggler.WithMaxCallTimeout, alone)
	optiontest.Range(t, option.ServerPing, juggler.WithPing, alone)
	optiontest.Range(t, option.ServerReadTimeout, juggler.WithReadTimeout, alone)
	optiontest.Range(t, option.ServerWriteTimeout, juggler.WithWriteTimeout, alone)
	optiontest.Range(t, option.ServerBrokerTimeout, juggler.WithBrokerTimeout, alone)
	optiontest.Range(t, option.ServerDeferredAuth, func(d time.Duration) juggler.Option { return juggler.WithDeferredAuth(signIn, d) }, alone)
}

// A limit can be set alone: the default beside it follows.
func TestDefaultsFollow(t *testing.T) {
	for name, o := range map[string]juggler.Option{
		"WithMaxCallTimeout":  juggler.WithMaxCallTimeout(time.Second),
		"WithMaxMessageBytes": juggler.WithMaxMessageBytes(16 << 20),
	} {
		if _, err := juggler.New(o); err != nil {
			t.Errorf("%s alone: %v", name, err)
		}
	}
	_, err := juggler.New(juggler.WithMaxCallTimeout(time.Second), juggler.WithCallTimeout(2*time.Second))
	optiontest.Refused(t, "WithCallTimeout(2s): want 1ms to 1s", err)
}

func TestOptionsThatAreWrong(t *testing.T) {
	const origin = `: want scheme://host or scheme://host:port, where the host may begin with "*." and the port be "*"`
	for want, o := range map[string]juggler.Option{
		"WithBroker(nil): want a broker":                                                            juggler.WithBroker(nil),
		"WithCaller(nil): want a broker":                                                            juggler.WithCaller(nil),
		"WithPubSub(nil): want a broker":                                                            juggler.WithPubSub((*memory.Broker)(nil)),
		"WithAuthenticator(nil): want a function":                                                   juggler.WithAuthenticator(nil),
		"WithDeferredAuth(nil): want a function":                                                    juggler.WithDeferredAuth(nil, time.Second),
		"WithAuthorizer(nil): want an Authorizer":                                                   juggler.WithAuthorizer(nil),
		"WithMiddleware(nil): want a Middleware":                                                    juggler.WithMiddleware(nil),
		"WithNonBlockingMiddleware(nil): want a NonBlockingMiddleware":                              juggler.WithNonBlockingMiddleware(nil),
		"WithMiddleware: a Middleware returned nil, want a RequestHandler":                          juggler.WithMiddleware(func(juggler.RequestHandler) juggler.RequestHandler { return nil }),
		"WithOriginCheck(nil): want a function":                                                     juggler.WithOriginCheck(nil),
		"WithLogger(nil): want a logger":                                                            juggler.WithLogger(nil),
		"WithDefaultProtocol(7): want frame.Juggler0 or frame.Juggler1":                             juggler.WithDefaultProtocol(frame.Protocol(7)),
		`WithOrigins: "example.com"` + origin:                                                       juggler.WithOrigins("https://ok.example.com", "example.com"),
		`WithOrigins: "https://example.com/"` + origin:                                              juggler.WithOrigins("https://example.com/"),
		"New(nil): want an Option":                                                                  nil,
		"WithMaxQueueBytes(65536): want at least 66560, to hold one message of WithMaxMessageBytes": juggler.WithMaxQueueBytes(65536),
		"WithCaller and WithPubSub: want both or neither":                                           juggler.WithCaller(brokerRoles{}),
	} {
		_, err := juggler.New(o)
		optiontest.Refused(t, want, err)
	}
}

type brokerRoles struct{ broker.Caller }

func TestNewReportsAllProblemsAtOnce(t *testing.T) {
	_, err := juggler.New(juggler.WithMaxCalls(-1), juggler.WithPing(0), juggler.WithLogger(nil))
	for _, want := range []string{
		"juggler: WithMaxCalls(-1): want 0 to 1000000: invalid option",
		"juggler: WithPing(0s): want 10ms to 1h0m0s: invalid option",
		"juggler: WithLogger(nil): want a logger: invalid option",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

// The error is the same for all packages.
func TestErrInvalidOption(t *testing.T) {
	if _, err := memory.New(memory.WithQueueCapacity(0)); !errors.Is(err, juggler.ErrInvalidOption) {
		t.Errorf("got %v", err)
	}
}

func TestNewStartsNothing(t *testing.T) {
	h, err := juggler.New() // the leak check of TestMain sees what it starts
	if err != nil {
		t.Fatal(err)
	}
	var _ http.Handler = h
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
