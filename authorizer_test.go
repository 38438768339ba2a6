package juggler_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/juggler-go/juggler"
)

// An authorizer that knows channels only lets no pattern pass, whatever it says of the
// text of the pattern. One that allows patterns may still refuse one.
func TestPatternsMustBeAllowed(t *testing.T) {
	channels := func(_ context.Context, r *juggler.Request) error {
		if strings.HasPrefix(r.Channel(), "refused") {
			return juggler.ErrForbidden
		}
		return nil
	}
	patterns := func(ctx context.Context, r *juggler.Request) error {
		if r.Pattern() && r.Channel() == "news.*" || r.Channel() == "refused.*" {
			r.AllowPattern()
		}
		return channels(ctx, r)
	}
	const byRule, byUs, allowed = `{"code":403,"message":"not allowed"}`, `{"code":403,"message":"patterns are refused here unless the server's authorizer allows them (juggler.Request.AllowPattern, or a rule that ends in *): subscribe to channels by their names"}`, ""
	pass := juggler.WithMiddleware(func(next juggler.RequestHandler) juggler.RequestHandler { return next })
	for _, way := range []struct {
		name                       string
		authorizer                 []juggler.Option
		news, other, refused, star string
	}{
		{"channels", with(juggler.NonBlocking(channels)), byUs, byUs, byRule, byUs},
		{"channels, may block", with(juggler.AuthorizerFunc(channels)), byUs, byUs, byRule, byUs},
		{"channels, middleware that blocks", append(with(juggler.NonBlocking(channels)), pass), byUs, byUs, byRule, byUs},
		{"patterns", with(juggler.NonBlocking(patterns)), allowed, byUs, byRule, byUs},
		{"patterns, may block", with(juggler.AuthorizerFunc(patterns)), allowed, byUs, byRule, byUs},
		{"everything", with(juggler.AllowAll()), allowed, allowed, allowed, allowed},
	} {
		t.Run(way.name, func(t *testing.T) {
			c := newServer(t, append(way.authorizer, juggler.WithLogger(quiet))...).dial("juggler.1")
			for _, sub := range []struct{ pattern, want string }{
				{"news.*", way.news}, {"other.*", way.other}, {"refused.*", way.refused}, {"*", way.star}, {"news.*", way.news},
			} {
				c.send(`{"type":"SUB","id":"1","channel":"` + sub.pattern + `","pattern":true}`)
				if sub.want == allowed {
					c.expect(`{"type":"ACK","for":"1"}`)
				} else {
					c.expect(`{"type":"NACK","for":"1","error":` + sub.want + `}`)
				}
			}
			// What was said of a pattern is not of other requests.
			c.send(`{"type":"SUB","id":"2","channel":"news.*"}`)
			c.expect(`{"type":"ACK","for":"2"}`)
			c.send(`{"type":"UNSB","id":"3","channel":"never","pattern":true}`)
			c.expect(`{"type":"ACK","for":"3"}`)
		})
	}
}

func with(a juggler.Authorizer) []juggler.Option {
	return []juggler.Option{juggler.WithAuthorizer(a)}
}

// A node that lets everybody do everything says so once, at its start, unless it was told
// that this is meant.
func TestWarnsWithoutAuthorizer(t *testing.T) {
	for name, tt := range map[string]struct {
		opts  []juggler.Option
		warns int
	}{
		"none":       {nil, 1},
		"meant":      {with(juggler.AllowAll()), 0},
		"authorizer": {with(juggler.NonBlocking(func(context.Context, *juggler.Request) error { return nil })), 0},
	} {
		t.Run(name, func(t *testing.T) {
			var log lockedBuffer
			h, err := juggler.New(append(tt.opts, juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))...)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Shutdown(t.Context())
			for range 2 {
				if err := h.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if n := strings.Count(log.String(), "level=WARN"); n != tt.warns || strings.Count(log.String(), "WithAuthorizer") != tt.warns {
				t.Errorf("%d warnings, want %d:\n%s", n, tt.warns, log.String())
			}
		})
	}
}
