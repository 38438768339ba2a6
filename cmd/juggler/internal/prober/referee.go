package prober

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/juggler-go/juggler/frame"
)

// A fault is what a client, or the program, did wrong.
type fault struct {
	what string
	rule string // in place of the case's
}

// Error implements error.
func (f *fault) Error() string { return f.what }

// tooLarge returns the fault of a message that is larger than any server of a case allows.
func tooLarge(size int64) *fault {
	return &fault{
		what: fmt.Sprintf("the client sent %d bytes; HELLO allows messages of %d", size, helloMessage),
		rule: "a message beyond the connection's limit closes with 1009",
	}
}

// notWebSocket returns a fault against RFC 6455.
func notWebSocket(format string, args ...any) *fault {
	return &fault{what: "the client sent " + fmt.Sprintf(format, args...), rule: rfc}
}

// rfc stands for rules of WebSocket itself.
const rfc = "RFC 6455"

// A referee knows what holds for all messages of a client on one connection, whatever the case.
type referee struct {
	hello   frame.HelloBody
	greeted bool
	open    map[string]frame.Type // requests without ACK or NACK, and calls without RES
}

func newReferee() *referee { return &referee{open: make(map[string]frame.Type)} }

// answer takes note of a message of the server, right or odd.
func (r *referee) answer(text []byte) {
	var f frame.Frame
	if frame.Juggler1.DecodeAnswer([]byte(string(text)), &f) != nil {
		return // odd on purpose
	}
	id := string(f.For)
	switch f.Type {
	case frame.Hello:
		r.hello, r.greeted = f.Hello, true
	case frame.Ack:
		if r.open[id] != frame.Call {
			delete(r.open, id)
		}
	case frame.Nack, frame.Res:
		delete(r.open, id)
	}
}

// unknownType is how a decoder begins to refuse a request of a type that it does not know, and
// the type of such a request here. It is answered with NACK 400 and harms nothing: to send one
// is a way to ask whether the server is still there.
const unknownType = "unknown type"

// request returns the type of a message of the client, or what is wrong with it.
func (r *referee) request(text []byte) (string, *fault) {
	var f frame.Frame
	var wrong *frame.DecodeError
	if errors.As(frame.Juggler1.DecodeRequest([]byte(string(text)), &f), &wrong) {
		if wrong.Nack && strings.HasPrefix(wrong.Reason, unknownType) {
			return unknownType, nil
		}
		return "", refused(text, wrong)
	}
	what, rule := r.check(&f, text)
	if what != "" {
		return "", &fault{what: fmt.Sprintf("the client sent %s: %s", cut(string(text)), what), rule: rule}
	}
	if len(f.ID) > 0 {
		r.open[string(f.ID)] = f.Type
	}
	return f.Type.String(), nil
}

// refused returns the fault that no server would let pass.
func refused(text []byte, wrong *frame.DecodeError) *fault {
	f := &fault{
		what: fmt.Sprintf("the client sent %s: a server answers NACK 400, %q", cut(string(text)), wrong.Reason),
		rule: "gets NACK 400 and the connection lives",
	}
	if wrong.Nack {
		return f
	}
	f.what = fmt.Sprintf("the client sent %s: a server closes with %d, %q", cut(string(text)), wrong.Code, wrong.Reason)
	f.rule = "anything that is not one JSON object of ours with 1002"
	if wrong.Code == frame.CloseInvalidText {
		f.rule = "invalid UTF-8 with 1007"
	}
	return f
}

// check returns what is wrong with a request that is well formed, and words of the rule.
func (r *referee) check(f *frame.Frame, text []byte) (what, rule string) {
	_, used := r.open[string(f.ID)]
	calls := 0
	for _, typ := range r.open {
		if typ == frame.Call {
			calls++
		}
	}
	switch limits := r.hello; {
	case len(f.ID) > 0 && used:
		return fmt.Sprintf("the id %q is that of a request without answer", f.ID), "unique among its own unanswered requests"
	case !r.greeted:
		return "", "" // it cannot know more
	case len(text) > int(limits.MaxMessage):
		return fmt.Sprintf("it has %d bytes; HELLO allows %d", len(text), limits.MaxMessage), "a message beyond the connection's limit closes with 1009"
	case f.Type == frame.Call && calls >= int(limits.MaxCalls):
		return fmt.Sprintf("%d calls have no outcome yet; HELLO allows no more", calls), "rate or count limit of this session"
	case f.Timeout > limits.MaxCallTimeout && limits.MaxCallTimeout > 0:
		return fmt.Sprintf("timeout is more than HELLO allows, %d", limits.MaxCallTimeout.Milliseconds()), "more than the server's maximum, which is `limits.timeout` in HELLO, is NACK 400"
	case f.Type == frame.Call && len(f.Key) > 0 && !limits.Keyed:
		return "HELLO has no keyed", "They send a key to sessions with `keyed` only"
	case f.Type == frame.Pub && len(f.Key) > 0 && !limits.Keys:
		return "HELLO has no keys", "says that the session may use keys"
	}
	return "", ""
}

// cut shortens a text for a person.
func cut(text string) string {
	const most = 300
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// helloMessage is the size of a message that HELLO allows, unless a case says otherwise.
const helloMessage = 65536

// hello returns HELLO, with members that a case sets.
func hello(number int, members map[string]json.RawMessage) []byte {
	all := map[string]json.RawMessage{
		"ping": json.RawMessage("25000"),
		"node": json.RawMessage(`"01KAVPZZZZTGT1GJJ6JRW5Y0Z5"`),
		// As the clients see them, the sessions differ.
		"session": fmt.Appendf(nil, `"01KAVQ0RV0TGT1GJJ6JRW5Y%03d"`, number),
		"limits":  fmt.Appendf(nil, `{"message":%d,"subscriptions":128,"calls":128,"calls_per_uri":128,"timeout":600000}`, helloMessage),
	}
	for name, value := range members {
		all[name] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // a test reads the cases
	}
	return append([]byte(`{"type":"HELLO",`), text[1:]...)
}
