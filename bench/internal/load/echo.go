package load

import "fmt"

// echo is a bare WebSocket server that sends each message back, or, for a
// fan-out, to everyone else.
type echo struct {
	payload int
	deflate bool
}

func newEcho(s Spec) protocol { return &echo{max(s.Payload, idDigits), s.Deflate} }

func (p *echo) promises() promises { return promises{order: true} }

func (p *echo) open(c *conn) error {
	c.deflate = p.deflate
	return upgrade(c, "/", "")
}

func (p *echo) subscribe(*conn, string) error { return nil }

func (p *echo) request(*conn) template {
	return newTemplate(opBinary, publicationText(p.payload))
}

func (p *echo) publication(string) template { return p.request(nil) }

func (p *echo) parse(c *conn, b []byte, answers []answer) (int, []answer, error) {
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
		id, ok := parseID(message)
		if !ok || len(message) != p.payload {
			return taken, answers, fmt.Errorf("load: echo of %d bytes: %.80q", len(message), message)
		}
		answers = append(answers, answer{kind: done, id: id})
	}
}
