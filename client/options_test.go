package client_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/option/optiontest"
)

const anyURL = "ws://server.test/ws"

func try(o client.Option) error {
	c, err := client.New(anyURL, o)
	if err == nil {
		c.Close()
	}
	return err
}

func TestOptionRanges(t *testing.T) {
	optiontest.Range(t, option.ClientHandshakeTimeout, client.WithHandshakeTimeout, try)
	optiontest.Range(t, option.ClientWriteTimeout, client.WithWriteTimeout, try)
	optiontest.Range(t, option.ClientCloseTimeout, client.WithCloseTimeout, try)
	optiontest.Range(t, option.ClientPingInterval, client.WithPingInterval, try)
	optiontest.Range(t, option.ClientCallTimeout, client.WithCallTimeout, try)
	optiontest.Range(t, option.ClientStallTimeout, client.WithStallTimeout, try)
	optiontest.Range(t, option.ClientEventBuffer, client.WithEventBuffer, try)
	optiontest.Range(t, option.ClientWriteBuffer, client.WithWriteBuffer, try)
	optiontest.Range(t, option.ClientMaxMessageBytes, client.WithMaxMessageBytes, try)
	optiontest.Backoff(t, option.ClientBackoff, client.WithBackoff, try)
}

func TestOptions(t *testing.T) {
	for _, o := range []client.Option{
		client.WithProtocols(frame.Juggler0), client.WithProtocols(frame.Juggler1, frame.Juggler0),
		client.WithHTTPClient(http.DefaultClient), client.WithLogger(slog.New(slog.DiscardHandler)),
		client.WithToken(func(context.Context) (string, error) { return "", nil }),
		client.WithStateHook(func(client.StateChange) {}),
	} {
		if err := try(o); err != nil {
			t.Error(err)
		}
	}
	const twice = "want each of frame.Juggler1 and frame.Juggler0 at most once"
	for want, o := range map[string]client.Option{
		"WithProtocols(): want at least one protocol":       client.WithProtocols(),
		"WithProtocols([invalid]): " + twice:                client.WithProtocols(2),
		"WithProtocols([juggler.1 juggler.1]): " + twice:    client.WithProtocols(frame.Juggler1, frame.Juggler1),
		"juggler: WithHTTPClient(nil): want an http.Client": client.WithHTTPClient(nil),
		"WithTLSConfig(nil): want a configuration":          client.WithTLSConfig(nil),
		"WithDialer(nil): want a function":                  client.WithDialer(nil),
		"WithToken(nil): want a function":                   client.WithToken(nil),
		"WithLogger(nil): want a logger":                    client.WithLogger(nil),
		"WithStateHook(nil): want a function":               client.WithStateHook(nil),
		"juggler: New(nil): want an Option":                 nil,
	} {
		optiontest.Refused(t, want, try(o))
	}
}

func TestOptionsThatExcludeEachOther(t *testing.T) {
	_, err := client.New(anyURL,
		client.WithHTTPClient(http.DefaultClient), client.WithDialer(newPipeListener().dial),
		client.WithToken(func(context.Context) (string, error) { return "", nil }), client.WithProtocols(frame.Juggler1, frame.Juggler0),
		client.WithCallTimeout(0))
	for _, option := range []string{"WithHTTPClient", "WithToken", "WithCallTimeout"} {
		if err == nil || !strings.Contains(err.Error(), option) {
			t.Errorf("got %v, want all problems, %s too", err, option)
		}
	}
}

func TestURL(t *testing.T) {
	for _, url := range []string{"", "server", "ftp://server", "ws://", "ws://a b", "://"} {
		if _, err := client.New(url); !errors.Is(err, client.ErrInvalidOption) {
			t.Errorf("%q: got %v", url, err)
		}
	}
}
