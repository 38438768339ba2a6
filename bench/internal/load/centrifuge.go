package load

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// centrifuge is Centrifugo's client protocol in JSON.
type centrifuge struct {
	payload   int
	resultLen int
	anySize   bool
	deflate   bool
}

func newCentrifuge(s Spec) protocol {
	return &centrifuge{
		payload:   s.Payload,
		deflate:   s.Deflate,
		anySize:   s.Kept, // the offset of a kept event follows its text
		resultLen: len(`{"id":`+sampleID+`,"rpc":{"data":""}}`) + s.Payload,
	}
}

func (p *centrifuge) promises() promises { return promises{} }

func (p *centrifuge) open(c *conn) error {
	c.deflate = p.deflate
	if err := upgrade(c, "/", ""); err != nil {
		return err
	}
	c.out = appendFrame(c.out, opText, []byte(`{"id":1,"connect":{}}`))
	return c.await(p)
}

func (p *centrifuge) subscribe(c *conn, channel string) error {
	c.out = appendFrame(c.out, opText, []byte(`{"id":2,"subscribe":{"channel":"`+channel+`"}}`))
	return c.await(p)
}

func (p *centrifuge) request(*conn) template {
	return newTemplate(opText, `{"id":`+sampleID+`,"rpc":{"method":"echo","data":"`+filler(p.payload)+`"}}`)
}

func (p *centrifuge) publication(channel string) template {
	return newTemplate(opText, `{"id":`+sampleID+`,"publish":{"channel":"`+channel+`","data":"`+publicationText(p.payload)+`"}}`)
}

func (p *centrifuge) parse(c *conn, b []byte, answers []answer) (int, []answer, error) {
	taken := 0
	for {
		message, n, err := nextMessage(c, b[taken:])
		if err != nil || n == 0 {
			return taken, answers, err
		}
		taken += n
		for len(message) > 0 { // several replies in one message, a line each
			reply := message
			if end := bytes.IndexByte(message, '\n'); end >= 0 {
				reply, message = message[:end], message[end+1:]
			} else {
				message = nil
			}
			if string(reply) == "{}" { // ping
				c.out = appendFrame(c.out, opText, []byte("{}"))
				continue
			}
			a, ok := p.read(reply)
			if !ok {
				return taken, answers, fmt.Errorf("load: unexpected reply: %.200q", reply)
			}
			answers = append(answers, a)
		}
	}
}

func (p *centrifuge) read(reply []byte) (answer, bool) {
	const idAt = len(`{"id":`)
	if bytes.HasPrefix(reply, []byte(`{"push":`)) {
		if p.anySize {
			id, ok := idAfter(reply, `"data":"`)
			return answer{kind: event, id: id}, ok
		}
		id, ok := idIn(reply, max(p.payload, idDigits), `"}}}`)
		return answer{kind: event, id: id}, ok
	}
	if !bytes.HasPrefix(reply, []byte(`{"id":`)) || bytes.HasPrefix(reply[idAt+1:], []byte(`,"error"`)) {
		return answer{}, false
	}
	id, ok := parseID(reply[idAt:])
	if !ok { // to connect or subscribe
		return answer{kind: ready}, true
	}
	rest := reply[idAt+idDigits:]
	if p.anySize {
		return answer{done, id, len(reply) - p.resultLen + p.payload}, !bytes.HasPrefix(rest, []byte(`,"error"`))
	}
	return answer{kind: done, id: id}, len(reply) == p.resultLen || bytes.HasPrefix(rest, []byte(`,"publish"`))
}

func (p *centrifuge) mixed() { p.anySize = true }

func (p *centrifuge) call(payload int) template {
	return (&centrifuge{payload: payload}).request(nil)
}

func (p *centrifuge) publish(channel string, payload int) template {
	return (&centrifuge{payload: payload}).publication(channel)
}

func (p *centrifuge) subscribing(channel string) template {
	return newTemplate(opText, `{"id":`+sampleID+`,"subscribe":{"channel":"`+channel+`"}}`)
}

func (p *centrifuge) unsubscribing(channel string) template {
	return newTemplate(opText, `{"id":`+sampleID+`,"unsubscribe":{"channel":"`+channel+`"}}`)
}

func (p *centrifuge) subscribingAfter(channel, position string) []byte {
	if position != "" {
		position = `,"recover":true,` + position
	}
	return []byte(`{"id":2,"subscribe":{"channel":"` + channel + `"` + position + `}}`)
}

func (p *centrifuge) recovery(message []byte, r *recovery) error {
	for reply := range bytes.SplitSeq(message, []byte("\n")) {
		switch {
		case bytes.HasPrefix(reply, []byte(`{"id":2,"subscribe":`)):
			r.answered = true
			r.recovered = bytes.Contains(reply, []byte(`"recovered":true`))
		case bytes.HasPrefix(reply, []byte(`{"push":`)), string(reply) == "{}":
		case bytes.HasPrefix(reply, []byte(`{"id":`)) && bytes.Contains(reply, []byte(`"publish":{`)):
			continue // to a publication: the id in it is none of an event
		default:
			return fmt.Errorf("load: unexpected reply: %.200q", reply)
		}
		const data = `"data":"`
		for at := bytes.Index(reply, []byte(data)); at >= 0; at = bytes.Index(reply, []byte(data)) {
			reply = reply[at+len(data):]
			id, ok := parseID(reply)
			if !ok {
				return fmt.Errorf("load: a publication without an id: %.200q", reply)
			}
			r.events = append(r.events, id)
		}
	}
	return nil
}

func (p *centrifuge) position(reply []byte) string {
	var answer struct {
		Subscribe struct {
			Epoch  string
			Offset uint64
		}
	}
	if json.Unmarshal(reply, &answer) != nil || answer.Subscribe.Epoch == "" {
		return ""
	}
	return fmt.Sprintf(`"epoch":%q,"offset":%d`, answer.Subscribe.Epoch, answer.Subscribe.Offset)
}

// centrifugeProtobuf is the same protocol in protobuf. Field numbers are
// those of its client.proto.
type centrifugeProtobuf struct {
	payload int
}

func newCentrifugeProtobuf(s Spec) protocol { return &centrifugeProtobuf{s.Payload} }

func (p *centrifugeProtobuf) promises() promises { return promises{} }

// field appends a length-delimited field.
func field(dst []byte, number int, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(number)<<3|2)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// command makes a command, delimited by its length: id is a varint.
func command(id string, number int, request []byte) string {
	body := field(append([]byte{1 << 3}, id...), number, request)
	return string(append(binary.AppendUvarint(nil, uint64(len(body))), body...))
}

func (p *centrifugeProtobuf) open(c *conn) error {
	if err := upgrade(c, "/?cf_protocol=protobuf", "centrifuge-protobuf"); err != nil {
		return err
	}
	c.out = appendFrame(c.out, opBinary, []byte(command("\x01", 4, nil)))
	return c.await(p)
}

func (p *centrifugeProtobuf) subscribe(c *conn, channel string) error {
	c.out = appendFrame(c.out, opBinary, []byte(command("\x02", 5, field(nil, 1, []byte(channel)))))
	return c.await(p)
}

func (p *centrifugeProtobuf) request(*conn) template {
	rpc := field(nil, 1, []byte(`"`+filler(p.payload)+`"`))
	rpc = field(rpc, 2, []byte("echo"))
	return newVarintTemplate(opBinary, command(sampleIDVarint, 13, rpc))
}

func (p *centrifugeProtobuf) publication(channel string) template {
	publish := field(nil, 1, []byte(channel))
	publish = field(publish, 2, []byte(`"`+publicationText(p.payload)+`"`))
	return newTemplate(opBinary, command("\x03", 7, publish)) // only the id in the text counts
}

func (p *centrifugeProtobuf) parse(c *conn, b []byte, answers []answer) (int, []answer, error) {
	taken := 0
	for {
		message, n, err := nextMessage(c, b[taken:])
		if err != nil || n == 0 {
			return taken, answers, err
		}
		taken += n
		for len(message) > 0 {
			length, n := binary.Uvarint(message)
			if n <= 0 || length > uint64(len(message)-n) {
				return taken, answers, fmt.Errorf("load: reply cut short: % x", message)
			}
			reply := message[n : n+int(length)]
			message = message[n+int(length):]
			if len(reply) == 0 { // ping
				c.out = appendFrame(c.out, opBinary, []byte{0})
				continue
			}
			a, ok := p.read(reply)
			if !ok {
				return taken, answers, fmt.Errorf("load: unexpected reply: %.200q", reply)
			}
			answers = append(answers, a)
		}
	}
}

func (p *centrifugeProtobuf) read(reply []byte) (answer, bool) {
	if reply[0] == 4<<3|2 { // push
		id, ok := idIn(reply, max(p.payload, idDigits), `"`)
		return answer{kind: event, id: id}, ok
	}
	if reply[0] != 1<<3 {
		return answer{}, false
	}
	id, n := binary.Uvarint(reply[1:])
	if n <= 0 || (len(reply) > 1+n && reply[1+n] == 2<<3|2) { // field 2: error
		return answer{}, false
	}
	if id < idBase {
		return answer{kind: ready}, true
	}
	return answer{kind: done, id: uint32(id)}, len(reply) > 1+n && reply[1+n] == 13<<3|2
}
