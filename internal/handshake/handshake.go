// Package handshake reads and answers the HTTP requests that open a WebSocket for
// juggler (RFC 6455, section 4). It knows no session.
package handshake

import (
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/juggler-go/juggler/frame"
)

// Settings say which requests are in order.
type Settings struct {
	// Origin reports whether the origin of a request is allowed.
	Origin func(*http.Request) bool

	// OriginOption is the option that would allow another one, for the refusal to name.
	OriginOption string

	// DefaultProtocol is spoken with clients that offer none. Nil: they are refused.
	DefaultProtocol *frame.Protocol

	// Deflate says that messages may be compressed.
	Deflate bool
}

// A Request is an upgrade request that is in order.
type Request struct {
	Protocol frame.Protocol
	Batches  bool // the client takes several events as one message, in an array
	Browser  bool // Origin is present, and allowed
	Allowed  Messages

	// Window is log2 of how many bytes of a message the client keeps to inflate it, if
	// the client takes compressed messages and may send them; else 0.
	Window uint8

	key         string
	subprotocol string // what the client offered and gets; "" if it offered none
	extension   string // the same
}

// A Refusal says why a request is not in order.
type Refusal struct {
	Status  int // of HTTP
	Reason  string
	Message string // for the client's developer; of the request it has what the client knows
	Subject string // what tells the mistake from others of this reason, or ""
}

// Reasons of a [Refusal].
const (
	Malformed    = "bad_request"
	Method       = "method"
	NotWebSocket = "not_websocket"
	Subprotocol  = "subprotocol"
	Origin       = "origin"
)

// Read reads a request. A refusal may add to the response's header what the client
// is to send instead.
func Read(r *http.Request, header http.Header, settings Settings) (*Request, *Refusal) {
	if bad := checkUpgrade(r, header); bad != nil {
		return nil, bad
	}
	q := &Request{key: r.Header.Get("Sec-WebSocket-Key")}
	if slices.ContainsFunc(r.Header.Values("Origin"), func(o string) bool { return o != "" }) {
		if !settings.Origin(r) {
			return nil, foreignOrigin(r, settings.OriginOption)
		}
		q.Browser = true
	}
	if !q.negotiate(r.Header, settings.DefaultProtocol) {
		return nil, unknownProtocol(r)
	}
	var ok bool
	if q.Allowed, ok = readMessages(r); !ok {
		return nil, bad(Malformed, http.StatusBadRequest, "Juggler-Allowed-Messages (or the query parameter allow) names none of call, sub, unsb, pub, or the query cannot be read")
	}
	if !settings.Deflate {
		return q, nil
	}
	if q.Window, q.extension, ok = Deflate(r.Header); !ok {
		return nil, bad(Malformed, http.StatusBadRequest, "Sec-WebSocket-Extensions cannot be read")
	}
	return q, nil
}

func bad(reason string, status int, message string) *Refusal {
	return &Refusal{Status: status, Reason: reason, Message: message}
}

// checkUpgrade checks that a request opens a WebSocket.
func checkUpgrade(r *http.Request, header http.Header) *Refusal {
	if r.Method != http.MethodGet {
		header.Set("Allow", http.MethodGet)
		if r.Method == http.MethodConnect { // RFC 8441: clients do so only where the server has offered it
			return bad(Method, http.StatusMethodNotAllowed, "WebSockets over HTTP/2 are not served: run the server without GODEBUG=http2xconnect=1")
		}
		return bad(Method, http.StatusMethodNotAllowed, "a WebSocket handshake is a GET request, not "+cite(r.Method))
	}
	if !r.ProtoAtLeast(1, 1) {
		return bad(NotWebSocket, http.StatusBadRequest, "a WebSocket handshake is of HTTP/1.1: is there a proxy that speaks HTTP/1.0 to the server?")
	}
	if r.ContentLength != 0 { // it would be read as frames
		return bad(Malformed, http.StatusBadRequest, "a WebSocket handshake has no body")
	}
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") {
		return bad(NotWebSocket, http.StatusBadRequest,
			"this is a WebSocket endpoint: send Connection: Upgrade and Upgrade: websocket; if the client does, a proxy in front of the server does not pass them on")
	}
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		header.Set("Sec-WebSocket-Version", "13")
		return bad(Malformed, http.StatusUpgradeRequired, "send Sec-WebSocket-Version: 13")
	}
	if k, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key")); err != nil || len(k) != 16 {
		return bad(Malformed, http.StatusBadRequest, "Sec-WebSocket-Key is not 16 bytes in base64")
	}
	return nil
}

// unknownProtocol refuses a request that offers no protocol of ours.
func unknownProtocol(r *http.Request) *Refusal {
	asked := "no protocol was asked for"
	offered := strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ", ")
	if offered != "" {
		asked = "the server does not speak " + cite(offered)
	}
	return &Refusal{Status: http.StatusBadRequest, Reason: Subprotocol, Subject: cite(offered),
		Message: asked + ": send Sec-WebSocket-Protocol: juggler.1 (or juggler.0)"}
}

// maxCited is how many bytes of a client's words a message repeats.
const maxCited = 100

// cite returns what a client has sent in a form for logs and answers.
func cite(text string) string {
	if len(text) > maxCited {
		text = text[:maxCited] + "…"
	}
	return strconv.QuoteToASCII(text)
}

// batches is the subprotocol in which the server may send several events of juggler.1 as
// one message, in a JSON array.
const batches = "juggler.1.batch"

// negotiate picks the highest of our protocols that the client offers, and reports
// whether there is one.
func (q *Request) negotiate(header http.Header, byDefault *frame.Protocol) bool {
	for _, p := range []Request{
		{subprotocol: batches, Protocol: frame.Juggler1, Batches: true},
		{subprotocol: frame.Juggler1.String(), Protocol: frame.Juggler1},
		{subprotocol: frame.Juggler0.String(), Protocol: frame.Juggler0},
	} {
		if hasExactToken(header, "Sec-WebSocket-Protocol", p.subprotocol) {
			q.subprotocol, q.Protocol, q.Batches = p.subprotocol, p.Protocol, p.Batches
			return true
		}
	}
	if byDefault != nil && header.Get("Sec-WebSocket-Protocol") == "" {
		q.Protocol = *byDefault
		return true
	}
	return false
}

// Upgrade returns the bytes that accept q, with what middleware of net/http put into
// header.
func (q *Request) Upgrade(header http.Header) []byte {
	sum := sha1.Sum([]byte(q.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, section 1.3
	var b strings.Builder
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
	b.WriteString(base64.StdEncoding.EncodeToString(sum[:]))
	b.WriteString("\r\n")
	if q.subprotocol != "" {
		b.WriteString("Sec-WebSocket-Protocol: " + q.subprotocol + "\r\n")
	}
	if q.extension != "" {
		b.WriteString("Sec-WebSocket-Extensions: " + q.extension + "\r\n")
	}
	_ = header.WriteSubset(&b, map[string]bool{ // a strings.Builder never fails
		"Upgrade": true, "Connection": true, "Content-Length": true, "Transfer-Encoding": true,
		"Sec-Websocket-Accept": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true,
	})
	b.WriteString("\r\n")
	return []byte(b.String())
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
