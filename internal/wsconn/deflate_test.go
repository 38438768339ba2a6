package wsconn_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/deflate"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// The other side of each test is compress/flate of the standard library, which is not
// what the server uses.

// deflated compresses as a sender does (RFC 7692, section 7.2.1).
func deflated(payload string) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic(err)
	}
	io.WriteString(w, payload) // a Buffer never fails
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))
}

// bomb is n zeros, compressed.
func bomb(n int) []byte { return deflated(strings.Repeat("\x00", n)) }

// inflated reads what deflated made, or anything else: up to most bytes and one.
func inflated(message []byte, most int) (payload []byte, err error) {
	in := bytes.NewReader(append(slices.Clone(message), "\x00\x00\xff\xff\x01\x00\x00\xff\xff"...))
	for ends := 0; in.Len() > 0 && len(payload) <= most; ends++ {
		if ends > deflate.MostEnds {
			return payload, errors.New("too many last blocks")
		}
		r := flate.NewReaderDict(in, payload[max(0, len(payload)-32<<10):])
		more, err := io.ReadAll(io.LimitReader(r, int64(most+1-len(payload))))
		payload = append(payload, more...)
		if err != nil {
			return payload, err
		}
	}
	return payload, nil
}

// rsv sets reserved bits in a frame: 4 is RSV1, 2 RSV2, 1 RSV3.
func rsv(bits byte, frame []byte) []byte {
	frame[0] |= bits << 4
	return frame
}

// compressed is a message of one frame.
func compressed(payload []byte) []byte { return rsv(4, frame(true, ws.OpText, payload)) }

// deflateRules are those for what a client sends that has agreed on compression. The
// first byte of payloads of section 7.2.3 is where that has it.
var deflateRules = []struct {
	rule    string
	input   [][]byte
	replies []string
	code    uint16
	cause   error
}{
	{"5.2: a message may be compressed", [][]byte{compressed(deflated("Hello"))}, []string{"Hello"}, 0, nil},
	{"6: a message need not be compressed", [][]byte{compressed(deflated("one")), text("two"), compressed(deflated("three"))},
		[]string{"one", "two", "three"}, 0, nil},
	{"6: in fragments or not", [][]byte{
		frame(false, ws.OpText, []byte("o")), frame(true, ws.OpContinuation, []byte("ne")),
		rsv(4, frame(false, ws.OpText, deflated("two")[:2])), frame(true, ws.OpContinuation, deflated("two")[2:]),
		frame(false, ws.OpText, []byte("thr")), frame(true, ws.OpContinuation, []byte("ee")),
	}, []string{"one", "two", "three"}, 0, nil},
	{"6.1: RSV1 is set in the first fragment only",
		[][]byte{rsv(4, frame(false, ws.OpText, deflated("a")[:1])), rsv(4, frame(true, ws.OpContinuation, deflated("a")[1:]))}, nil, 1002, wsconn.ErrProtocol},
	{"6.1: nor in a fragment of a message that is not compressed",
		[][]byte{frame(false, ws.OpText, []byte("a")), rsv(4, frame(true, ws.OpContinuation, []byte("b")))}, nil, 1002, wsconn.ErrProtocol},
	{"6.1: RSV1 is not set in a ping", [][]byte{rsv(4, frame(true, ws.OpPing, deflated("a")))}, nil, 1002, wsconn.ErrProtocol},
	{"6.1: RSV1 is not set in a pong", [][]byte{rsv(4, frame(true, ws.OpPong, nil))}, nil, 1002, wsconn.ErrProtocol},
	{"6.1: RSV1 is not set in a close frame", [][]byte{rsv(4, closeFrame(1000, ""))}, nil, 1002, wsconn.ErrProtocol},
	{"6.1: RSV2 stays reserved", [][]byte{rsv(6, frame(true, ws.OpText, deflated("a")))}, nil, 1002, wsconn.ErrProtocol},
	{"6.1: RSV3 stays reserved", [][]byte{rsv(5, frame(true, ws.OpText, deflated("a")))}, nil, 1002, wsconn.ErrProtocol},
	{"6.1: op codes stay reserved", [][]byte{rsv(4, frame(true, 3, deflated("a")))}, nil, 1002, wsconn.ErrProtocol},
	{"6.1: a continuation needs a message to continue", [][]byte{rsv(4, frame(true, ws.OpContinuation, deflated("a")))}, nil, 1002, wsconn.ErrProtocol},
	{"6.1: a message must not begin within another",
		[][]byte{rsv(4, frame(false, ws.OpText, deflated("a"))), compressed(deflated("b"))}, nil, 1002, wsconn.ErrProtocol},
	{"6.1: control frames may come within a compressed message",
		[][]byte{rsv(4, frame(false, ws.OpText, deflated("one")[:2])), frame(true, ws.OpPong, []byte("x")), frame(true, ws.OpContinuation, deflated("one")[2:])},
		[]string{"one"}, 0, nil},
	{"6.1: fragments may be empty",
		[][]byte{rsv(4, frame(false, ws.OpText, nil)), frame(false, ws.OpContinuation, deflated("one")), frame(true, ws.OpContinuation, nil)},
		[]string{"one"}, 0, nil},

	{"7.2.3.1: one block", [][]byte{compressed([]byte("\xf2\x48\xcd\xc9\xc9\x07\x00"))}, []string{"Hello"}, 0, nil},
	{"7.2.3.1: one block in fragments",
		[][]byte{rsv(4, frame(false, ws.OpText, []byte("\xf2\x48\xcd"))), frame(true, ws.OpContinuation, []byte("\xc9\xc9\x07\x00"))}, []string{"Hello"}, 0, nil},
	{"7.2.3.2: no window is shared with the message before", // as nobody keeps a context
		[][]byte{compressed([]byte("\xf2\x48\xcd\xc9\xc9\x07\x00")), compressed([]byte("\xf2\x00\x11\x00\x00"))}, []string{"Hello"}, 1007, wsconn.ErrProtocol},
	{"7.2.3.3: a block without compression", [][]byte{compressed([]byte("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"))}, []string{"Hello"}, 0, nil},
	{"7.2.3.4: a last block", [][]byte{compressed([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"))}, []string{"Hello"}, 0, nil},
	{"7.2.3.4: behind which another one follows",
		[][]byte{compressed([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00"))}, []string{"HelloHello"}, 0, nil},
	{"7.2.3.4: with the window of the one before",
		[][]byte{compressed([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00"))}, []string{"HelloHello"}, 0, nil},
	{"7.2.3.4: but not without end", [][]byte{compressed(append(bytes.Repeat([]byte("\x03\x00"), 1000), 0))}, nil, 1007, wsconn.ErrProtocol},
	{"7.2.3.5: two blocks", [][]byte{compressed([]byte("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"))}, []string{"Hello"}, 0, nil},
	{"7.2.3.6: an empty message", [][]byte{compressed([]byte("\x00")), compressed([]byte("\x02\x00"))}, []string{"", ""}, 0, nil},
	{"7.2.3.6: has a byte at least", [][]byte{compressed(nil)}, nil, 1007, wsconn.ErrProtocol},

	{"7.2.2: a type of block that there is not", [][]byte{compressed([]byte("\x06"))}, nil, 1007, wsconn.ErrProtocol},
	{"7.2.2: a length that contradicts itself", [][]byte{compressed([]byte("\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00"))}, nil, 1007, wsconn.ErrProtocol},
	{"7.2.2: a distance before the beginning", [][]byte{compressed([]byte("\xf2\x00\x11\x00\x00"))}, nil, 1007, wsconn.ErrProtocol},
	{"7.2.2: a message that ends too soon", [][]byte{compressed(deflated(strings.Repeat("Hello ", 50))[:9])}, nil, 1007, wsconn.ErrProtocol},
	{"7.2.2: within a block without compression", [][]byte{compressed([]byte("\x00\x05\x00\xfa\xff\x48\x65"))}, nil, 1007, wsconn.ErrProtocol},
	{"7.2.2: with what the sender has to cut off", [][]byte{compressed(append(deflated("Hello"), "\x00\x00\xff\xff"...))}, nil, 1007, wsconn.ErrProtocol},
	{"7.2.2: messages before it are answered", [][]byte{compressed(deflated("one")), compressed([]byte("\x06"))}, []string{"one"}, 1007, wsconn.ErrProtocol},

	{"a character may be spread over fragments", [][]byte{rsv(4, frame(false, ws.OpText, deflated("é€😀")[:3])), frame(true, ws.OpContinuation, deflated("é€😀")[3:])}, []string{"é€😀"}, 0, nil},
	{"a message of the largest size is taken", [][]byte{compressed(deflated(strings.Repeat("x", 1<<20)))}, []string{strings.Repeat("x", 1<<20)}, 0, nil},
	{"one byte more is not", [][]byte{compressed(deflated(strings.Repeat("x", 1<<20+1)))}, nil, 1009, wsconn.ErrProtocol},
	{"nor in fragments", [][]byte{rsv(4, frame(false, ws.OpText, append(bomb(1<<20), "\x00\x00\xff\xff"...))), frame(true, ws.OpContinuation, deflated("x"))}, nil, 1009, wsconn.ErrProtocol},
	{"nor when it is large as it comes", // refused for its header
		[][]byte{header(0xc1, 0x80|127, 0, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0, 0)}, nil, 1009, wsconn.ErrProtocol},
	{"nor much more of nothing",
		[][]byte{rsv(4, frame(false, ws.OpText, bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), 1<<18/5))), header(0, 0x80|127, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0)}, nil, 1009, wsconn.ErrProtocol},
}

// newDeflating returns a server whose connections have agreed on compression.
func newDeflating(t testing.TB, wrap func(net.Conn) net.Conn, cfg wsconn.Config, window uint8) *server {
	cfg.DeflateLevel, cfg.DeflateFrom = 3, 200
	srv := newServer(t, wrap, cfg)
	srv.window = window
	return srv
}

func TestRulesOfRFC7692(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for name, cfg := range map[string]wsconn.Config{"all checks": config(), "as served": served()} {
			cfg.MaxQueue = 4 << 20
			srv := newDeflating(t, wrap, cfg, 15)
			for _, tt := range deflateRules {
				t.Run(name+"/"+tt.rule, func(t *testing.T) {
					srv.t = t
					s, p := srv.connect()
					p.send(tt.input...)
					for _, want := range tt.replies {
						p.expect(ws.OpText, want)
					}
					if tt.code == 0 {
						p.send(frame(true, ws.OpClose, nil))
						p.expect(ws.OpClose, "")
						p.expectEnd()
						s.end(1005, true, nil)
					} else {
						expectRefusal(t, s, p, tt.code, tt.cause)
					}
				})
			}
		}
	})
}

// What is inflated is text as any other: it is checked where wsconn checks text.
func TestCompressedTextIsUTF8(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		s, p := newDeflating(t, wrap, config(), 15).connect()
		p.send(compressed(deflated("κόσμε")), compressed(deflated("\xce")))
		p.expect(ws.OpText, "κόσμε")
		expectRefusal(t, s, p, 1007, wsconn.ErrProtocol)
	})
}

func TestCompressedBinaryIsRefusedUnlessAllowed(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		s, p := newDeflating(t, wrap, served(), 15).connect()
		p.send(rsv(4, frame(true, ws.OpBinary, deflated("x"))))
		expectRefusal(t, s, p, 1003, wsconn.ErrProtocol)
	})
}

// A connection that has not agreed on compression takes none.
func TestCompressedMessagesHaveToBeAgreedOn(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		s, p := newDeflating(t, wrap, served(), 0).connect()
		p.send(compressed(deflated("x")))
		expectRefusal(t, s, p, 1002, wsconn.ErrProtocol)
	})
}

// A thousandth of what a bomb would be costs no more than what a message may have.
func TestABombIsNotInflated(t *testing.T) {
	cfg := served()
	cfg.MaxMessage = 64 << 10
	cfg.DeflateLevel, cfg.DeflateFrom = 3, 200
	cfg.NewHandler = func(*wsconn.Group) wsconn.Handler { return new(recording) }
	small := bomb(1 << 20)
	// Each block of it inflates to a mebibyte: fragments that say so a thousand times.
	message := compressed(bytes.Repeat(append(small, "\x00\x00\xff\xff"...), 50))
	rec := wsconn.NewRecorder(cfg)
	rec.Deflate(15)
	if got := testing.AllocsPerRun(1, func() { rec.Feed(slices.Clone(message)) }); got > 100 {
		t.Errorf("%v allocations", got)
	}
	if len(rec.Out) < 4 || rec.Out[0] != 0x88 || binary.BigEndian.Uint16(rec.Out[2:]) != 1009 {
		t.Errorf("wrote %q, want a close frame with 1009", rec.Out)
	}
	if got, most := rec.DeflaterSize(), 3*cfg.MaxMessage; got > most {
		t.Errorf("%d bytes of buffers are kept, want at most %d", got, most)
	}
}

// A message that comes with much more than it holds counts as what it comes with.
func TestBlocksOfNothingCount(t *testing.T) {
	cfg := served()
	h := &counting{}
	cfg.NewHandler = func(*wsconn.Group) wsconn.Handler { return h }
	rec := wsconn.NewRecorder(cfg)
	rec.Deflate(15)
	nothing := bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), 2<<10)
	rec.Feed(compressed(append(nothing, deflated("x")...)))
	if len(h.events) != 1 || h.frames != 10 {
		t.Errorf("%d messages and %d frames, want 1 and 10: 10 KiB that hold a byte", len(h.events), h.frames)
	}
	rec.Feed(compressed(deflated(incompressible(10 << 10))))
	if len(h.events) != 2 || h.frames != 10 {
		t.Errorf("%d messages and %d frames, want 2 and 10: what cannot get smaller is no abuse", len(h.events), h.frames)
	}
}

// counting counts what is no message, too.
type counting struct {
	recording
	frames int
}

func (c *counting) Frame(*wsconn.Conn) { c.frames++ }

// readDeflated reads a message that must be compressed, or not.
func (p *peer) readDeflated(want string, isCompressed bool) (wire int) {
	p.t.Helper()
	f, err := p.read()
	if err != nil {
		p.t.Fatalf("expected %.40q: %v", want, err)
	}
	payload := f.Payload
	if f.Header.Rsv == 4 {
		if payload, err = inflated(payload, len(want)); err != nil {
			p.t.Fatalf("cannot inflate %.80q: %v", f.Payload, err)
		}
	}
	if got := f.Header.Rsv != 0; got != isCompressed || !f.Header.Fin || f.Header.OpCode != ws.OpText || string(payload) != want {
		p.t.Fatalf("got frame %+v %.80q, want %.80q, compressed: %v", f.Header, payload, want, isCompressed)
	}
	return len(f.Payload)
}

// text of n bytes that gets smaller, and of as many that does not.
func compressible(n int) string { return strings.Repeat("0123456789abcdef", n/16+1)[:n] }

func incompressible(n int) string {
	b := make([]byte, n)
	for i, x := 0, uint64(1); i < n; i++ {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return string(b)
}

func TestMessagesAreSentCompressed(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, window := range []uint8{8, 9, 12, 14, 15} {
			t.Run(fmt.Sprint("window ", window), func(t *testing.T) {
				srv := newDeflating(t, wrap, served(), window)
				srv.message = func(s *session, op ws.OpCode, payload []byte) { s.WriteDeflated(op, payload) }
				_, p := srv.connect()
				for _, tt := range []struct {
					text string
					want bool
				}{
					{"", false},
					{compressible(199), false}, // below DeflateFrom
					{compressible(200), true},
					{incompressible(250), false}, // it would get larger
					{compressible(256), true},
					{compressible(1 << window), true},
					{compressible(1<<window + 1), window == 15}, // the peer might not find what it refers to
					{compressible(1 << 20), window == 15},
				} {
					p.send(text(tt.text))
					wire := p.readDeflated(tt.text, tt.want)
					if tt.want && wire >= len(tt.text)/2+20 {
						t.Errorf("%d bytes are sent as %d", len(tt.text), wire)
					}
				}
			})
		}
	})
}

// A frame that is compressed once goes to all, beside those of the same event that are
// not, and is not joined to others.
func TestABroadcastIsCompressedOnce(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newDeflating(t, wrap, served(), 15)
		event := `{"e":"` + compressible(500) + `"}`
		plain := wsconn.AppendText(nil, []byte(event))
		srv.message = func(s *session, _ ws.OpCode, payload []byte) {
			s.JoinRaw()
			s.WriteRaw(s.Group().AppendDeflated(nil, []byte(event)))
			s.WriteRaw(plain)
			s.WriteRaw(plain)
			s.WriteRaw(s.Group().AppendDeflated(nil, []byte(event)))
			if frame := s.Group().AppendDeflated(nil, []byte(incompressible(100))); len(frame) > 0 {
				t.Error("what gets larger makes a frame")
			}
		}
		_, p := srv.connect()
		p.send(text("go"))
		p.readDeflated(event, true)
		p.readDeflated("["+event+","+event+"]", false)
		p.readDeflated(event, true)
	})
}

// An idle connection owns nothing of compression, whatever it has received and sent.
func TestAnIdleConnectionOwnsNothingOfCompression(t *testing.T) {
	cfg := served()
	cfg.DeflateLevel, cfg.DeflateFrom = 3, 200
	cfg.NewHandler = func(*wsconn.Group) wsconn.Handler { return new(recording) }
	rec := wsconn.NewRecorder(cfg)
	rec.Deflate(15)
	message := compressed(deflated(compressible(5000)))
	for _, part := range [][]byte{message, message[:3], message[3:10], message[10:]} {
		rec.Feed(slices.Clone(part))
	}
	if !rec.Idle() {
		t.Error("it owns a buffer")
	}
}

func TestACompressedEchoAllocatesNothing(t *testing.T) {
	onBothPaths(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		srv := newDeflating(t, wrap, served(), 15)
		srv.message = func(s *session, op ws.OpCode, payload []byte) { s.WriteDeflated(op, payload) }
		_, p := srv.connect()
		in := compressed(deflated(compressible(2000)))
		p.send(in)
		out := make([]byte, 2+p.readDeflated(compressible(2000), true))
		echo := func() {
			if _, err := p.Write(in); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(p.Conn, out); err != nil {
				t.Fatal(err)
			}
		}
		for range 20 {
			echo()
		}
		// The tables of what it reads may be made anew.
		atMost(t, 2, "a compressed message", echo)
	})
}

// FuzzInflate sends its bytes as a compressed message, in fragments of some size, and
// compares with the standard library.
func FuzzInflate(f *testing.F) {
	for _, payload := range []string{"", "Hello", compressible(900), incompressible(900)} {
		f.Add(deflated(payload), 3)
	}
	for _, tt := range deflateRules {
		for _, in := range tt.input {
			if h, err := ws.ReadHeader(bytes.NewReader(in)); err == nil && h.Rsv == 4 && len(in) < 1000 {
				payload := slices.Clone(in[ws.HeaderSize(h):])
				ws.Cipher(payload, h.Mask, 0)
				f.Add(payload, 0)
			}
		}
	}
	f.Add(bomb(fuzzMaxMessage+1), 1)
	f.Fuzz(func(t *testing.T, message []byte, size int) {
		want, err := inflated(message, fuzzMaxMessage)
		code := uint16(0)
		switch {
		case len(message) > fuzzMaxMessage:
			return
		case len(want) > fuzzMaxMessage:
			code = 1009
		case err != nil:
			code = 1007
		}
		cfg := served()
		cfg.MaxMessage = fuzzMaxMessage
		h := new(recording)
		cfg.NewHandler = func(*wsconn.Group) wsconn.Handler { return h }
		rec := wsconn.NewRecorder(cfg)
		rec.Deflate(15)
		in := compressed(message)
		if size > 0 && len(message) > size {
			in = append(rsv(4, frame(false, ws.OpText, message[:size])), frame(true, ws.OpContinuation, message[size:])...)
		}
		rec.Feed(in)
		got := uint16(0)
		if len(rec.Out) >= 4 && rec.Out[0] == 0x88 {
			got = binary.BigEndian.Uint16(rec.Out[2:])
		}
		if got != code || code == 0 && !slices.Equal(h.events, []string{fmt.Sprintf("%d %q", ws.OpText, want)}) {
			t.Errorf("% x: got %q and code %d, want %q and code %d", message, h.events, got, want, code)
		}
	})
}
