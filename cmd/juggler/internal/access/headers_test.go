package access

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

// Callees learn who calls from headers that no client can send, whatever case of letters
// it tries.
func TestIdentityHeaders(t *testing.T) {
	flags := &Flags{userHeader: "user", attributes: []string{"role", "name"}, attributeHeaders: []string{"role=X-Role", "name"}}
	headers, err := parseHeaders(flags)
	if err != nil {
		t.Fatal(err)
	}
	srv := jugglertest.New(t, append(headers.options(), juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
		if r.Header.Get("Authorization") == "" {
			return &juggler.Identity{}, nil
		}
		return &juggler.Identity{User: "ann", Attributes: slices.Concat(
			attributes("role", []any{"reader", "editor"}, true), attributes("name", "Ann B.", true),
		)}, nil
	}))...)
	srv.Handle("headers", func(_ context.Context, c *calleekit.Call) (any, error) { return c.RawHeaders, nil })
	forged := map[string]string{"user": "root", "USER": "root", "x-role": "admin", "Name": "Root", "trace": "1"}
	for _, tt := range []struct{ authorization, want string }{
		{"Bearer x", `{"X-Role":"[\"reader\",\"editor\"]","name":"Ann B.","trace":"1","user":"ann"}`},
		{"", `{"trace":"1"}`},
	} {
		c := srv.Client(client.WithHTTPHeader(http.Header{"Authorization": {tt.authorization}}))
		var got map[string]string
		if err := c.Call(t.Context(), "headers", nil, &got, client.WithHeaders(forged)); err != nil {
			t.Fatal(err)
		}
		if text, _ := json.Marshal(got); string(text) != tt.want {
			t.Errorf("%q: %s, want %s", tt.authorization, text, tt.want)
		}
	}
}
