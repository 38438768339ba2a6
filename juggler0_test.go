package juggler_test

import (
	"context"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/jugglertest"
)

// anyUUID stands for the uuid that the server makes for each of its messages.
var anyUUID = regexp.MustCompile(`"uuid":"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"`)

// expectText takes the next message, which must be want byte for byte, except
// for the server's own uuid, written as U.
func (c *testClient) expectText(want string) {
	c.t.Helper()
	if got := anyUUID.ReplaceAllString(string(c.receive()), `"uuid":"U"`); got != want+"\n" {
		c.t.Fatalf("got  %swant %s", got, want)
	}
}

// The messages captured from the first implementation, sent through the whole
// system, get the answers that it gave.
func TestJuggler0CapturedMessages(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet))
	s.handle("test.echo", echo)
	s.handle("test.delay", func(context.Context, *calleeCall) (any, error) {
		return nil, &calleekit.Error{Message: `strconv.Atoi: parsing "abc": invalid syntax`}
	})
	c := s.dial("juggler.0")
	c.send(`{"meta":{"type":1,"uuid":"63b189cb-516e-4b1e-9270-ac089f10babc"},"payload":{"uri":"test.echo","timeout":1000000000,"args":"hello"}}` + "\n")
	c.expectText(`{"meta":{"type":8,"uuid":"U"},"payload":{"for":"63b189cb-516e-4b1e-9270-ac089f10babc","for_type":1,"uri":"test.echo"}}`)
	c.expectText(`{"meta":{"type":9,"uuid":"U"},"payload":{"for":"63b189cb-516e-4b1e-9270-ac089f10babc","uri":"test.echo","args":"hello"}}`)

	c.send(`{"meta":{"type":1,"uuid":"E3D5D19D-4640-4DAD-94C2-F7146B857447"},"payload":{"uri":"test.delay","args":"abc"}}`)
	c.expectText(`{"meta":{"type":8,"uuid":"U"},"payload":{"for":"e3d5d19d-4640-4dad-94c2-f7146b857447","for_type":1,"uri":"test.delay"}}`)
	c.expectText(`{"meta":{"type":9,"uuid":"U"},"payload":{"for":"e3d5d19d-4640-4dad-94c2-f7146b857447","uri":"test.delay","args":{"error":{"message":"strconv.Atoi: parsing \"abc\": invalid syntax"}}}}`)

	c.send(`{"meta":{"type":3,"uuid":"e769a1e2-07ed-4f1c-8955-d34971043dd9"},"payload":{"channel":"news.*","pattern":true}}`)
	c.expectText(`{"meta":{"type":8,"uuid":"U"},"payload":{"for":"e769a1e2-07ed-4f1c-8955-d34971043dd9","for_type":3,"channel":"news.*"}}`)
	c.send(`{"meta":{"type":3,"uuid":"9c9cc467-28ff-4871-97ed-7b3b2c2d4460"},"payload":{"channel":"news.go"}}`)
	c.expectText(`{"meta":{"type":8,"uuid":"U"},"payload":{"for":"9c9cc467-28ff-4871-97ed-7b3b2c2d4460","for_type":3,"channel":"news.go"}}`)

	c.send(`{"meta":{"type":2,"uuid":"93613f5d-7265-4e88-bab3-15f01032925a"},"payload":{"channel":"news.go","args":{"title": "<Go>"}}}`)
	c.expectText(`{"meta":{"type":8,"uuid":"U"},"payload":{"for":"93613f5d-7265-4e88-bab3-15f01032925a","for_type":2,"channel":"news.go"}}`)
	exact := `{"meta":{"type":10,"uuid":"U"},"payload":{"for":"93613f5d-7265-4e88-bab3-15f01032925a","channel":"news.go","args":{"title":"\u003cGo\u003e"}}}`
	matched := `{"meta":{"type":10,"uuid":"U"},"payload":{"for":"93613f5d-7265-4e88-bab3-15f01032925a","channel":"news.go","pattern":"news.*","args":{"title":"\u003cGo\u003e"}}}`
	first := anyUUID.ReplaceAllString(string(c.receive()), `"uuid":"U"`)
	if first == matched+"\n" {
		matched = exact
	} else if first != exact+"\n" {
		t.Fatalf("got %s", first)
	}
	c.expectText(matched)

	c.send(`{"meta":{"type":4,"uuid":"d3532470-dbb5-4697-ab63-b4451513898e"},"payload":{"channel":"news.*","pattern":true}}`)
	c.expectText(`{"meta":{"type":8,"uuid":"U"},"payload":{"for":"d3532470-dbb5-4697-ab63-b4451513898e","for_type":4,"channel":"news.*"}}`)
}

// Cases in which a compatible server has a choice, and ones in which it has not.
func TestJuggler0EdgeCases(t *testing.T) {
	const id = `"uuid":"b57cd85f-4377-4838-aaf4-d1d9bbe08783"`
	nack := func(code string) string { return `{"meta":{"type":7},"payload":{"code":` + code + `}}` }
	tests := []struct {
		name, send string
		want       string
		close      int
	}{
		{"nobody answers", `{"meta":{"type":1,` + id + `},"payload":{"uri":"nobody"}}`, nack("404"), 0},
		{"empty uri", `{"meta":{"type":1,` + id + `},"payload":{"uri":""}}`, nack("400"), 0},
		{"negative timeout", `{"meta":{"type":1,` + id + `},"payload":{"uri":"echo","timeout":-1000000}}`, nack("400"), 0},
		{"timeout a string", `{"meta":{"type":1,` + id + `},"payload":{"uri":"echo","timeout":"1s"}}`, nack("400"), 0},
		{"payload null", `{"meta":{"type":3,` + id + `},"payload":null}`, nack("400"), 0},
		{"no uuid", `{"meta":{"type":3},"payload":{"channel":"c"}}`, `{"meta":{"type":8},"payload":{"for":"","channel":"c"}}`, 0},
		{"type of the server", `{"meta":{"type":8,` + id + `},"payload":{}}`, "", 1002},
		{"type a string", `{"meta":{"type":"SUB",` + id + `},"payload":{}}`, "", 1002},
		{"type 5", `{"meta":{"type":5,` + id + `},"payload":{}}`, "", 1002},
		{"no meta", `{"payload":{}}`, "", 1002},
		{"bad uuid", `{"meta":{"type":3,"uuid":"1"},"payload":{"channel":"c"}}`, "", 1002},
		{"empty message", ` `, "", 1002},
		{"invalid UTF-8", "{\"meta\":{\"type\":3},\"payload\":{\"channel\":\"\xff\"}}", "", 1007},
		{"two messages", `{"meta":{"type":3},"payload":{"channel":"c"}}{"meta":{"type":3},"payload":{"channel":"c"}}`, "", 1002},
	}
	s := newServer(t, juggler.WithLogger(quiet))
	s.handle("echo", echo)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := s.dial("juggler.0")
			c.send(tt.send)
			if tt.close != 0 {
				c.expectClose(tt.close)
				return
			}
			c.expect(tt.want)
			c.send(`{"meta":{"type":1,` + id + `},"payload":{"uri":"echo"}}`)
			c.expect(`{"meta":{"type":8},"payload":{"for_type":1}}`)
			c.expect(`{"meta":{"type":9},"payload":{"args":null}}`)
		})
	}
}

// Calls with the same uuid, or none, are each answered.
func TestJuggler0SameUUID(t *testing.T) {
	s := newServer(t)
	release := make(chan struct{})
	s.handle("held", func(_ context.Context, c *calleeCall) (any, error) { <-release; return c.Args, nil })
	a, b := s.dial("juggler.0"), s.dial("juggler.0")
	for _, c := range []*testClient{a, b} {
		for range 2 {
			c.send(`{"meta":{"type":1,"uuid":"b57cd85f-4377-4838-aaf4-d1d9bbe08783"},"payload":{"uri":"held","args":1}}`)
			c.expect(`{"meta":{"type":8}}`)
		}
	}
	close(release)
	for _, c := range []*testClient{a, a, b, b} {
		c.expect(`{"meta":{"type":9},"payload":{"for":"b57cd85f-4377-4838-aaf4-d1d9bbe08783","args":1}}`)
	}
}

// To juggler.0 expiry is silence.
func TestJuggler0Expiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := jugglertest.New(t)
		srv.Handle("wait", wait)
		srv.Handle("echo", echo)
		c := dialIn(t, srv, "juggler.0", nil)
		c.send(`{"meta":{"type":1,"uuid":""},"payload":{"uri":"wait","timeout":1000000000}}`)
		c.expect(`{"meta":{"type":8}}`)
		time.Sleep(5 * time.Second)
		c.send(`{"meta":{"type":1,"uuid":""},"payload":{"uri":"echo","args":2}}`)
		c.expect(`{"meta":{"type":8}}`)
		c.expect(`{"meta":{"type":9},"payload":{"args":2}}`)
	})
}

// A publication has one id in both protocols.
func TestPublicationsBetweenProtocols(t *testing.T) {
	s := newServer(t)
	old, c := s.dial("juggler.0"), s.dial("juggler.1")
	old.send(`{"meta":{"type":3,"uuid":""},"payload":{"channel":"c"}}`)
	old.expect(`{"meta":{"type":8}}`)
	c.send(`{"type":"SUB","id":"1","channel":"c"}`)
	c.expect(`{"type":"ACK"}`)

	old.send(`{"meta":{"type":2,"uuid":"01926f6e-7d5c-0000-0000-000000000001"},"payload":{"channel":"c","args":[1, "<"]}}`)
	old.expect(`{"meta":{"type":8}}`)
	old.expect(`{"meta":{"type":10},"payload":{"for":"01926f6e-7d5c-0000-0000-000000000001","args":[1,"<"]}}`)
	c.expect(`{"type":"EVNT","id":"01J9QPWZAW0000000000000001","args":[1,"<"]}`)

	c.send(`{"type":"PUB","id":"2","channel":"c","args":3,"headers":{"h":"v"}}`)
	c.expect(`{"type":"ACK"}`)
	c.expect(`{"type":"EVNT","args":3,"headers":{"h":"v"}}`)
	old.expect(`{"meta":{"type":10},"payload":{"channel":"c","args":3}}`)
}
