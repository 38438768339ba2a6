package juggler_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/jugglertest"
)

func TestPublicationReachesExactAndPatternSubscriptions(t *testing.T) {
	s := newServer(t)
	c := s.dial("juggler.1")
	c.send(`{"type":"SUB","id":"1","channel":"news.go"}`)
	c.expect(`{"type":"ACK","for":"1"}`)
	c.send(`{"type":"SUB","id":"2","channel":"news.*","pattern":true}`)
	c.expect(`{"type":"ACK","for":"2"}`)
	c.send(`{"type":"PUB","id":"3","channel":"news.go","args":{"title":"Go"}}`)
	c.expect(`{"type":"ACK","for":"3"}`)
	first := c.expect(`{"type":"EVNT","channel":"news.go","args":{"title":"Go"}}`)
	second := c.expect(`{"type":"EVNT","channel":"news.go","args":{"title":"Go"}}`)
	if first["id"] != second["id"] {
		t.Errorf("one publication arrived with the ids %v and %v", first["id"], second["id"])
	}
}

// What no subscriber could be sent is an error, rather than a gap for all of them.
func TestPublishingWhatIsNotUTF8(t *testing.T) {
	s := newServer(t)
	c := s.dial("juggler.1")
	c.send(`{"type":"SUB","id":"1","channel":"c"}`)
	c.expect(`{"type":"ACK","for":"1"}`)
	if err := s.h.Publish(t.Context(), "c", json.RawMessage("\"\xff\""), nil); err == nil {
		t.Error("published")
	}
	if err := s.h.Publish(t.Context(), "c", json.RawMessage(`"ÿ"`), nil); err != nil {
		t.Error(err)
	}
	c.expect(`{"type":"EVNT","args":"ÿ"}`)
}

// Server code publishes from the start on, whoever connects meanwhile.
func TestPublishWhileTheFirstSessionStarts(t *testing.T) {
	s := newServer(t)
	done := make(chan error)
	go func() {
		var err error
		for range 1000 {
			err = errors.Join(err, s.h.Publish(t.Context(), "c", 1, nil))
		}
		done <- err
	}()
	s.dial("juggler.1")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPublishHeedsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAlteredBroker(t)
		b.publish = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		srv := jugglertest.NewOn(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := srv.Handler.Publish(ctx, "c", 1, nil)
		if d := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || d > 2*time.Second {
			t.Errorf("%v after %v", err, d)
		}
	})
}
