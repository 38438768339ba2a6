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
	"github.com/juggler-go/juggler/frame"
)

func signIn(context.Context, juggler.Session, string) (*juggler.Identity, error) { return nil, nil }

// Each option accepts its bounds and refuses what is one past them, with an
// error that names it.
func TestOptionBounds(t *testing.T) {
	ints := []struct {
		name     string
		option   func(int) juggler.Option
		min, max int
	}{
		{"WithEventLoops", juggler.WithEventLoops, 0, 32},
		{"WithDrainRate", juggler.WithDrainRate, 1, 1_000_000},
		{"WithMaxMessageBytes", juggler.WithMaxMessageBytes, 256, 16 << 20},
		{"WithMaxArgsBytes", juggler.WithMaxArgsBytes, 0, 16 << 20},
		{"WithMaxHeadersBytes", juggler.WithMaxHeadersBytes, 0, 1 << 20},
		{"WithMaxNameBytes", juggler.WithMaxNameBytes, 1, 1 << 16},
		{"WithMaxSubscriptions", juggler.WithMaxSubscriptions, 0, 1_000_000},
		{"WithMaxCalls", juggler.WithMaxCalls, 0, 1_000_000},
		{"WithMaxRequests", juggler.WithMaxRequests, 1, 100_000},
		{"WithMaxQueueBytes", juggler.WithMaxQueueBytes, 4 << 10, 1 << 30},
		{"WithMaxSessions", juggler.WithMaxSessions, 1, 1 << 24},
	}
	for _, o := range ints {
		t.Run(o.name, func(t *testing.T) {
			checkBounds(t, o.name, o.option(o.min), o.option(o.max), o.option(o.min-1), o.option(o.max+1))
		})
	}
	durations := []struct {
		name     string
		option   func(time.Duration) juggler.Option
		min, max time.Duration
	}{
		{"WithCallTimeout", juggler.WithCallTimeout, time.Millisecond, 10 * time.Minute},
		{"WithMaxCallTimeout", juggler.WithMaxCallTimeout, time.Minute, 24 * time.Hour},
		{"WithPing", juggler.WithPing, 10 * time.Millisecond, time.Hour},
		{"WithReadTimeout", juggler.WithReadTimeout, 10 * time.Millisecond, time.Hour},
		{"WithWriteTimeout", juggler.WithWriteTimeout, 10 * time.Millisecond, time.Hour},
		{"WithBrokerTimeout", juggler.WithBrokerTimeout, 10 * time.Millisecond, time.Hour},
		{"WithDeferredAuth", func(d time.Duration) juggler.Option { return juggler.WithDeferredAuth(signIn, d) }, time.Millisecond, time.Hour},
	}
	for _, o := range durations {
		t.Run(o.name, func(t *testing.T) {
			past := o.option(o.max + 1)
			if o.name == "WithMaxCallTimeout" {
				checkBounds(t, o.name, o.option(o.min), o.option(o.max), past)
				return
			}
			checkBounds(t, o.name, o.option(o.min), o.option(o.max), o.option(o.min-1), past)
		})
	}
}

func checkBounds(t *testing.T, name string, atMin, atMax juggler.Option, past ...juggler.Option) {
	t.Helper()
	// Room for the largest message, which the queue has to hold.
	base := []juggler.Option{juggler.WithMaxQueueBytes(1 << 30)}
	if name == "WithMaxQueueBytes" {
		base = []juggler.Option{juggler.WithMaxMessageBytes(256)}
	}
	for _, o := range []juggler.Option{atMin, atMax} {
		if _, err := juggler.New(append(base, o)...); err != nil {
			t.Errorf("a bound is refused: %v", err)
		}
	}
	for _, o := range past {
		_, err := juggler.New(append(base, o)...)
		if !errors.Is(err, juggler.ErrInvalidOption) || !strings.Contains(err.Error(), name+"(") {
			t.Errorf("one past a bound: got error %v", err)
		}
	}
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
	if err == nil || !strings.Contains(err.Error(), "WithCallTimeout(2s): want 1ms to 1s") {
		t.Errorf("what was given followed: %v", err)
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	tests := []struct {
		names  string
		option juggler.Option
	}{
		{"WithBroker(nil)", juggler.WithBroker(nil)},
		{"WithCaller(nil)", juggler.WithCaller(nil)},
		{"WithPubSub(nil)", juggler.WithPubSub(nil)},
		{"WithAuthenticator(nil)", juggler.WithAuthenticator(nil)},
		{"WithDeferredAuth(nil", juggler.WithDeferredAuth(nil, time.Second)},
		{"WithAuthorizer(nil)", juggler.WithAuthorizer(nil)},
		{"WithMiddleware(nil)", juggler.WithMiddleware(nil)},
		{"WithMiddleware: a Middleware returned nil", juggler.WithMiddleware(func(juggler.RequestHandler) juggler.RequestHandler { return nil })},
		{"WithNonBlockingMiddleware(nil)", juggler.WithNonBlockingMiddleware(nil)},
		{"WithOriginCheck(nil)", juggler.WithOriginCheck(nil)},
		{"WithLogger(nil)", juggler.WithLogger(nil)},
		{"WithDefaultProtocol", juggler.WithDefaultProtocol(frame.Protocol(7))},
		{`WithOrigins: "example.com"`, juggler.WithOrigins("https://ok.example.com", "example.com")},
		{`WithOrigins: "https://example.com/"`, juggler.WithOrigins("https://example.com/")},
		{"nil Option", nil},
		{"WithMaxQueueBytes(65536)", juggler.WithMaxQueueBytes(65536)},
		{"WithCaller and WithPubSub", juggler.WithCaller(brokerRoles{})},
	}
	for _, tt := range tests {
		t.Run(tt.names, func(t *testing.T) {
			_, err := juggler.New(tt.option)
			if !errors.Is(err, juggler.ErrInvalidOption) || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("got error %v", err)
			}
		})
	}
}

type brokerRoles struct{ broker.Caller }

func TestNewReportsAllProblemsAtOnce(t *testing.T) {
	_, err := juggler.New(juggler.WithMaxCalls(-1), juggler.WithPing(0), juggler.WithLogger(nil))
	for _, want := range []string{
		"juggler: WithMaxCalls(-1): want 0 to 1000000",
		"juggler: WithPing(0s): want 10ms to 1h0m0s",
		"juggler: WithLogger(nil): want a logger",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
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
