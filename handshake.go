package juggler

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/frame"
)

// A handshake is an upgrade request that was found to be in order.
type handshake struct {
	key      string
	protocol frame.Protocol
	named    bool // the client offered protocol by name
	browser  bool // Origin is present, and allowed
	allowed  allowed
	identity *Identity
}

// readHandshake checks everything about r that needs no user code but the
// origin check. The error's code is the HTTP status.
func (h *Handler) readHandshake(r *http.Request, out http.Header) (*handshake, *Error) {
	bad := func(status int, format string, args ...any) (*handshake, *Error) {
		return nil, &Error{Code: status, Message: fmt.Sprintf(format, args...)}
	}
	if r.Method != http.MethodGet {
		out.Set("Allow", http.MethodGet)
		return bad(http.StatusMethodNotAllowed, "a WebSocket handshake is a GET request")
	}
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") {
		return bad(http.StatusBadRequest, "this is a WebSocket endpoint: send Connection: Upgrade and Upgrade: websocket")
	}
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		out.Set("Sec-WebSocket-Version", "13")
		return bad(http.StatusUpgradeRequired, "send Sec-WebSocket-Version: 13")
	}
	hs := &handshake{key: r.Header.Get("Sec-WebSocket-Key")}
	if k, err := base64.StdEncoding.DecodeString(hs.key); err != nil || len(k) != 16 {
		return bad(http.StatusBadRequest, "Sec-WebSocket-Key is not 16 bytes in base64")
	}
	if r.Header.Get("Origin") != "" {
		if !h.originAllowed(r) {
			return bad(http.StatusForbidden, "this origin is not allowed")
		}
		hs.browser = true
	}
	var ok bool
	if hs.protocol, hs.named, ok = h.negotiate(r.Header); !ok {
		return bad(http.StatusBadRequest, "send Sec-WebSocket-Protocol: juggler.1 (or juggler.0)")
	}
	if hs.allowed, ok = readAllowed(r); !ok {
		return bad(http.StatusBadRequest, "Juggler-Allowed-Messages (or the query parameter allow) names none of call, sub, unsb, pub")
	}
	return hs, nil
}

// originAllowed asks the origin check, which may be user code.
func (h *Handler) originAllowed(r *http.Request) (ok bool) {
	h.protect("origin check", func(error) {}, func() { ok = h.cfg.origin(r) })
	return ok
}

// negotiate picks the highest of our protocols that the client offers.
func (h *Handler) negotiate(header http.Header) (p frame.Protocol, named, ok bool) {
	if hasExactToken(header, "Sec-WebSocket-Protocol", frame.Juggler1.String()) {
		return frame.Juggler1, true, true
	}
	if hasExactToken(header, "Sec-WebSocket-Protocol", frame.Juggler0.String()) {
		return frame.Juggler0, true, true
	}
	if d := h.cfg.defaultProtocol; d != nil && header.Get("Sec-WebSocket-Protocol") == "" {
		return *d, false, true
	}
	return 0, false, false
}

// allowed is a set of request types, a bit for each frame.Type.
type allowed uint16

const allowAll = allowed(1<<frame.Call | 1<<frame.Sub | 1<<frame.Unsb | 1<<frame.Pub)

// has reports whether t may be sent. What is not one of the four goes always:
// AUTH and PONG, and CANCEL, which only ever names calls that were allowed.
func (a allowed) has(t frame.Type) bool { return allowAll&(1<<t) == 0 || a&(1<<t) != 0 }

// readAllowed reads Juggler-Allowed-Messages, or the query parameter allow of
// those who cannot set headers. A list that names nothing known is refused:
// guessing would open what was meant to be closed.
func readAllowed(r *http.Request) (allowed, bool) {
	list := r.Header.Get("Juggler-Allowed-Messages")
	if list == "" {
		list = r.URL.Query().Get("allow")
	}
	if list = strings.TrimSpace(list); list == "" || list == "*" {
		return allowAll, true
	}
	var a allowed
	for name := range strings.SplitSeq(list, ",") {
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "call":
			a |= 1 << frame.Call
		case "sub":
			a |= 1 << frame.Sub
		case "unsb":
			a |= 1 << frame.Unsb
		case "pub":
			a |= 1 << frame.Pub
		}
	}
	return a, a != 0
}

// response returns the bytes that answer the handshake: the upgrade, with
// what middleware of net/http put into header.
func (hs *handshake) response(header http.Header) []byte {
	sum := sha1.Sum([]byte(hs.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, section 1.3
	var b strings.Builder
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
	b.WriteString(base64.StdEncoding.EncodeToString(sum[:]))
	b.WriteString("\r\n")
	if hs.named {
		b.WriteString("Sec-WebSocket-Protocol: " + hs.protocol.String() + "\r\n")
	}
	_ = header.WriteSubset(&b, map[string]bool{ // a strings.Builder never fails
		"Upgrade": true, "Connection": true, "Content-Length": true, "Transfer-Encoding": true,
		"Sec-Websocket-Accept": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true,
	})
	b.WriteString("\r\n")
	return []byte(b.String())
}

// refuse answers a handshake with e. hs is nil when it was not in order.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, hs *handshake, e *Error) {
	h.stats.refused.Add(1)
	h.logRefusal(r, e)
	if hs != nil && hs.browser && hs.protocol == frame.Juggler1 && !h.cfg.hiddenRefusals {
		if nc, rw, err := http.NewResponseController(w).Hijack(); err == nil {
			in := io.MultiReader(bytes.NewReader(buffered(rw)), nc)
			h.refuseVisibly(nc, bufio.NewReader(in), hs.response(w.Header()), e)
			return
		}
	}
	if e.RetryAfter > 0 {
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	}
	http.Error(w, e.Message, e.httpStatus())
}

// refuseVisibly accepts the upgrade and closes with a code: a browser shows
// its page neither status nor body of a refused one.
func (h *Handler) refuseVisibly(nc net.Conn, in *bufio.Reader, upgrade []byte, e *Error) {
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(visibleRefusalTime)) // what fails here fails below
	reason := strings.ToValidUTF8(e.Message[:min(len(e.Message), 120)], "")
	frame := ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(e.closeCode()), reason))
	b := append(upgrade, ws.MustCompileFrame(frame)...)
	if _, err := nc.Write(b); err != nil {
		return
	}
	// Closing with input unread would reset the connection and might take the
	// close frame with it: wait for the other side's, and no longer, since a
	// browser tells its page only when the connection is closed.
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

// visibleRefusalTime is how long a client that is refused visibly has to
// read the reason.
const visibleRefusalTime = 2 * time.Second

// answer503 refuses on a connection that was hijacked already.
func answer503(nc net.Conn) {
	const body = "out of resources\n"
	_ = nc.SetDeadline(time.Now().Add(visibleRefusalTime))
	_, _ = fmt.Fprintf(nc, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	_ = nc.Close() // nobody is left to tell
}

// buffered returns what the hijacked reader had read already: the client's
// first frame may be in it.
func buffered(rw *bufio.ReadWriter) []byte {
	if rw == nil || rw.Reader.Buffered() == 0 {
		return nil
	}
	b, _ := rw.Reader.Peek(rw.Reader.Buffered()) // what is buffered can be peeked
	return append([]byte(nil), b...)
}

// sameOrigin is the default origin check.
func sameOrigin(r *http.Request) bool {
	u, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// parseOrigins checks and normalises the origins of WithOrigins.
func parseOrigins(origins []string) (map[string]bool, error) {
	allowed := make(map[string]bool, len(origins))
	for _, o := range origins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			return nil, fmt.Errorf("%q: want scheme://host or scheme://host:port", o)
		}
		allowed[strings.ToLower(o)] = true
	}
	return allowed, nil
}

// hasToken reports whether a comma-separated header has token, in any case.
func hasToken(h http.Header, name, token string) bool {
	return anyToken(h, name, func(t string) bool { return strings.EqualFold(t, token) })
}

// hasExactToken is hasToken where the case matters.
func hasExactToken(h http.Header, name, token string) bool {
	return anyToken(h, name, func(t string) bool { return t == token })
}

func anyToken(h http.Header, name string, is func(string) bool) bool {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if is(strings.TrimSpace(t)) {
				return true
			}
		}
	}
	return false
}
