package handshake

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// refusalTime is how long a client that is refused after the upgrade has to read the
// reason.
const refusalTime = 2 * time.Second

// Close accepts the upgrade q and closes the WebSocket with a code: a browser shows its
// page neither status nor body of a refused one. It returns false, and has done nothing,
// if the connection cannot be taken over.
func (q *Request) Close(w http.ResponseWriter, code uint16, reason string) bool {
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(refusalTime)) // what fails here fails below
	reason = strings.ToValidUTF8(reason[:min(len(reason), 120)], "")
	frame := ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), reason))
	if _, err := nc.Write(append(q.Upgrade(w.Header()), ws.MustCompileFrame(frame)...)); err == nil {
		awaitClose(bufio.NewReader(io.MultiReader(bytes.NewReader(Buffered(rw)), nc)))
	}
	return true
}

// awaitClose waits for the other side's close frame. Closing with input unread would
// reset the connection and might take our close frame with it. It waits no longer, since
// a browser tells its page only when the connection is closed.
func awaitClose(in *bufio.Reader) {
	for {
		header, err := ws.ReadHeader(in)
		if err != nil || header.OpCode == ws.OpClose {
			return
		}
		if _, err := io.CopyN(io.Discard, in, header.Length); err != nil {
			return
		}
	}
}

// Answer503 refuses a handshake on a connection that was taken over already, and closes
// it.
func Answer503(nc net.Conn) {
	const body = "out of resources\n"
	_ = nc.SetDeadline(time.Now().Add(refusalTime))
	_, _ = fmt.Fprintf(nc, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	_ = nc.Close() // nobody is left to tell
}

// Buffered returns what the reader of a connection that was taken over had read
// already: the client's first frame may be in it.
func Buffered(rw *bufio.ReadWriter) []byte {
	if rw == nil || rw.Reader.Buffered() == 0 {
		return nil
	}
	b, _ := rw.Reader.Peek(rw.Reader.Buffered()) // what is buffered can be peeked
	return append([]byte(nil), b...)
}
