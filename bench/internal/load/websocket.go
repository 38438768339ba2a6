package load

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// Opcodes of RFC 6455, section 5.2.
const (
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

// appendFrame appends one masked frame.
func appendFrame(dst []byte, opcode byte, payload []byte) []byte {
	dst = append(dst, 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, 0x80|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	dst = append(dst, maskKey[:]...)
	for i, b := range payload {
		dst = append(dst, b^maskKey[i&3])
	}
	return dst
}

// nextMessage takes one data message off b. n is how many bytes it took, 0 if
// b holds no whole frame; the message is nil if it took a control frame or a
// fragment that is not the last. Pings are answered into c.out.
func nextMessage(c *conn, b []byte) (message []byte, n int, err error) {
	if len(b) < 2 {
		return nil, 0, nil
	}
	length, header := int(b[1]), 2
	switch {
	case length == 126:
		if len(b) < 4 {
			return nil, 0, nil
		}
		length, header = int(binary.BigEndian.Uint16(b[2:])), 4
	case length == 127:
		if len(b) < 10 {
			return nil, 0, nil
		}
		length, header = int(binary.BigEndian.Uint64(b[2:])), 10
	case length > 127:
		return nil, 0, fmt.Errorf("load: masked frame from the server: % x", b[:2])
	}
	n = header + length
	if len(b) < n {
		return nil, 0, nil
	}
	payload := b[header:n]
	if b[0] == 0x80|opText || b[0] == 0x80|opBinary { // the usual case
		return payload, n, nil
	}
	message, err = c.otherFrame(b[0], payload)
	return message, n, err
}

// otherFrame handles control frames and fragments.
func (c *conn) otherFrame(first byte, payload []byte) (message []byte, err error) {
	switch first & 0x0f {
	case opPing:
		c.out = appendFrame(c.out, opPong, payload)
		return nil, nil
	case opPong:
		return nil, nil
	case opClose:
		if len(payload) >= 2 {
			return nil, fmt.Errorf("load: the server closed with %d: %s", binary.BigEndian.Uint16(payload), payload[2:])
		}
		return nil, fmt.Errorf("load: the server closed without a code")
	}
	c.fragments = append(c.fragments, payload...)
	c.deflated = c.deflated || first&rsv1 != 0
	if first&0x80 == 0 {
		return nil, nil
	}
	message = c.fragments
	if c.deflated {
		message, err = c.inflate(message)
	}
	c.fragments, c.deflated = c.fragments[:0], false
	return message, err
}

// upgrade does the opening handshake of RFC 6455.
func upgrade(c *conn, path, subprotocol string) error {
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", path, c.host, webSocketKey)
	if c.deflate {
		request += deflateOffer
	}
	if subprotocol != "" {
		request += "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
	}
	if err := c.writeAll(append([]byte(request), "\r\n"...)); err != nil {
		return err
	}
	for {
		if end := bytes.Index(c.in, []byte("\r\n\r\n")); end >= 0 {
			if !bytes.HasPrefix(c.in, []byte("HTTP/1.1 101 ")) {
				return fmt.Errorf("load: the upgrade was refused: %q", c.in)
			}
			if c.deflate && !bytes.Contains(c.in[:end], []byte("permessage-deflate")) {
				return fmt.Errorf("load: the server does not compress: %q", c.in)
			}
			c.in = c.in[:copy(c.in, c.in[end+4:])]
			return nil
		}
		if err := c.fill(); err != nil {
			return fmt.Errorf("load: upgrade: %w", err)
		}
	}
}

var webSocketKey = func() string {
	var key [16]byte
	rand.Read(key[:])
	return base64.StdEncoding.EncodeToString(key[:])
}()
