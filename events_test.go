package juggler_test

import (
	"encoding/json"
	"testing"
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
