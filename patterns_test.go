package juggler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
)

func TestLimitsOfPatterns(t *testing.T) {
	s := newServer(t, juggler.WithMaxPatterns(2), juggler.WithMaxPatternBytes(5), juggler.WithMaxNodePatterns(3), juggler.WithLogger(quiet))
	ann, bob := s.dial("juggler.1"), s.dial("juggler.1")
	for _, step := range []struct {
		c            *testClient
		what, name   string
		pattern      bool
		code         int // of the NACK; 0: ACK
		message      string
		mayComeAgain bool
	}{
		{c: ann, what: "SUB", name: "123456", pattern: true, code: 400, message: "a pattern is longer than 5 bytes"},
		{c: ann, what: "SUB", name: "123456"},
		{c: ann, what: "SUB", name: "a*", pattern: true},
		{c: ann, what: "SUB", name: "12345", pattern: true},
		{c: ann, what: "SUB", name: "c*", pattern: true, code: 429, message: "more than 2 subscriptions to patterns", mayComeAgain: true},
		{c: ann, what: "SUB", name: "a*", pattern: true}, // it has this one
		{c: ann, what: "SUB", name: "c*"},                // a channel
		{c: bob, what: "SUB", name: "a*", pattern: true}, // the node has this one
		{c: bob, what: "SUB", name: "b*", pattern: true},
		{c: bob, what: "UNSB", name: "a*", pattern: true},
		{c: bob, what: "SUB", name: "c*", pattern: true, code: 503, message: "the sessions of this server have too many patterns", mayComeAgain: true},
		{c: bob, what: "SUB", name: "123456"},
		{c: ann, what: "UNSB", name: "a*", pattern: true}, // of all sessions the last
		{c: bob, what: "SUB", name: "c*", pattern: true},
	} {
		step.c.send(fmt.Sprintf(`{"type":%q,"id":"1","channel":%q,"pattern":%v}`, step.what, step.name, step.pattern))
		if step.code == 0 {
			step.c.expect(`{"type":"ACK","for":"1"}`)
			continue
		}
		nack := step.c.expect(fmt.Sprintf(`{"type":"NACK","for":"1","error":{"code":%d,"message":%q}}`, step.code, step.message))
		if _, later := nack["error"].(map[string]any)["retry_after"]; later != step.mayComeAgain {
			t.Errorf("with retry_after: %v: %v", later, nack)
		}
	}
}

func TestNoPatternsFromClients(t *testing.T) {
	s := newServer(t, juggler.WithMaxPatterns(0), juggler.WithLogger(quiet))
	c := s.dial("juggler.1")
	c.send(`{"type":"SUB","id":"1","channel":"a*","pattern":true}`)
	c.expect(`{"type":"NACK","for":"1","error":{"code":403,"message":"clients may not subscribe to patterns here"}}`)
	c.send(`{"type":"UNSB","id":"2","channel":"a*","pattern":true}`)
	c.expect(`{"type":"ACK","for":"2"}`)
	c.send(`{"type":"SUB","id":"3","channel":"a*"}`)
	c.expect(`{"type":"ACK","for":"3"}`)
}

// A publication costs about the same beside the worst patterns that a session may have as
// beside any.
func TestPublicationBesideWorstPatterns(t *testing.T) {
	channel := strings.Repeat("a", 1000)
	publish := map[string]func(){}
	for kind, pattern := range map[string]string{
		"plain":    "news.%d.*",
		"letters":  "*" + strings.Repeat("a", 250) + "b%d*",
		"brackets": strings.Repeat("*[a-y]", 40) + "b%d*",
	} {
		s := newServer(t, juggler.WithLogger(quiet))
		c := s.dial("juggler.1")
		for i := range 16 {
			c.send(fmt.Sprintf(`{"type":"SUB","id":"1","channel":%q,"pattern":true}`, fmt.Sprintf(pattern, i)))
			c.expect(`{"type":"ACK","for":"1"}`)
		}
		publish[kind] = func() {
			c.send(fmt.Sprintf(`{"type":"PUB","id":"1","channel":%q}`, channel))
			c.expect(`{"type":"ACK","for":"1"}`)
		}
	}
	least := map[string]time.Duration{}
	for range 20 { // the least of interleaved runs: others use the processor, too
		for kind, do := range publish {
			began := time.Now()
			do()
			if took := time.Since(began); least[kind] == 0 || took < least[kind] {
				least[kind] = took
			}
		}
	}
	t.Log(least)
	for kind, took := range least {
		if took > 60*least["plain"] {
			t.Errorf("a publication takes %v beside patterns with %s, %v beside plain ones", took, kind, least["plain"])
		}
	}
}
