//go:build long && unix

package redistest_test

import (
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/internal/redistest"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinel(t)
	old, next := set.Master.Client(), set.Replica.Client()
	for name, client := range map[string]*goredis.Client{"old": old, "next": next} {
		if name == "next" {
			set.Split()
		}
		if err := client.Set(t.Context(), "on", name, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for name, client := range map[string]*goredis.Client{"old": old, "next": next} {
		if got := client.Get(t.Context(), "on").Val(); got != name {
			t.Errorf("the %s master has %q", name, got)
		}
	}
	set.Heal()
	if got := old.Get(t.Context(), "on").Val(); got != "next" {
		t.Errorf("the old master has %q after it became a replica", got)
	}
}
