package juggler_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

// byHeader is an authenticator that believes a header.
func byHeader(r *http.Request) (*juggler.Identity, error) {
	user := r.Header.Get("Test-User")
	if user == "" {
		return nil, nil
	}
	return &juggler.Identity{User: user, Attributes: []juggler.Attribute{{Name: "tenant", Value: "acme"}}}, nil
}

// Callees can trust the headers that the options set: no client can send them, in any case
// of letters, also where middleware may block; subscribers get none of them.
func TestCallHeadersCannotBeForged(t *testing.T) {
	pass := juggler.WithMiddleware(func(next juggler.RequestHandler) juggler.RequestHandler { return next })
	for name, more := range map[string][]juggler.Option{"on the turn": nil, "in a chain": {pass}} {
		t.Run(name, func(t *testing.T) {
			srv := jugglertest.New(t, append(more, juggler.WithAuthenticator(byHeader), juggler.WithUserHeader("User"),
				juggler.WithAttributeHeader("tenant", "tenant"),
				juggler.WithCallHeader("proto", func(s juggler.Session) (string, bool) { return s.Protocol().String(), s.User() != "" }))...)
			srv.Handle("headers", func(_ context.Context, c *calleekit.Call) (any, error) { return c.RawHeaders, nil })
			forged := map[string]string{"user": "root", "USER": "root", "u\u017fer": "root", "Tenant": "all", "PROTO": "x", "trace": "1"}
			for user, want := range map[string]string{
				"ann": `{"User":"ann","proto":"juggler.1","tenant":"acme","trace":"1"}`,
				"":    `{"trace":"1"}`,
			} {
				c := srv.Client(client.WithHTTPHeader(http.Header{"Test-User": {user}}))
				var got map[string]string
				if err := c.Call(t.Context(), "headers", nil, &got, client.WithHeaders(forged)); err != nil {
					t.Fatal(err)
				}
				if text, _ := json.Marshal(got); string(text) != want {
					t.Errorf("%q: %s, want %s", user, text, want)
				}
				sub, err := c.Subscribe(t.Context(), "news")
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Publish(t.Context(), "news", 1, client.WithHeaders(forged)); err != nil {
					t.Fatal(err)
				}
				event, err := sub.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if text, _ := json.Marshal(event.Headers); string(text) != `{"trace":"1"}` {
					t.Errorf("%q: a subscriber got %s", user, text)
				}
			}
		})
	}
}

func TestCallHeaderOptions(t *testing.T) {
	for want, opts := range map[string][]juggler.Option{
		`WithUserHeader("")`:        {juggler.WithUserHeader("")},
		"WithCallHeader":            {juggler.WithCallHeader("x", nil)},
		`WithAttributeHeader("ID")`: {juggler.WithUserHeader("id"), juggler.WithAttributeHeader("role", "ID")},
	} {
		if _, err := juggler.New(opts...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
