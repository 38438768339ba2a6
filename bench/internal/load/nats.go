package load

import (
	"bytes"
	"fmt"
	"strconv"
)

// nats is the client protocol of NATS, over TCP, or over WebSocket, where
// frames carry the same stream of bytes.
type nats struct {
	webSocket bool
	payload   int
}

func newNATS(s Spec) protocol { return &nats{payload: s.Payload} }

func newNATSWebSocket(s Spec) protocol { return &nats{webSocket: true, payload: s.Payload} }

func (p *nats) promises() promises { return promises{} }

func (p *nats) opcode() byte {
	if p.webSocket {
		return opBinary
	}
	return 0
}

func (p *nats) open(c *conn) error {
	if p.webSocket {
		if err := upgrade(c, "/", ""); err != nil {
			return err
		}
	}
	return p.send(c, `CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}`+
		fmt.Sprintf("\r\nSUB _I.%d.* 1\r\nPING\r\n", c.index))
}

func (p *nats) subscribe(c *conn, channel string) error {
	return p.send(c, "SUB "+channel+" 2\r\nPING\r\n")
}

// send sends what ends in a PING and waits for the PONG.
func (p *nats) send(c *conn, text string) error {
	if p.webSocket {
		c.out = appendFrame(c.out, opBinary, []byte(text))
	} else {
		c.out = append(c.out, text...)
	}
	if err := c.writeAll(c.out); err != nil {
		return err
	}
	c.out = c.out[:0]
	return c.await(p)
}

func (p *nats) text() string { return `"` + publicationText(p.payload) + `"` }

func (p *nats) request(c *conn) template {
	return newTemplate(p.opcode(), fmt.Sprintf("PUB echo _I.%d.%s %d\r\n\"%s\"\r\n", c.index, sampleID, p.payload+2, filler(p.payload)))
}

func (p *nats) publication(channel string) template {
	return newTemplate(p.opcode(), fmt.Sprintf("PUB %s %d\r\n%s\r\n", channel, len(p.text()), p.text()))
}

func (p *nats) parse(c *conn, b []byte, answers []answer) (int, []answer, error) {
	if !p.webSocket {
		return p.parseStream(c, b, answers)
	}
	taken := 0
	for {
		message, n, err := nextMessage(c, b[taken:])
		if err != nil || n == 0 {
			return taken, answers, err
		}
		taken += n
		if len(c.stream) > 0 {
			c.stream = append(c.stream, message...)
			message = c.stream
		}
		var used int
		if used, answers, err = p.parseStream(c, message, answers); err != nil {
			return taken, answers, err
		}
		c.stream = append(c.stream[:0], message[used:]...)
	}
}

var (
	natsCRLF  = []byte("\r\n")
	natsMSG   = []byte("MSG ")
	natsInbox = []byte("_I.")
)

func (p *nats) parseStream(c *conn, b []byte, answers []answer) (int, []answer, error) {
	taken := 0
	for {
		rest := b[taken:]
		end := bytes.Index(rest, natsCRLF)
		if end < 0 {
			return taken, answers, nil
		}
		line := rest[:end]
		if !bytes.HasPrefix(line, natsMSG) {
			if err := p.control(c, line, &answers); err != nil {
				return taken, answers, err
			}
			taken += end + 2
			continue
		}
		length, err := strconv.Atoi(string(line[bytes.LastIndexByte(line, ' ')+1:]))
		if err != nil {
			return taken, answers, fmt.Errorf("load: %q: %w", line, err)
		}
		total := end + 2 + length + 2
		if len(rest) < total {
			return taken, answers, nil
		}
		a, ok := p.read(line[len(natsMSG):], rest[end+2:total-2])
		if !ok {
			return taken, answers, fmt.Errorf("load: unexpected message: %.200q", rest[:total])
		}
		answers = append(answers, a)
		taken += total
	}
}

// read returns what a MSG means: its header is "subject sid length".
func (p *nats) read(header, payload []byte) (answer, bool) {
	if bytes.HasPrefix(header, natsInbox) {
		subject := header[:bytes.IndexByte(header, ' ')]
		id, ok := parseID(subject[bytes.LastIndexByte(subject, '.')+1:])
		return answer{kind: done, id: id}, ok && len(payload) == p.payload+2
	}
	id, ok := idIn(payload, len(p.text())-2, `"`)
	return answer{kind: event, id: id}, ok
}

func (p *nats) control(c *conn, line []byte, answers *[]answer) error {
	switch {
	case bytes.Equal(line, []byte("PONG")):
		*answers = append(*answers, answer{kind: ready})
	case bytes.Equal(line, []byte("PING")):
		if p.webSocket {
			c.out = appendFrame(c.out, opBinary, []byte("PONG\r\n"))
		} else {
			c.out = append(c.out, "PONG\r\n"...)
		}
	case bytes.HasPrefix(line, []byte("INFO ")), bytes.Equal(line, []byte("+OK")):
	default:
		return fmt.Errorf("load: unexpected line: %q", line)
	}
	return nil
}
