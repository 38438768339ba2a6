package juggler_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/jugglertest"
)

// In an outage every request fails; the log says so once a second, and how
// often it did not.
func TestFailuresAreNotLoggedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer // written on the turn only, read after it
		srv := jugglertest.New(t, juggler.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		c := dialIn(t, srv, "juggler.1", nil)
		srv.Broker.Down()
		for i := range 10 {
			c.send(fmt.Sprintf(`{"type":"PUB","id":"%d","channel":"c"}`, i))
			c.expect(`{"type":"NACK","error":{"code":503}}`)
		}
		time.Sleep(2 * time.Second)
		c.send(`{"type":"PUB","id":"last","channel":"c"}`)
		c.expect(`{"type":"NACK","error":{"code":503}}`)
		synctest.Wait()
		lines := strings.Count(log.String(), "request refused")
		if lines != 2 || !strings.Contains(log.String(), "not_logged_before=9") || !strings.Contains(log.String(), "broker unavailable") {
			t.Errorf("logged %d lines:\n%s", lines, log.String())
		}
	})
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
