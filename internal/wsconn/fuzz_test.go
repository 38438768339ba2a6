package wsconn_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/internal/wsconn"
)

// recording is a Handler that notes what it gets.
type recording struct{ events []string }

func (r *recording) Message(_ *wsconn.Conn, op ws.OpCode, payload []byte) {
	r.events = append(r.events, fmt.Sprintf("%d %q", op, payload))
}
func (r *recording) Quiet(*wsconn.Conn)                       {}
func (r *recording) Kept(*wsconn.Conn) int                    { return 0 }
func (r *recording) Unheard(*wsconn.Conn)                     {}
func (r *recording) Closing(*wsconn.Conn, *wsconn.CloseError) {}
func (r *recording) Closed(*wsconn.Conn, *wsconn.CloseError)  {}
func (r *recording) Turn(int64) int64                         { return 0 }
func (r *recording) Frame(*wsconn.Conn)                       {}
func (r *recording) EndReading() bool                         { return false }

const fuzzMaxMessage = 1000

// reference reads the same input with the functions that package ws has for
// it, as simply as possible. It returns the events, the pings' payloads and
// the code of the close frame that the input has to be answered with, or 0.
func reference(cfg *wsconn.Config, input []byte) (events []string, pings [][]byte, code uint16) {
	r := bytes.NewReader(input)
	state := ws.StateServerSide
	var op ws.OpCode
	var msg []byte
	for {
		rest := input[len(input)-r.Len():]
		h, err := ws.ReadHeader(r)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			if len(rest) < 2 {
				return events, pings, 0
			}
			// What is there may be wrong already: whatever follows.
			h, _ := ws.ReadHeader(bytes.NewReader(append(slices.Clone(rest), bytes.Repeat([]byte{1}, 12)...)))
			long := h.OpCode.IsControl() && rest[1]&0x7f > ws.MaxControlFramePayloadSize
			if long || ws.CheckHeader(h, state) != nil {
				return events, pings, 1002
			}
			return events, pings, 0
		}
		used := len(rest) - r.Len()
		if err != nil || ws.CheckHeader(h, state) != nil || ws.HeaderSize(h) != used {
			return events, pings, 1002
		}
		if h.OpCode == ws.OpBinary && !cfg.Binary {
			return events, pings, 1003
		}
		if h.OpCode.IsData() && h.Length > int64(fuzzMaxMessage-len(msg)) {
			return events, pings, 1009
		}
		payload := make([]byte, min(h.Length, int64(r.Len())))
		_, _ = io.ReadFull(r, payload)
		ws.Cipher(payload, h.Mask, 0)
		complete := int64(len(payload)) == h.Length
		switch {
		case !complete && h.OpCode.IsControl():
			return events, pings, 0
		case h.OpCode == ws.OpPing:
			pings = append(pings, payload)
		case h.OpCode == ws.OpPong:
		case h.OpCode == ws.OpClose:
			return events, pings, closeReply(payload)
		default:
			if h.OpCode != ws.OpContinuation {
				op = h.OpCode
			}
			msg = append(msg, payload...)
			if cfg.CheckUTF8 && op == ws.OpText && !startOfUTF8(msg, complete && h.Fin) {
				return events, pings, 1007
			}
			if !complete {
				return events, pings, 0
			}
			state = state.Set(ws.StateFragmented)
			if h.Fin {
				events = append(events, fmt.Sprintf("%d %q", op, msg))
				state = state.Clear(ws.StateFragmented)
				msg = nil
			}
		}
	}
}

// closeReply returns the code that answers a close frame with this body.
func closeReply(body []byte) uint16 {
	switch {
	case len(body) == 0:
		return 1005 // none
	case len(body) == 1:
		return 1002
	}
	code := binary.BigEndian.Uint16(body)
	known := code == 1012 || code == 1013 || code == 1014 // registered since
	if !known && ws.CheckCloseFrameData(ws.StatusCode(code), "") != nil || code >= 5000 {
		return 1002
	}
	if !utf8.Valid(body[2:]) {
		return 1007
	}
	return code
}

// startOfUTF8 reports whether b is UTF-8, or can become UTF-8 if more is to come.
func startOfUTF8(b []byte, whole bool) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return !whole && !utf8.FullRune(b)
		}
		b = b[n:]
	}
	return true
}

// checkInput feeds input in pieces and compares with the reference, with all checks
// and as the server is configured.
func checkInput(t *testing.T, input []byte, pieces []byte) {
	t.Helper()
	checkInputIn(t, config(), input, pieces)
	checkInputIn(t, served(), input, pieces)
}

func checkInputIn(t *testing.T, cfg wsconn.Config, input []byte, pieces []byte) {
	t.Helper()
	cfg.MaxMessage = fuzzMaxMessage
	events, pings, code := reference(&cfg, input)

	h := new(recording)
	cfg.NewHandler = func(*wsconn.Group) wsconn.Handler { return h }
	rec := wsconn.NewRecorder(cfg)
	for rest, i := slices.Clone(input), 0; len(rest) > 0; i++ {
		n := len(rest)
		if len(pieces) > 0 {
			n = min(n, 1+int(pieces[i%len(pieces)]))
		}
		rec.Feed(rest[:n])
		rest = rest[n:]
	}

	if !slices.Equal(h.events, events) {
		t.Errorf("events %q, want %q", h.events, events)
	}
	var want []byte
	for _, p := range pings {
		want = append(want, ws.MustCompileFrame(ws.NewPongFrame(p))...)
	}
	if !bytes.HasPrefix(rec.Out, want) {
		t.Fatalf("wrote %q, want the pongs %q first", rec.Out, want)
	}
	out := rec.Out[len(want):]
	switch {
	case code == 0 && len(out) > 0:
		t.Errorf("wrote %q, want nothing", out)
	case code == 1005 && !bytes.Equal(out, ws.CompiledClose):
		t.Errorf("wrote %q, want a close frame without a code", out)
	case code != 0 && code != 1005 && (len(out) < 4 || out[0] != 0x88 || binary.BigEndian.Uint16(out[2:]) != code || len(out) != 2+int(out[1])):
		t.Errorf("wrote %q, want one close frame with %d", out, code)
	}
}

func FuzzFrames(f *testing.F) {
	for _, tt := range rules {
		if input := bytes.Join(tt.input, nil); len(input) < 4096 {
			f.Add(input, []byte{0})
			f.Add(input, []byte{5, 0, 30})
			f.Add(input, []byte(nil))
		}
	}
	f.Fuzz(checkInput)
}

// FuzzMessages makes frames of the fuzzer's bytes, so that it need not find
// out how: two bytes are a header's, the next the length of the payload.
func FuzzMessages(f *testing.F) {
	f.Add([]byte("\x01\x80\x03one\x00\x80\x00\x89\x80\x02hi\x80\x80\x03two\x88\x80\x02\x03\xe8"), []byte{3, 1})
	f.Add([]byte("\x01\x80\x02\xf0\x9f\x80\x80\x02\x98\x80\x81\x80\x01\xff"), []byte{0})
	f.Fuzz(func(t *testing.T, script []byte, pieces []byte) {
		var input []byte
		for len(script) >= 3 {
			n := min(int(script[2]), len(script)-3)
			h := ws.Header{
				Fin: script[0]&0x80 != 0, Rsv: script[0] >> 4 & 7, OpCode: ws.OpCode(script[0] & 15),
				Masked: script[1]&0x80 != 0, Mask: [4]byte{script[1], 2, 3, 4}, Length: int64(n),
			}
			payload := slices.Clone(script[3 : 3+n])
			if h.Masked {
				ws.Cipher(payload, h.Mask, 0)
			}
			var b bytes.Buffer
			if err := ws.WriteFrame(&b, ws.Frame{Header: h, Payload: payload}); err != nil {
				t.Fatal(err)
			}
			input = append(input, b.Bytes()...)
			script = script[3+n:]
		}
		checkInput(t, input, pieces)
	})
}
