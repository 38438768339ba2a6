package juggler_test

import "testing"

func TestCallIsAcknowledgedThenAnswered(t *testing.T) {
	s := newServer(t)
	s.handle("echo", echo)
	c := s.dial("juggler.1")
	c.send(`{"type":"CALL","id":"1","uri":"echo","args":{"a":[1, 2]}}`)
	c.expect(`{"type":"ACK","for":"1"}`)
	c.expect(`{"type":"RES","for":"1","args":{"a":[1,2]}}`)
}

func TestCallNobodyAnswers(t *testing.T) {
	s := newServer(t)
	c := s.dial("juggler.1")
	c.send(`{"type":"CALL","id":"1","uri":"nobody"}`)
	c.expect(`{"type":"NACK","for":"1","error":{"code":404}}`)
}
