package juggler_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/jugglertest"
)

// In an outage every request fails, and topics may have missed events; strangers come
// and go. The log stays short, and says how much it left out.
func TestFailuresAreNotLoggedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		srv := jugglertest.New(t, juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), juggler.WithPing(time.Hour),
			juggler.WithMaxSessions(2), juggler.WithMaxSubscriptions(1000))
		c := dialIn(t, srv, "juggler.1", nil)
		for i := range 1000 {
			c.send(fmt.Sprintf(`{"type":"SUB","id":"1","channel":"c%d"}`, i))
			c.expect(`{"type":"ACK"}`)
		}
		srv.Broker.Down()
		for i := range 100 {
			c.send(fmt.Sprintf(`{"type":"PUB","id":"%d","channel":"c"}`, i))
			c.expect(`{"type":"NACK","error":{"code":503}}`)
		}
		srv.Broker.Up()
		for range 1000 {
			c.expect(`{"type":"GAP"}`)
		}
		for range 100 {
			stranger := dialIn(t, srv, "juggler.1", nil)
			stranger.send("nonsense")
			stranger.expectClose(juggler.CloseProtocolError)
			srv.Wait("the end of the stranger", func() bool { return srv.Handler.NumSessions() == 1 })
			response := httptest.NewRecorder()
			srv.Handler.ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/", nil))
		}
		time.Sleep(time.Minute)
		text := log.String()
		if lines := strings.Count(text, "\n"); lines > 50 {
			t.Errorf("logged %d lines:\n%.5000s", lines, text)
		}
		for _, kind := range []string{"request refused", "events may have been missed", "session ended", "handshake refused"} {
			if said := strings.Count(text, kind) + leftOut(text, kind); said != 100 && said != 1000 {
				t.Errorf("%d times by what the log says: %s\n%.5000s", said, kind, text)
			}
		}
	})
}

var notLogged = regexp.MustCompile(`not_logged_before=(\d+)`)

// leftOut returns how many lines with a message were left out, by what the others say.
func leftOut(log, message string) (n int) {
	for line := range strings.Lines(log) {
		if m := notLogged.FindStringSubmatch(line); m != nil && strings.Contains(line, message) {
			more, _ := strconv.Atoi(m[1])
			n += more
		}
	}
	return n
}

// lockedBuffer is a bytes.Buffer for many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// blockingLogger waits for release with its first line about a refused request.
func blockingLogger(release chan struct{}) *slog.Logger {
	return slog.New(&blockingLog{release: release})
}

type blockingLog struct{ release chan struct{} }

func (l *blockingLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *blockingLog) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "request refused") {
		<-l.release
	}
	return nil
}

func (l *blockingLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *blockingLog) WithGroup(string) slog.Handler      { return l }
