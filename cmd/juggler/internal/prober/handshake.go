package prober

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// handshakeTime is what a client has to send the request that it has connected for.
const handshakeTime = 10 * time.Second

// A caller is a connection with the request for a WebSocket that came on it.
type caller struct {
	conn    net.Conn
	buffer  *bufio.Reader // to read on from
	request *http.Request
}

// receive reads the request that opens a WebSocket. Other requests, of clients that look
// whether something answers, are answered with 426; then there is no caller.
func receive(conn net.Conn) (*caller, error) {
	c := &caller{conn: conn, buffer: bufio.NewReader(conn)}
	conn.SetReadDeadline(time.Now().Add(handshakeTime)) //nolint:errcheck // the read fails, too
	var err error
	if c.request, err = http.ReadRequest(c.buffer); err != nil {
		return nil, err
	}
	conn.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	if !strings.EqualFold(c.request.Header.Get("Upgrade"), "websocket") {
		c.refuse(http.StatusUpgradeRequired)
		return nil, nil
	}
	return c, nil
}

// offers reports whether the client offers a subprotocol.
func (c *caller) offers(protocol string) bool {
	var offered []string
	for _, line := range c.request.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			offered = append(offered, strings.TrimSpace(name))
		}
	}
	return slices.Contains(offered, protocol)
}

// check returns what is wrong with the request, or "".
func (c *caller) check() string {
	r := c.request
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case r.Method != http.MethodGet:
		return fmt.Sprintf("the handshake is a %s request; want GET", r.Method)
	case !strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade"):
		return "the handshake has no header Connection: Upgrade"
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return fmt.Sprintf("the handshake has Sec-WebSocket-Version %q; want 13", r.Header.Get("Sec-WebSocket-Version"))
	case err != nil || len(key) != 16:
		return fmt.Sprintf("the handshake has Sec-WebSocket-Key %q; want 16 random bytes in base64", r.Header.Get("Sec-WebSocket-Key"))
	case !c.offers("juggler.1"):
		return fmt.Sprintf("the handshake has Sec-WebSocket-Protocol %q; want it to offer juggler.1", r.Header.Get("Sec-WebSocket-Protocol"))
	}
	return ""
}

// accept answers with the upgrade; protocol may be empty.
func (c *caller) accept(protocol string) error {
	// RFC 6455, 4.2.2
	sum := sha1.Sum([]byte(c.request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if protocol != "" {
		answer += "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	_, err := c.conn.Write([]byte(answer + "\r\n"))
	return err
}

// refuse answers with a status, and closes the connection.
func (c *caller) refuse(status int) {
	fmt.Fprintf(c.conn, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status, http.StatusText(status))
	c.conn.Close() //nolint:errcheck // it is over
}
