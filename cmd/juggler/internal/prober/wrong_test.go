package prober_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/cmd/juggler/internal/prober"
	"github.com/juggler-go/juggler/internal/waiting"
)

// wrong is a client with one fault: the Go client, with something between it and the prober.
type wrong struct {
	in   string // the case that finds it
	says string // of what is said then
	slow bool   // it is found by what does not come

	out     edit                         // of what the client sends
	back    edit                         // of what it gets
	line    func(text string) []string   // of what the program tells
	request func(request string) string  // of its handshake
	first   func(head byte) byte         // of the first byte of its text frames
	bare    bool                         // without masks
	closed  func(m *middle, code uint16) // when the server has closed
	end     func()                       // in place of a good end
	deaf    func(op byte) bool           // to frames of the server
}

// An edit returns what becomes of a message on the connection with a number, from 1.
type edit func(m *middle, text string, connection int) []string

func swap(old, new string) edit {
	return func(_ *middle, text string, _ int) []string { return []string{strings.ReplaceAll(text, old, new)} }
}

// without drops messages that contain a text.
func without(part string) edit {
	return func(_ *middle, text string, _ int) []string {
		if strings.Contains(text, part) {
			return nil
		}
		return []string{text}
	}
}

// also sends a message behind one that contains a text.
func also(part, more string) edit {
	return func(_ *middle, text string, _ int) []string {
		if strings.Contains(text, part) {
			return []string{text, more}
		}
		return []string{text}
	}
}

// later makes an edit on later connections than the first.
func later(e edit) edit {
	return func(m *middle, text string, connection int) []string {
		if connection == 1 {
			return []string{text}
		}
		return e(m, text, connection)
	}
}

// cutOut drops what a pattern matches.
func cutOut(pattern string) edit {
	re := regexp.MustCompile(pattern)
	return func(_ *middle, text string, _ int) []string { return []string{re.ReplaceAllString(text, "")} }
}

// silent drops lines that contain a text, and twice doubles them.
func silent(part string) func(string) []string { return repeat(part, 0) }
func twice(part string) func(string) []string  { return repeat(part, 2) }

func repeat(part string, n int) func(string) []string {
	return func(text string) []string {
		if strings.Contains(text, part) {
			return slices.Repeat([]string{text}, n)
		}
		return []string{text}
	}
}

const lastSince = `"since":{"at":57,"tag":"AQIDBAUGBwg"}`

var wrongs = map[string]wrong{
	// WebSocket and JSON
	"binary":        {in: "call", says: "a binary frame", first: func(byte) byte { return 0x82 }},
	"reserved bits": {in: "call", says: "reserved bits", first: func(b byte) byte { return b | 0x40 }},
	"no mask":       {in: "call", says: "without a mask", bare: true},
	"no offer":      {in: "call", says: "want it to offer juggler.1", request: func(r string) string { return strings.ReplaceAll(r, "juggler.1", "other") }},
	"no pong":       {in: "websocket-ping", says: "answers the WebSocket ping", slow: true, deaf: func(op byte) bool { return op == 9 }},
	"no JSON":       {in: "call", says: "a server closes with 1002", out: swap(`{"type":"CALL"`, `{'type':'CALL'`)},
	"no fragments":  {in: "fragments", says: `it has no "result"`, deaf: func(op byte) bool { return op == 0 }},
	"large":         {in: "call", says: "HELLO allows 65536", out: swap("[1,2]", "[1,2"+strings.Repeat(" ", 70_000)+"]")},
	"crash": {in: "unknown-types", says: "ended before its standard input did: exit status 3", back: func(_ *middle, text string, _ int) []string {
		if strings.Contains(text, "NEWS") {
			os.Exit(3)
		}
		return []string{text}
	}},

	// requests
	"no URI":        {in: "call", says: `answers NACK 400, "uri: want a string`, out: swap(`"uri"`, `"url"`)},
	"args changed":  {in: "call-any-json", says: `args.a[2] is "1.5"; want 1.5`, out: swap("1.5", `"1.5"`)},
	"same id":       {in: "calls-cross", says: `the id "1" is that of a request without answer`, out: swap(`"id":"2"`, `"id":"1"`)},
	"parts unasked": {in: "call", says: "parts is 1; want it absent", out: swap(`"uri"`, `"parts":1,"uri"`)},
	"no type":       {in: "call", says: `answers NACK 400, "type: want a string"`, out: swap(`"type"`, `"kind"`)},
	"no timeout":    {in: "call-timeout", says: `it has no "timeout"`, out: cutOut(`,"timeout":\d+`)},
	"no patience": {in: "call-retry-after", says: "want 350 ms or more", back: func(m *middle, text string, _ int) []string {
		if strings.Contains(text, "NACK") {
			m.send(`{"type":"CALL","id":"again","uri":"math.add","args":[1,2]}`)
			return nil
		}
		return []string{text}
	}},
	"too many calls": {in: "limits", says: "1 calls have no outcome yet", out: also(`"args":"a"`, `{"type":"CALL","id":"more","uri":"u"}`)},
	"no time-out":    {in: "call-timeout", says: "in vain: the program tells", slow: true, line: silent(`"code":408`)},
	"answers mixed": {in: "calls-cross", says: `result is "C"; want "A"`, back: func(_ *middle, text string, _ int) []string {
		return []string{strings.NewReplacer(`"args":"C"`, `"args":"A"`, `"args":"A"`, `"args":"C"`).Replace(text)}
	}},
	"answered twice":  {in: "call", says: "nothing of that kind was due", line: twice(`"result":3`)},
	"error lost":      {in: "call-error", says: "error.code is 500; want 422", line: func(text string) []string { return []string{strings.Replace(text, "422", "500", 1)} }},
	"more than asked": {in: "subscribe", says: "no request was due", out: also(`"SUB"`, `{"type":"PUB","id":"p","channel":"c"}`)},

	// events
	"event lost":  {in: "subscribe", says: "event is 2; want", line: silent(`{"title":"Go"}`)},
	"event twice": {in: "subscribe", says: "event is {", line: twice(`{"title":"Go"}`)},
	"gap lost":    {in: "gap", says: `it has no "gap"; want true`, line: silent(`"gap"`)},
	"not unsubscribed": {in: "unsubscribe", says: "in vain: the client sends", slow: true, out: func(m *middle, text string, _ int) []string {
		if strings.Contains(text, "UNSB") {
			m.give(`{"type":"ACK","for":"3"}`)
			return nil
		}
		return []string{text}
	}},

	// connections
	"no PONG":      {in: "ping", says: "answers PING with PONG", slow: true, out: without("PONG")},
	"not back":     {in: "lost", says: "in vain: the client connects", slow: true, closed: func(m *middle, _ uint16) { m.stop() }},
	"not restored": {in: "lost", says: "in vain: the client sends", slow: true, out: later(without("SUB"))},
	"gap not told": {in: "lost", says: `it has no "gap"`, line: silent(`"gap"`)},
	"call repeated": {in: "lost-call", says: "args is 1; want 3", out: later(func(m *middle, text string, _ int) []string {
		return []string{`{"type":"CALL","id":"r","uri":"order.pay","args":1}`, text}
	})},
	"back though refused": {in: "close-refused", says: "connected again", closed: func(m *middle, code uint16) {
		if code == 4403 {
			m.connect()
		}
	}},
	"storm": {in: "close-storm", says: "the client connected 26 times", closed: func(m *middle, _ uint16) { m.connect() }},
	"silence": {in: "silence", says: "one of what it may", slow: true, back: func(m *middle, text string, _ int) []string {
		if strings.Contains(text, "HELLO") {
			return []string{strings.Replace(text, `"ping":400`, `"ping":600000`, 1)}
		}
		return []string{text}
	}},
	"no end":   {in: "call", says: "in vain: the program ends", slow: true, end: func() { select {} }},
	"bad end":  {in: "call", says: "exit status 4", end: func() { os.Exit(4) }},
	"no lines": {in: "call", says: "want a JSON object a line", line: func(string) []string { return []string{"three"} }},

	// streams
	"no MORE":    {in: "stream", says: "in vain: the client sends", slow: true, out: without("MORE")},
	"much MORE":  {in: "stream", says: "parts is 3; want 2", out: swap(`"MORE","for":"1","parts":2`, `"MORE","for":"1","parts":3`)},
	"no CANCEL":  {in: "call-cancelled", says: "in vain: the client sends", slow: true, out: without("CANCEL")},
	"part twice": {in: "stream", says: `part is "Once"; want ["upon"]`, line: twice(`"Once"`)},

	// history
	"no since":      {in: "recovered", says: `it has no "since"`, out: cutOut(`,"since":{.*?}`)},
	"since of ACK":  {in: "recovered-then-lost", says: "since.at is 61; want 58", out: swap(`"at":58`, `"at":61`)},
	"since of old":  {in: "gap-without-position", says: "want it absent", out: later(swap(`"channel":"room.7"`, `"channel":"room.7",`+lastSince))},
	"twice in move": {in: "goaway-events", says: "event is 59; want 60", line: twice(`"event":59`)},

	// presence
	"here once":    {in: "here-lost", says: `it has no "here"`, out: later(cutOut(`,"here":true`))},
	"here mixed":   {in: "here", says: `here is ["u1"]; want ["u1","u3"]`, back: swap("u3", "u2")},
	"own mixed":    {in: "own-channels", says: `event is "not this one"`, back: swap(`,"own":true`, "")},
	"UNSS ignored": {in: "ended-by-server", says: `channel is "room.7"; want "room.8"`, out: later(swap("room.8", "room.7"))},

	// auth
	"too early": {in: "sign-in", says: "no request was due", out: also(`"AUTH"`, `{"type":"CALL","id":"c","uri":"u"}`)},
	"no AUTH": {in: "sign-in", says: `type is "CALL"; want "AUTH"`, out: func(m *middle, text string, _ int) []string {
		if strings.Contains(text, "AUTH") {
			m.give(`{"type":"ACK","for":"1"}`)
			return []string{`{"type":"CALL","id":"c","uri":"u"}`}
		}
		return []string{text}
	}},

	// keys
	"key changed": {in: "publication-key", says: `key is "x`, out: later(swap(`"key":"`, `"key":"x`))},
	"made again":  {in: "keyed-call", says: `it has no "since"`, out: cutOut(`,"since":0`)},
	"key unasked": {in: "keyed-not-here", says: "HELLO has no keyed", out: swap(`"args":2`, `"args":2,"key":"k"`)},
}

var quoted = regexp.MustCompile("docs/protocol.md, “(.*)”")

// Each fault is found, by the case that is about it, and said.
func TestWrongClients(t *testing.T) {
	protocol := readProtocol(t)
	for name, w := range wrongs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cases := slices.DeleteFunc(prober.Cases(), func(c prober.Case) bool { return c.Name != w.in })
			patience := waiting.Most
			if w.slow {
				patience = 5 * time.Second // what is missing is known by its time alone
			}
			var out strings.Builder
			report, err := prober.Run(t.Context(), prober.Config{
				Command: program(name), Cases: cases, Patience: patience, Parallel: 1,
			}, &out)
			if err != nil || report.Failed != 1 || !strings.Contains(out.String(), w.says) {
				t.Errorf("%+v, %v; want one failure that says %q\n%s", report, err, w.says, &out)
			}
			for _, rule := range quoted.FindAllStringSubmatch(out.String(), -1) {
				if !strings.Contains(protocol, rule[1]) {
					t.Errorf("docs/protocol.md does not say %q", rule[1])
				}
			}
		})
	}
}
