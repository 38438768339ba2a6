package wsconn_test

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/wsconn"
)

// header is the beginning of a masked frame, as raw as it gets.
func header(b0, b1 byte, rest ...byte) []byte { return append([]byte{b0, b1}, rest...) }

// rules are those for what a client sends. Each input must be answered with
// replies and then, unless code is 0, a close frame with that code, after
// which the server hangs up.
var rules = []struct {
	rule    string
	input   [][]byte
	replies []string // text
	code    uint16
	cause   error // nil: the peer closed
}{
	{"5.1: a client's frame must be masked",
		[][]byte{ws.MustCompileFrame(ws.NewTextFrame([]byte("hello")))}, nil, 1002, wsconn.ErrProtocol},
	{"5.1: a client's control frame must be masked",
		[][]byte{ws.CompiledPing}, nil, 1002, wsconn.ErrProtocol},
	{"5.2: RSV1 must be 0 without an extension",
		[][]byte{header(0xc1, 0x80, 0, 0, 0, 0)}, nil, 1002, wsconn.ErrProtocol},
	{"5.2: RSV2 must be 0", [][]byte{header(0xa1, 0x80, 0, 0, 0, 0)}, nil, 1002, wsconn.ErrProtocol},
	{"5.2: RSV3 must be 0", [][]byte{header(0x91, 0x80, 0, 0, 0, 0)}, nil, 1002, wsconn.ErrProtocol},
	{"5.2: RSV must be 0 in control frames", [][]byte{header(0xc9, 0x80, 0, 0, 0, 0)}, nil, 1002, wsconn.ErrProtocol},
	{"5.2: op codes 3 to 7 are reserved", [][]byte{header(0x83, 0x80)}, nil, 1002, wsconn.ErrProtocol},
	{"5.2: op codes 3 to 7 are reserved (7)", [][]byte{header(0x87, 0x80)}, nil, 1002, wsconn.ErrProtocol},
	{"5.2: op codes 11 to 15 are reserved", [][]byte{header(0x8b, 0x80)}, nil, 1002, wsconn.ErrProtocol},
	{"5.2: op codes 11 to 15 are reserved (15)", [][]byte{header(0x8f, 0x80)}, nil, 1002, wsconn.ErrProtocol},
	{"5.2: messages before a violation are answered",
		[][]byte{text("one"), text("two"), header(0x83, 0x80)}, []string{"one", "two"}, 1002, wsconn.ErrProtocol},
	{"5.2: a length of 16 bits must need them",
		[][]byte{header(0x81, 0x80|126, 0, 125, 0, 0, 0, 0)}, nil, 1002, wsconn.ErrProtocol},
	{"5.2: a length of 64 bits must need them",
		[][]byte{header(0x81, 0x80|127, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0)}, nil, 1002, wsconn.ErrProtocol},
	{"5.2: the highest bit of a 64-bit length must be 0",
		[][]byte{header(0x81, 0x80|127, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)}, nil, 1002, wsconn.ErrProtocol},

	{"5.4: a message in fragments is one message",
		[][]byte{frame(false, ws.OpText, []byte("one ")), frame(false, ws.OpContinuation, nil), frame(false, ws.OpContinuation, []byte("two ")), frame(true, ws.OpContinuation, []byte("three")), text("next")},
		[]string{"one two three", "next"}, 0, nil},
	{"5.4: fragments may be empty",
		[][]byte{frame(false, ws.OpText, nil), frame(false, ws.OpContinuation, nil), frame(true, ws.OpContinuation, nil)},
		[]string{""}, 0, nil},
	{"5.4: a continuation needs a message to continue",
		[][]byte{frame(true, ws.OpContinuation, []byte("x"))}, nil, 1002, wsconn.ErrProtocol},
	{"5.4: a continuation that is not the last needs one too",
		[][]byte{frame(false, ws.OpContinuation, []byte("x"))}, nil, 1002, wsconn.ErrProtocol},
	{"5.4: after a message's end there is nothing to continue",
		[][]byte{frame(false, ws.OpText, []byte("a")), frame(true, ws.OpContinuation, []byte("b")), frame(true, ws.OpContinuation, []byte("c"))},
		[]string{"ab"}, 1002, wsconn.ErrProtocol},
	{"5.4: a message must not begin within another",
		[][]byte{frame(false, ws.OpText, []byte("a")), text("b")}, nil, 1002, wsconn.ErrProtocol},

	{"5.5: a control frame has at most 125 bytes",
		[][]byte{header(0x89, 0x80|126)}, nil, 1002, wsconn.ErrProtocol},
	{"5.5: a control frame must not be fragmented",
		[][]byte{frame(false, ws.OpPing, nil)}, nil, 1002, wsconn.ErrProtocol},
	{"5.5: a close frame must not be fragmented",
		[][]byte{frame(false, ws.OpClose, nil)}, nil, 1002, wsconn.ErrProtocol},
	{"5.5.3: a pong that was not asked for is ignored",
		[][]byte{frame(true, ws.OpPong, []byte("x")), text("a")}, []string{"a"}, 0, nil},

	{"5.5.1: a close frame is answered with its code", [][]byte{closeFrame(1000, "")}, nil, 1000, nil},
	{"5.5.1: a close frame may have a reason", [][]byte{closeFrame(1001, strings.Repeat("é", 61))}, nil, 1001, nil},
	{"5.5.1: nothing after a close frame counts",
		[][]byte{text("a"), closeFrame(3000, ""), text("b"), header(0x83, 0x80)}, []string{"a"}, 3000, nil},
	{"5.5.1: a close frame may come within a message",
		[][]byte{frame(false, ws.OpText, []byte("a")), closeFrame(4999, "")}, nil, 4999, nil},
	{"5.5.1: the body of a close frame is not one byte",
		[][]byte{frame(true, ws.OpClose, []byte{3})}, nil, 1002, wsconn.ErrProtocol},
	{"5.5.1: the reason is UTF-8", [][]byte{closeFrame(1000, "\xff")}, nil, 1007, wsconn.ErrProtocol},

	{"8.1: text is UTF-8", [][]byte{text("κόσμε"), text("\xce")}, []string{"κόσμε"}, 1007, wsconn.ErrProtocol},
	{"8.1: surrogates are not UTF-8", [][]byte{text("\xed\xa0\x80")}, nil, 1007, wsconn.ErrProtocol},
	{"8.1: a character may be spread over fragments",
		[][]byte{frame(false, ws.OpText, []byte("\xf0\x9f")), frame(false, ws.OpContinuation, []byte("\x98")), frame(true, ws.OpContinuation, []byte("\x80!"))},
		[]string{"😀!"}, 0, nil},
	{"8.1: a message does not end within a character",
		[][]byte{frame(false, ws.OpText, []byte("a")), frame(true, ws.OpContinuation, []byte("\xf0\x9f\x98"))}, nil, 1007, wsconn.ErrProtocol},
	{"8.1: what cannot become UTF-8 is refused before the message ends",
		[][]byte{frame(false, ws.OpText, []byte("a\xf4")), frame(false, ws.OpContinuation, []byte("\x90"))}, nil, 1007, wsconn.ErrProtocol},
	{"8.1: and before its frame ends",
		[][]byte{frame(true, ws.OpText, []byte("a\xf4\x90\x80\x80"))[:6+3]}, nil, 1007, wsconn.ErrProtocol},

	{"10.4: a message has at most MaxMessage bytes", // refused for its header
		[][]byte{header(0x81, 0x80|127, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0)}, nil, 1009, wsconn.ErrProtocol},
	{"10.4: however absurd the length is",
		[][]byte{header(0x81, 0x80|127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)}, nil, 1009, wsconn.ErrProtocol},
	{"10.4: its fragments together, too",
		[][]byte{frame(false, ws.OpText, make([]byte, 1<<20)), frame(true, ws.OpContinuation, []byte("x"))}, nil, 1009, wsconn.ErrProtocol},
}

// left are the rules that wsconn leaves to the handler in the server's
// configuration: to decode a message checks its text as well, and a second look at
// each byte would only cost time. A handler sees whole messages, so such a message
// is refused when it is complete. The values are what completes it.
var left = map[string][]byte{
	"8.1: text is UTF-8":                                               nil,
	"8.1: surrogates are not UTF-8":                                    nil,
	"8.1: a message does not end within a character":                   nil,
	"8.1: what cannot become UTF-8 is refused before the message ends": frame(true, ws.OpContinuation, nil),
	"8.1: and before its frame ends":                                   frame(true, ws.OpText, []byte("a\xf4\x90\x80\x80"))[6+3:],
}

func TestRulesOfRFC6455(t *testing.T) {
	inEachConfig(t, func(t *testing.T, srv *server) {
		for _, tt := range rules {
			t.Run(tt.rule, func(t *testing.T) {
				srv.t = t
				s, p := srv.connect()
				p.send(tt.input...)
				for _, want := range tt.replies {
					p.expect(ws.OpText, want)
				}
				rest, leftToHandler := left[tt.rule]
				switch {
				case leftToHandler && !srv.cfg.CheckUTF8:
					p.send(rest)
					p.expectClose(tt.code)
					p.send(closeFrame(tt.code, ""))
					p.expectEnd()
					s.end(tt.code, false, nil)
				case tt.code == 0:
					p.send(frame(true, ws.OpClose, nil))
					p.expect(ws.OpClose, "")
					p.expectEnd()
					s.end(1005, true, nil)
				default:
					expectRefusal(t, s, p, tt.code, tt.cause)
				}
			})
		}
	})
}

// expectRefusal reads a close frame with which wsconn closes.
func expectRefusal(t *testing.T, s *session, p *peer, code uint16, cause error) {
	t.Helper()
	reason := p.expectClose(code)
	if cause != nil && reason == "" {
		t.Error("the close frame says no reason")
	}
	if cause != nil && code != 1002 {
		p.hangUp() // after 1002 it is not waited for
	}
	p.expectEnd()
	p.Close()
	s.end(code, cause == nil, cause)
}

func TestTheServerMayCloseWithoutACode(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		s, p := newServer(t, wrap, config()).connect()
		s.on(func() { s.Close(1005, "not written") })
		p.expect(ws.OpClose, "")
		p.send(frame(true, ws.OpClose, nil))
		p.expectEnd()
		s.end(1005, false, nil)
	})
}

func TestCloseCodes(t *testing.T) {
	valid := []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}
	invalid := []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535}
	inEachConfig(t, func(t *testing.T, srv *server) {
		for _, code := range valid {
			s, p := srv.connect()
			p.send(closeFrame(code, "reason"))
			p.expectClose(code)
			p.expectEnd()
			s.end(code, true, nil)
		}
		for _, code := range invalid {
			s, p := srv.connect()
			p.send(closeFrame(code, "reason"))
			p.expectClose(1002)
			p.Close()
			s.end(1002, false, wsconn.ErrProtocol)
		}
	})
}

func TestPingsAreAnsweredWithTheirPayloadWithinAMessage(t *testing.T) {
	inEachConfig(t, func(t *testing.T, srv *server) {
		_, p := srv.connect()
		for _, payload := range []string{"", "x", strings.Repeat("y", 125)} {
			p.send(frame(false, ws.OpText, []byte("a")), frame(true, ws.OpPing, []byte(payload)))
			p.expect(ws.OpPong, payload)
			p.send(frame(true, ws.OpPong, []byte(payload)))
			p.send(frame(true, ws.OpContinuation, []byte("b")))
			p.expect(ws.OpText, "ab")
		}
	})
}

func TestBinaryMessagesAreRefusedUnlessAllowed(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.Binary = false
		srv := newServer(t, wrap, cfg)
		for _, input := range [][]byte{
			frame(true, ws.OpBinary, []byte("x")),
			frame(false, ws.OpBinary, nil),
			header(0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4), // refused for its header
		} {
			s, p := srv.connect()
			p.send(text("a"), input)
			p.expect(ws.OpText, "a")
			p.expectClose(1003)
			p.Close()
			s.end(1003, false, wsconn.ErrProtocol)
		}
	})
}

func TestUTF8IsTheHandlersMatterIfSoConfigured(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		cfg := config()
		cfg.CheckUTF8 = false
		_, p := newServer(t, wrap, cfg).connect()
		p.send(text("\xff"), frame(false, ws.OpText, []byte("\xff")), frame(true, ws.OpContinuation, []byte("\xfe")))
		p.expect(ws.OpText, "\xff")
		p.expect(ws.OpText, "\xff\xfe")
	})
}

func TestAnyChunkingOfTheInputIsTheSame(t *testing.T) {
	inEachConfig(t, func(t *testing.T, srv *server) {
		kind := ws.OpText
		if srv.cfg.Binary {
			kind = ws.OpBinary
		}
		input := bytes.Join([][]byte{
			text("one"), frame(false, ws.OpText, []byte("tw")), frame(true, ws.OpPing, []byte("ping")),
			frame(true, ws.OpContinuation, []byte("o")), frame(true, kind, make([]byte, 300)), closeFrame(1000, "bye"),
		}, nil)
		for _, size := range []int{1, 2, 3, 7, len(input)} {
			s, p := srv.connect()
			for rest := input; len(rest) > 0; {
				n := min(size, len(rest))
				p.send(rest[:n])
				rest = rest[n:]
			}
			p.expect(ws.OpText, "one")
			p.expect(ws.OpPong, "ping")
			p.expect(ws.OpText, "two")
			p.expect(kind, string(make([]byte, 300)))
			p.expectClose(1000)
			p.expectEnd()
			s.end(1000, true, nil)
		}
	})
}

func TestAClosesReasonIsUTF8(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		s, p := newServer(t, wrap, config()).connect()
		s.on(func() { s.Close(4000, "x\xffy") })
		if got, want := p.expectClose(4000), "x\uFFFDy"; got != want {
			t.Errorf("reason is %q, want %q", got, want)
		}
		p.send(closeFrame(4000, ""))
		p.expectEnd()
	})
}

func TestAClosesReasonIsCutAfterAWholeCharacter(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		s, p := newServer(t, wrap, config()).connect()
		s.on(func() { s.Close(4000, "x"+strings.Repeat("é", 100)) })
		if got, want := p.expectClose(4000), "x"+strings.Repeat("é", 61); got != want {
			t.Errorf("reason is %q, want %q", got, want)
		}
		p.send(closeFrame(4000, ""))
		p.expectEnd()
	})
}
