//go:build unix

package redistest_test

import (
	"strings"
	"testing"

	"github.com/juggler-go/juggler/internal/redistest"
)

func TestRefuseWrites(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	for _, why := range []redistest.Refusal{redistest.OutOfMemory, redistest.TooFew, redistest.DiskFull} {
		for range 2 {
			accept := server.RefuseWrites(why)
			if err := client.Set(t.Context(), "key", "value", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), string(why)) {
				t.Errorf("%s: got %v", why, err)
			}
			accept()
			if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
				t.Errorf("after %s: %v", why, err)
			}
		}
	}
}

func TestRestoreSnapshot(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for _, value := range []string{"first", "second"} {
		server.Do("SET", "key", value)
		server.Snapshot()
		server.Do("SET", "key", "later")
		server.RestoreSnapshot()
		if got := server.Do("GET", "key"); got != value {
			t.Errorf("got %q, want %q", got, value)
		}
	}
	server.Kill()
	server.Restart()
	if n := server.Do("DBSIZE"); n != int64(0) {
		t.Errorf("%d keys lived through a restart", n)
	}
}
