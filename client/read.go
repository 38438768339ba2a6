package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler/frame"
)

// read is the reader. It ends when the socket fails or the server breaks the
// protocol.
func (cn *conn) read() {
	var buf []byte
	var f frame.Frame
	for {
		typ, r, err := cn.ws.Reader(context.Background())
		if err == nil {
			buf, err = appendAll(buf[:0], r)
		}
		if err != nil {
			code := 0
			if errors.Is(err, websocket.ErrMessageTooBig) {
				code = frame.CloseTooBig // sent already; this waits for the answer
			}
			cn.fail(cn.readError(err), code, "")
			return
		}
		if err := cn.handle(typ, buf, &f); err != nil {
			cn.fail(err, err.code, err.reason)
			return
		}
		const keep = 64 << 10
		if cap(buf) > keep {
			buf = nil
		}
	}
}

// appendAll appends what r holds to buf.
func appendAll(buf []byte, r io.Reader) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, max(512, cap(buf)))...)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// readError says why reading failed.
func (cn *conn) readError(err error) error {
	var closed websocket.CloseError
	switch {
	case errors.As(err, &closed):
		return &CloseError{Code: int(closed.Code), Reason: closed.Reason, proto: cn.proto}
	case errors.Is(err, websocket.ErrMessageTooBig):
		return &protocolError{frame.CloseTooBig, "message beyond WithMaxMessageBytes"}
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return errors.New("connection lost: closed without a close frame")
	}
	return fmt.Errorf("connection lost: %w", rootCause(err))
}

// handle handles one message. An error ends the connection.
func (cn *conn) handle(typ websocket.MessageType, message []byte, f *frame.Frame) *protocolError {
	if typ != websocket.MessageText {
		return &protocolError{frame.CloseUnsupported, "binary message"}
	}
	if err := cn.proto.DecodeAnswer(message, f); err != nil {
		e := &protocolError{frame.CloseProtocolError, err.Error()}
		var refused *frame.DecodeError
		if errors.As(err, &refused) {
			e.code = refused.Code
		}
		return e
	}
	if cn.proto == frame.Juggler1 && (f.Type == frame.Hello) == cn.isReady() {
		if f.Type == frame.Hello {
			return &protocolError{frame.CloseProtocolError, "a second HELLO"}
		}
		return &protocolError{frame.CloseProtocolError, "the first message is not HELLO"}
	}
	cn.dispatch(f)
	return nil
}

// isReady reports whether HELLO has come.
func (cn *conn) isReady() bool {
	select {
	case <-cn.ready:
		return true
	default:
		return false
	}
}

func (cn *conn) dispatch(f *frame.Frame) {
	switch f.Type {
	case frame.Hello:
		cn.mu.Lock()
		cn.hello, cn.keys, cn.keyed = f.Hello, f.Hello.Keys, f.Hello.Keyed
		cn.paces.start(&f.Hello.Rates)
		cn.mu.Unlock()
		close(cn.ready)
	case frame.Ack:
		cn.acknowledged(f)
	case frame.Nack, frame.Res:
		cn.answered(f)
	case frame.Part:
		cn.part(f)
	case frame.Evnt, frame.Gap, frame.Subs, frame.Unss, frame.Here:
		cn.c.topics.handle(cn, f)
	case frame.Ping:
		cn.pong()
	case frame.GoAway:
		select {
		case cn.goAway <- f.After:
		default: // it is on its way already
		}
	case frame.Invalid: // of a later version of the protocol than this client's
		cn.c.cfg.logger.Debug("a message of an unknown type is ignored", "type", string(f.Message))
	}
}

// acknowledged handles an ACK: for a CALL the outcome is still to come.
func (cn *conn) acknowledged(f *frame.Frame) {
	id := cn.parseID(f.For)
	cn.mu.Lock()
	e, ok := cn.pending[id]
	switch {
	case !ok:
	case e.typ == frame.Call:
		if ok = !e.acked; ok {
			e.acked = true
			cn.pending[id] = e
			cn.joined(id, e.req, f)
		}
	default:
		if e.typ == frame.Auth {
			cn.keys, cn.keyed = f.Keys, f.Keyed
		}
		cn.remove(id, e)
	}
	cn.mu.Unlock()

	// In juggler.0 the RES may have been faster than the ACK.
	if !ok {
		if cn.proto == frame.Juggler1 {
			cn.report("an ACK without a request is ignored", f.For)
		}
		return
	}
	switch {
	case e.topic != nil:
		cn.c.topics.answered(cn, e, f, nil)
	case e.typ != frame.Call && e.req != nil && e.req.claim():
		e.req.expires = f.Expires
		e.req.finish()
	}
}

// answered handles NACK and RES, the end of a request.
func (cn *conn) answered(f *frame.Frame) {
	id := cn.parseID(f.For)
	cn.mu.Lock()
	e, ok := cn.pending[id]
	if ok = ok && (f.Type == frame.Nack || e.typ == frame.Call); ok {
		cn.remove(id, e)
	}
	cn.mu.Unlock()

	switch {
	case !ok:
		cn.report("a NACK or RES without a request is ignored", f.For)
	case e.topic != nil:
		cn.c.topics.answered(cn, e, f, wireError(&f.Err, true))
	case e.req != nil && e.req.joinsLater(f):
		cn.c.joinLater(e.req, wireError(&f.Err, false))
	case e.req != nil && e.req.claim():
		if f.Err.Code != 0 || f.Type == frame.Nack {
			unknown := e.req.maybeSent || e.typ == frame.Pub && (f.Err.Code == int(CodeInternal) || f.Err.Code == int(CodeExpired))
			e.req.err = wireError(&f.Err, f.Type == frame.Nack && !unknown)
		} else if err := calleeError0(cn.proto, f.Args); err != nil {
			e.req.err = err
		} else {
			e.req.body = append(e.req.body, f.Args...)
		}
		e.req.finish()
	}
}

// remove takes the entry of an answered or expired request out of pending,
// with mu held, and lets the next one have its place.
func (cn *conn) remove(id uint64, e entry) {
	delete(cn.pending, id)
	if e.typ == frame.Call {
		cn.calls--
		if cn.retryCalls(); cn.mayCall() {
			cn.wakeNext()
		}
	}
	cn.checkDrained()
}

// report logs a message that answers nothing, the first few times.
func (cn *conn) report(message string, id []byte) {
	const enough = 10
	if cn.unexpected++; cn.unexpected <= enough {
		cn.c.cfg.logger.Warn(message, "request", string(id))
	}
}
