package systemtest_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler/calleekit"
)

// captured are messages of juggler.0 as its first implementation's clients sent
// them, and what its server answered, U standing for the uuid that a server
// makes for each message.
var captured = []struct {
	pattern bool // needs them
	send    string
	answer  string   // of the first client, who sends
	events  []string // of the first client
	heard   string   // by the second client, if anything
}{
	{
		send:   `{"meta":{"type":1,"uuid":"63b189cb-516e-4b1e-9270-ac089f10babc"},"payload":{"uri":"test.echo","timeout":60000000000,"args":"hello"}}`,
		answer: `{"meta":{"type":8,"uuid":"U"},"payload":{"for":"63b189cb-516e-4b1e-9270-ac089f10babc","for_type":1,"uri":"test.echo"}}`,
		events: []string{`{"meta":{"type":9,"uuid":"U"},"payload":{"for":"63b189cb-516e-4b1e-9270-ac089f10babc","uri":"test.echo","args":"hello"}}`},
	},
	{
		send:   `{"meta":{"type":1,"uuid":"13374918-84ac-47bc-b1f8-6a89a3a0ca0f"},"payload":{"uri":"test.echo","timeout":60000000000,"args":null}}`,
		answer: `{"meta":{"type":8,"uuid":"U"},"payload":{"for":"13374918-84ac-47bc-b1f8-6a89a3a0ca0f","for_type":1,"uri":"test.echo"}}`,
		events: []string{`{"meta":{"type":9,"uuid":"U"},"payload":{"for":"13374918-84ac-47bc-b1f8-6a89a3a0ca0f","uri":"test.echo","args":null}}`},
	},
	{
		send:   `{"meta":{"type":1,"uuid":"e3d5d19d-4640-4dad-94c2-f7146b857447"},"payload":{"uri":"test.delay","timeout":60000000000,"args":"abc"}}`,
		answer: `{"meta":{"type":8,"uuid":"U"},"payload":{"for":"e3d5d19d-4640-4dad-94c2-f7146b857447","for_type":1,"uri":"test.delay"}}`,
		events: []string{`{"meta":{"type":9,"uuid":"U"},"payload":{"for":"e3d5d19d-4640-4dad-94c2-f7146b857447","uri":"test.delay","args":{"error":{"message":"strconv.Atoi: parsing \"abc\": invalid syntax"}}}}`},
	},
	{
		send:   `{"meta":{"type":3,"uuid":"9c9cc467-28ff-4871-97ed-7b3b2c2d4460"},"payload":{"channel":"news.go","pattern":false}}`,
		answer: `{"meta":{"type":8,"uuid":"U"},"payload":{"for":"9c9cc467-28ff-4871-97ed-7b3b2c2d4460","for_type":3,"channel":"news.go"}}`,
	},
	{
		send:   `{"meta":{"type":2,"uuid":"7f50dc1a-228e-4457-b699-6604ed8bcb61"},"payload":{"channel":"news.go","args":[1, "<"]}}`,
		answer: `{"meta":{"type":8,"uuid":"U"},"payload":{"for":"7f50dc1a-228e-4457-b699-6604ed8bcb61","for_type":2,"channel":"news.go"}}`,
		events: []string{`{"meta":{"type":10,"uuid":"U"},"payload":{"for":"7f50dc1a-228e-4457-b699-6604ed8bcb61","channel":"news.go","args":[1,"\u003c"]}}`},
		heard:  `{"meta":{"type":10,"uuid":"U"},"payload":{"for":"7f50dc1a-228e-4457-b699-6604ed8bcb61","channel":"news.go","args":[1,"\u003c"]}}`,
	},
	{
		pattern: true,
		send:    `{"meta":{"type":3,"uuid":"e769a1e2-07ed-4f1c-8955-d34971043dd9"},"payload":{"channel":"news.*","pattern":true}}`,
		answer:  `{"meta":{"type":8,"uuid":"U"},"payload":{"for":"e769a1e2-07ed-4f1c-8955-d34971043dd9","for_type":3,"channel":"news.*"}}`,
	},
	{
		pattern: true,
		send:    `{"meta":{"type":2,"uuid":"93613f5d-7265-4e88-bab3-15f01032925a"},"payload":{"channel":"news.go","args":{"title":"Go"}}}`,
		answer:  `{"meta":{"type":8,"uuid":"U"},"payload":{"for":"93613f5d-7265-4e88-bab3-15f01032925a","for_type":2,"channel":"news.go"}}`,
		events: []string{
			`{"meta":{"type":10,"uuid":"U"},"payload":{"for":"93613f5d-7265-4e88-bab3-15f01032925a","channel":"news.go","args":{"title":"Go"}}}`,
			`{"meta":{"type":10,"uuid":"U"},"payload":{"for":"93613f5d-7265-4e88-bab3-15f01032925a","channel":"news.go","pattern":"news.*","args":{"title":"Go"}}}`,
		},
		heard: `{"meta":{"type":10,"uuid":"U"},"payload":{"for":"93613f5d-7265-4e88-bab3-15f01032925a","channel":"news.go","args":{"title":"Go"}}}`,
	},
	{
		pattern: true,
		send:    `{"meta":{"type":2,"uuid":"c9d3accf-3a99-42e1-883b-552160037637"},"payload":{"channel":"news.rust","args":[1,2.5,true,null]}}`,
		answer:  `{"meta":{"type":8,"uuid":"U"},"payload":{"for":"c9d3accf-3a99-42e1-883b-552160037637","for_type":2,"channel":"news.rust"}}`,
		events:  []string{`{"meta":{"type":10,"uuid":"U"},"payload":{"for":"c9d3accf-3a99-42e1-883b-552160037637","channel":"news.rust","pattern":"news.*","args":[1,2.5,true,null]}}`},
	},
	{
		pattern: true,
		send:    `{"meta":{"type":4,"uuid":"d3532470-dbb5-4697-ab63-b4451513898e"},"payload":{"channel":"news.*","pattern":true}}`,
		answer:  `{"meta":{"type":8,"uuid":"U"},"payload":{"for":"d3532470-dbb5-4697-ab63-b4451513898e","for_type":4,"channel":"news.*"}}`,
	},
}

// testCaptured replays them: the first client is on one node, the second on the
// other, and the callee on neither.
func (s *system) testCaptured(t *testing.T) {
	startCallee(t, map[string]calleekit.HandlerFunc{
		"test.echo": echo,
		"test.delay": func(context.Context, *calleekit.Call) (any, error) {
			return nil, &calleekit.Error{Message: `strconv.Atoi: parsing "abc": invalid syntax`}
		},
	}, calm(s.options...)...)
	first, second := dialOld(t, s.one), dialOld(t, s.two)
	second.send(`{"meta":{"type":3,"uuid":""},"payload":{"channel":"news.go"}}`)
	second.expect(`{"meta":{"type":8,"uuid":"U"},"payload":{"for":"","for_type":3,"channel":"news.go"}}`)
	for _, m := range captured {
		if m.pattern && !s.patterns {
			continue
		}
		first.send(m.send)
		first.expect(m.answer)
		first.expect(m.events...)
		if m.heard != "" {
			second.expect(m.heard)
		}
	}
}

// An oldClient speaks juggler.0 as text.
type oldClient struct {
	t    *testing.T
	conn *websocket.Conn
}

func dialOld(t *testing.T, n *node) *oldClient {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), n.url, &websocket.DialOptions{Subprotocols: []string{"juggler.0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return &oldClient{t, conn}
}

func (c *oldClient) send(message string) {
	c.t.Helper()
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, []byte(message+"\n")); err != nil {
		c.t.Fatal(err)
	}
}

var serverUUID = regexp.MustCompile(`^{"meta":{"type":(\d+),"uuid":"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"}`)

// expect takes as many messages as are wanted, in any order, byte for byte.
func (c *oldClient) expect(want ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	var got []string
	for range want {
		_, message, err := c.conn.Read(ctx)
		if err != nil {
			c.t.Fatalf("got %v and %q, want %q", err, got, want)
		}
		got = append(got, serverUUID.ReplaceAllString(string(message), `{"meta":{"type":$1,"uuid":"U"}`))
	}
	var lines []string
	for _, w := range want {
		lines = append(lines, fmt.Sprintln(w))
	}
	slices.Sort(got)
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		c.t.Fatalf("got  %q\nwant %q", got, lines)
	}
}
