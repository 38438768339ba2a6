package juggler_test

import "testing"

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
