package nearest_test

import (
	"testing"

	"github.com/juggler-go/juggler/cmd/juggler/internal/nearest"
)

func TestTo(t *testing.T) {
	names := []string{"call", "cancel", "sub", "psub", "unsb", "pub", "max-sessions", "max-subscriptions"}
	for _, tt := range []struct{ name, want string }{
		{"cal", "call"},
		{"clal", "call"},
		{"canzel", "cancel"},
		{"unsub", "unsb"},
		{"max-session", "max-sessions"},
		{"max_sessions", "max-sessions"},
		{"max-subsriptions", "max-subscriptions"},
		{"xyz", ""},
		{"", ""},
		{"publish", ""},
	} {
		if got := nearest.To(tt.name, names); got != tt.want {
			t.Errorf("nearest to %q is %q, want %q", tt.name, got, tt.want)
		}
	}
}
