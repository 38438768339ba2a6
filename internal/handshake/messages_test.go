package handshake

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/juggler-go/juggler/frame"
)

// Each list counts, wherever it stands.
func TestReadMessages(t *testing.T) {
	tests := []struct {
		headers []string
		query   string
		want    Messages
		ok      bool
	}{
		{nil, "", all, true},
		{nil, "other=1", all, true},
		{[]string{"*"}, "", all, true},
		{[]string{"sub"}, "", 1 << frame.Sub, true},
		{[]string{"sub", "pub"}, "", 1<<frame.Sub | 1<<frame.Pub, true},
		{[]string{"sub", "*"}, "", 1 << frame.Sub, true},
		{[]string{""}, "allow=sub", 1 << frame.Sub, true},
		{nil, "allow=sub&allow=call", 1<<frame.Sub | 1<<frame.Call, true},
		{nil, "allow=evnt", 0, false},
		{nil, "allow=sub;x=y", 0, false},
		{nil, "allow=%", 0, false},
		{[]string{"evnt"}, "allow=sub", 0, false},
	}
	for _, tt := range tests {
		r := &http.Request{Header: http.Header{"Juggler-Allowed-Messages": tt.headers}, URL: &url.URL{RawQuery: tt.query}}
		if got, ok := readMessages(r); got != tt.want || ok != tt.ok {
			t.Errorf("headers %q, query %q: got %b, %v, want %b, %v", tt.headers, tt.query, got, ok, tt.want, tt.ok)
		}
	}
}
