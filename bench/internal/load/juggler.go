package load

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// juggler is the subprotocol juggler.1.
type juggler struct {
	payload   int
	uris      int
	resultLen int // of a RES
	anySize   bool
	deflate   bool
}

func newJuggler(s Spec) protocol {
	return &juggler{
		payload:   s.Payload,
		uris:      s.URIs,
		deflate:   s.Deflate,
		resultLen: len(`{"type":"RES","for":"`+sampleID+`","args":""}`) + s.Payload,
	}
}

func (p *juggler) promises() promises { return promises{accepted: true} }

func (p *juggler) open(c *conn) error {
	c.deflate = p.deflate
	if err := upgrade(c, "/", "juggler.1"); err != nil {
		return err
	}
	return c.await(p) // HELLO
}

func (p *juggler) subscribe(c *conn, channel string) error {
	c.out = appendFrame(c.out, opText, []byte(`{"type":"SUB","id":"sub","channel":"`+channel+`"}`))
	return c.await(p)
}

func (p *juggler) request(c *conn) template {
	uri := "echo"
	if p.uris > 0 {
		uri = fmt.Sprintf("echo%03d", c.index%p.uris)
	}
	return newTemplate(opText, `{"type":"CALL","id":"`+sampleID+`","uri":"`+uri+`","args":"`+filler(p.payload)+`"}`)
}

func (p *juggler) publication(channel string) template {
	return newTemplate(opText, `{"type":"PUB","id":"`+sampleID+`","channel":"`+channel+`","args":"`+publicationText(p.payload)+`"}`)
}

// The id in ACK and RES stands at a fixed place.
const jugglerID = len(`{"type":"ACK","for":"`)

func (p *juggler) parse(c *conn, b []byte, answers []answer) (int, []answer, error) {
	taken := 0
	for {
		message, n, err := nextMessage(c, b[taken:])
		if err != nil || n == 0 {
			return taken, answers, err
		}
		taken += n
		if message == nil {
			continue
		}
		a, ok := p.read(c, message)
		if !ok {
			return taken, answers, fmt.Errorf("load: unexpected message of %d bytes: %.200q", len(message), message)
		}
		if a.id != 0 || a.kind == ready {
			answers = append(answers, a)
		}
	}
}

// read returns what message means; nothing, with a zero id, for a PING.
func (p *juggler) read(c *conn, message []byte) (answer, bool) {
	if len(message) < len(`{"type":"PING"}`) {
		return answer{}, false
	}
	switch string(message[9:12]) {
	case "ACK":
		if len(message) <= jugglerID {
			return answer{}, false
		}
		id, ok := parseID(message[jugglerID:])
		if !ok { // of a SUB
			return answer{kind: ready}, true
		}
		return answer{kind: accepted, id: id}, true
	case "RES":
		size := len(message) - p.resultLen + p.payload
		if size < 0 || (size != p.payload && !p.anySize) {
			return answer{}, false
		}
		id, ok := parseID(message[jugglerID:])
		return answer{done, id, size}, ok
	case "EVN":
		if p.anySize {
			id, ok := idAfter(message, `"args":"`)
			return answer{kind: event, id: id}, ok
		}
		id, ok := idIn(message, max(p.payload, idDigits), `"}`)
		return answer{kind: event, id: id}, ok
	case "PAR":
		id, ok := idIn(message, max(p.payload, idDigits), `"}`)
		return answer{kind: event, id: id}, ok
	case "HEL":
		return answer{kind: ready}, true
	case "PIN":
		c.out = appendFrame(c.out, opText, []byte(`{"type":"PONG"}`))
		return answer{}, bytes.Equal(message, []byte(`{"type":"PING"}`))
	}
	return answer{}, false
}

func (p *juggler) stream(uri, channel string, parts bool) []byte {
	window := ""
	if parts {
		window = fmt.Sprintf(`,"parts":%d`, StreamWindow)
	}
	return fmt.Appendf(nil, `{"type":"CALL","id":"stream","uri":%q,"args":{"channel":%q,"bytes":%d},"timeout":600000%s}`,
		uri, channel, p.payload, window)
}

func (p *juggler) more(parts int) []byte {
	return fmt.Appendf(nil, `{"type":"MORE","for":"stream","parts":%d}`, parts)
}

func (p *juggler) mixed() { p.anySize = true }

func (p *juggler) call(payload int) template {
	return (&juggler{payload: payload}).request(nil)
}

func (p *juggler) publish(channel string, payload int) template {
	return (&juggler{payload: payload}).publication(channel)
}

func (p *juggler) subscribing(channel string) template {
	return newTemplate(opText, `{"type":"SUB","id":"`+sampleID+`","channel":"`+channel+`"}`)
}

func (p *juggler) unsubscribing(channel string) template {
	return newTemplate(opText, `{"type":"UNSB","id":"`+sampleID+`","channel":"`+channel+`"}`)
}

func (p *juggler) subscribingAfter(channel, position string) []byte {
	if position != "" {
		position = `,"since":` + position
	}
	return []byte(`{"type":"SUB","id":"sub","channel":"` + channel + `"` + position + `}`)
}

func (p *juggler) recovery(message []byte, r *recovery) error {
	const ack, event = `{"type":"ACK","for":"sub"`, `{"type":"EVNT",`
	switch {
	case bytes.HasPrefix(message, []byte(ack)):
		r.answered = true
		r.recovered = bytes.Contains(message, []byte(`"recovered":true`))
	case bytes.HasPrefix(message, []byte(event)):
		id, ok := idIn(message, max(p.payload, idDigits), `"}`)
		if !ok {
			return fmt.Errorf("load: an event without an id: %.200q", message)
		}
		r.events = append(r.events, id)
	case bytes.HasPrefix(message, []byte(`{"type":"ACK"`)), bytes.HasPrefix(message, []byte(`{"type":"PING"`)):
	default:
		return fmt.Errorf("load: unexpected message: %.200q", message)
	}
	return nil
}

func (p *juggler) position(ack []byte) string {
	var position struct {
		At  uint64 `json:"at"`
		Tag string `json:"tag"`
	}
	if json.Unmarshal(ack, &position) != nil || position.Tag == "" {
		return ""
	}
	return fmt.Sprintf(`{"at":%d,"tag":%q}`, position.At, position.Tag)
}
