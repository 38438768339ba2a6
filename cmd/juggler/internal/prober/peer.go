package prober

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/frame"
)

// maxMessage is the size of the greatest message of a client that is read; HELLO allows less.
const maxMessage = 1 << 20

// writeTime is what a client has to take what is written.
const writeTime = 10 * time.Second

// A peer is the server's side of one connection. All its methods are called by the session.
type peer struct {
	number  int // of the connection in its case, from 1
	conn    net.Conn
	referee *referee
	log     *transcript

	fragments bytes.Buffer // of a message that is not whole yet
	inMessage bool

	// What the client has done that no step has taken yet.
	messages []message
	pongs    []string // what those of WebSocket say
	answers  int      // PONGs

	mute   bool // it does not answer requests of an unknown type
	closed bool // the server has closed it: nothing more is written
	over   bool // nothing more comes
}

// A message is one of the client.
type message struct {
	text []byte
	typ  string
	at   time.Time
}

// tidies reports whether a message only ends what there was: a client may send it at any time.
func (m *message) tidies() bool { return m.typ == "CANCEL" || m.typ == "MORE" || m.typ == "UNSB" }

// due returns which of the messages a step takes that wants one, or -1: the next, but those
// that only tidy up where another is wanted.
func (p *peer) due(pattern json.RawMessage) int {
	wanted := message{typ: strings.Trim(string(membersOf(pattern)["type"]), `"`)}
	return slices.IndexFunc(p.messages, func(m message) bool { return wanted.tidies() || !m.tidies() })
}

// readFrame returns a frame, unmasked.
func readFrame(r io.Reader) (ws.Header, []byte, error) {
	header, err := ws.ReadHeader(r)
	if err != nil {
		return header, nil, err
	}
	if header.Length > maxMessage {
		return header, nil, tooLarge(header.Length)
	}
	payload := make([]byte, header.Length)
	if _, err = io.ReadFull(r, payload); err != nil {
		return header, nil, err
	}
	if header.Masked {
		ws.Cipher(payload, header.Mask, 0)
	}
	return header, payload, nil
}

// receive takes a frame of the client and returns what is wrong with it.
func (p *peer) receive(h ws.Header, payload []byte) *fault {
	if f := checkFrame(h, p.inMessage); f != nil {
		return f
	}
	switch h.OpCode {
	case ws.OpPing:
		p.frame(ws.NewPongFrame(payload))
		return nil
	case ws.OpPong:
		p.pongs = append(p.pongs, string(payload))
		return nil
	case ws.OpClose:
		return p.farewell(payload)
	}
	p.inMessage = !h.Fin
	p.fragments.Write(payload)
	switch {
	case p.fragments.Len() > maxMessage:
		return tooLarge(int64(p.fragments.Len()))
	case p.inMessage:
		return nil
	}
	m := message{text: bytes.Clone(p.fragments.Bytes()), at: time.Now()}
	p.fragments.Reset()
	p.log.client(p.number, string(m.text))
	var f *fault
	switch m.typ, f = p.referee.request(m.text); {
	case f != nil:
		return f
	case m.typ == "PONG":
		p.answers++
	case m.typ == unknownType:
		if !p.mute {
			p.send(fmt.Appendf(nil, `{"type":"NACK","for":%s,"error":{"code":400,"message":"unknown type"}}`, membersOf(m.text)["id"]), 1)
		}
	default:
		p.messages = append(p.messages, m)
	}
	return nil
}

// checkFrame returns what is wrong with a frame by the rules of WebSocket.
func checkFrame(h ws.Header, inMessage bool) *fault {
	switch {
	case !h.Masked:
		return notWebSocket("a frame without a mask; frames of a client have one (5.3)")
	case h.Rsv != 0:
		return notWebSocket("a frame with reserved bits set, and no extension was agreed on (5.2)")
	case h.OpCode.IsReserved():
		return notWebSocket("a frame with the opcode %d, which is none (5.2)", byte(h.OpCode))
	case h.OpCode.IsControl() && (!h.Fin || h.Length > ws.MaxControlFramePayloadSize):
		return notWebSocket("a control frame in fragments, or of more than 125 bytes (5.5)")
	case h.OpCode.IsControl():
		return nil
	case h.OpCode == ws.OpBinary:
		return &fault{what: "the client sent a binary frame", rule: "A binary frame closes with 1003"}
	case inMessage != (h.OpCode == ws.OpContinuation):
		return notWebSocket("a frame with the opcode %d where another is due: a message's first frame has its type, the others have 0 (5.4)", byte(h.OpCode))
	}
	return nil
}

// farewell takes the client's close frame, and answers it.
func (p *peer) farewell(payload []byte) *fault {
	code, reason := ws.ParseCloseFrameData(payload)
	p.log.client(p.number, fmt.Sprintf("(closes: %d %s)", code, reason))
	p.frame(ws.NewCloseFrame(payload))
	p.conn.Close() //nolint:errcheck // it is over
	if len(payload) > 0 && !mayClose(code) {
		return notWebSocket("a close frame with the code %d (7.4)", code)
	}
	return nil
}

// mayClose reports whether a close frame may have a code. Those from 1012 to 1014 are younger
// than the RFC, and who echoes a server's has them.
func mayClose(code ws.StatusCode) bool {
	return code >= frame.CloseNormal && code < 1004 || code > frame.CloseLost && code <= 1014 || code >= 3000 && code < 5000
}

// frame writes a frame. That the connection has ended is seen by who reads.
func (p *peer) frame(f ws.Frame) {
	if p.closed {
		return
	}
	p.closed = f.Header.OpCode == ws.OpClose
	p.conn.SetWriteDeadline(time.Now().Add(writeTime)) //nolint:errcheck // the write fails, too
	ws.WriteFrame(p.conn, f)                           //nolint:errcheck // as said
}

// send sends a message in so many frames, with pings of WebSocket between.
func (p *peer) send(text []byte, frames int) {
	p.log.server(p.number, string(text))
	p.referee.answer(text)
	frames = max(frames, 1)
	size := len(text)/frames + 1
	for i := range frames {
		from, to := min(i*size, len(text)), min((i+1)*size, len(text))
		op := ws.OpText
		if i > 0 {
			op = ws.OpContinuation
			p.frame(ws.NewPingFrame([]byte("between")))
		}
		p.frame(ws.NewFrame(op, i == frames-1, text[from:to]))
	}
}

// close sends a close frame.
func (p *peer) close(code int) {
	p.log.server(p.number, fmt.Sprintf("(closes: %d)", code))
	p.frame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), "by the script")))
}

// reset ends the connection as a network that fails.
func (p *peer) reset() {
	p.log.server(p.number, "(resets the connection)")
	if tcp, ok := p.conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // it is closed in any case
	}
	p.closed = true
	p.conn.Close() //nolint:errcheck // as said
}
