package juggler_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/memnet"
)

// fuzzMessage is the size of the largest message that a fuzzTarget takes.
const fuzzMessage = 4 << 10

// fuzzTarget is the one server of a fuzz target.
type fuzzTarget struct {
	h *juggler.Handler
	l *memnet.Listener
}

// newFuzzTarget starts a server, with callees.
func newFuzzTarget(f *testing.F) fuzzTarget {
	b, err := memory.New()
	if err != nil {
		f.Fatal(err)
	}
	h, err := juggler.New(juggler.WithBroker(b), juggler.WithLogger(quiet), juggler.WithMaxMessageBytes(fuzzMessage), juggler.WithMaxSubscriptions(8))
	if err != nil {
		f.Fatal(err)
	}
	c, err := calleekit.New(b)
	if err != nil {
		f.Fatal(err)
	}
	c.Handle("echo", echo)
	c.Handle("wait", wait)
	if err := c.Start(f.Context()); err != nil {
		f.Fatal(err)
	}
	l := serveMemory(f, h)
	f.Cleanup(func() {
		if err := errors.Join(h.Shutdown(context.Background()), c.Close(), b.Close()); err != nil {
			f.Error(err)
		}
	})
	return fuzzTarget{h, l}
}

// open makes a session.
func (s fuzzTarget) open(t *testing.T, p frame.Protocol) *rawClient {
	t.Helper()
	conn, err := s.l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return openRaw(t, conn, p.String())
}

// waitEmpty waits until nothing is left of the session.
func (s fuzzTarget) waitEmpty(t *testing.T) {
	t.Helper()
	empty := func() bool { return s.h.NumSessions() == 0 && s.h.Stats().Subscriptions == 0 }
	for range 1000 { // most often it is a matter of microseconds
		if empty() {
			return
		}
		runtime.Gosched()
	}
	waitFor(t, "the session to be gone", empty)
}

// documentedClose holds the close codes that a client's messages can bring about.
var documentedClose = []int{juggler.CloseProtocolError, 1003, 1007, 1009, juggler.ClosePolicy, juggler.CloseSlowConsumer}

// documentedNack holds the codes of the NACKs that they can.
var documentedNack = []int{
	juggler.CodeBadRequest, juggler.CodeNoCallee, juggler.CodeTooLarge, juggler.CodeLimit, juggler.CodeUnavailable,
}

// sentinels are requests that come last, by protocol, and with which id.
var sentinels = [2]struct{ id, message string }{
	{"ffffffff-ffff-ffff-ffff-ffffffffffff", `{"meta":{"type":1,"uuid":"ffffffff-ffff-ffff-ffff-ffffffffffff"},"payload":{"uri":"nobody"}}`},
	{"the last", `{"type":"CALL","id":"the last","uri":"nobody"}`},
}

// FuzzMessages sends lines of anything as messages, in both protocols: each
// is answered as its protocol says, or ends the connection with a documented
// code, and nothing of it is left.
func FuzzMessages(f *testing.F) {
	for _, seed := range []string{
		`{"type":"CALL","id":"1","uri":"echo","args":[1,"ä"],"timeout":5,"headers":{"a":"b"}}` + "\n" + `{"type":"CANCEL","for":"1"}`,
		`{"type":"CALL","id":"1","uri":"wait"}` + "\n" + `{"type":"CANCEL","for":"1"}` + "\n" + `{"type":"CALL","id":"1","uri":"wait"}`,
		`{"type":"SUB","id":"1","channel":"*","pattern":true}` + "\n" + `{"type":"PUB","id":"2","channel":"c","args":{}}` + "\n" + `{"type":"UNSB","id":"3","channel":"*","pattern":true}`,
		`{"type":"AUTH","id":"1","token":"t"}` + "\n" + `{"type":"PONG"}` + "\n" + `{"type":"HELO","id":"2"}` + "\n" + `{"type":"SUB","id":"3"}`,
		`{"meta":{"type":1,"uuid":"63b189cb-516e-4b1e-9270-ac089f10babc"},"payload":{"uri":"echo","timeout":1000000000,"args":"hello"}}`,
		`{"meta":{"type":3,"uuid":""},"payload":{"channel":"c"}}` + "\n" + `{"meta":{"type":2,"uuid":""},"payload":{"channel":"c","args":1}}` + "\n" + `{"meta":{"type":4,"uuid":""},"payload":{"channel":"c"}}`,
		`{"type":"PUB","id":"\ud800","channel":"c"}`, "{", "\xff", "",
	} {
		f.Add([]byte(seed))
	}
	s := newFuzzTarget(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		messages := bytes.Split(data, []byte("\n"))
		for _, p := range []frame.Protocol{frame.Juggler0, frame.Juggler1} {
			s.send(t, p, messages)
		}
	})
}

// send sends messages and checks what comes of them.
func (s fuzzTarget) send(t *testing.T, p frame.Protocol, messages [][]byte) {
	c := s.open(t, p)
	var sent []byte
	answers := 1 // that of the sentinel
	for _, m := range messages {
		sent = append(sent, maskedText(string(m))...)
		if answerable(p, m) {
			answers++
		}
	}
	sent = append(sent, maskedText(sentinels[p].message)...)
	var writing sync.WaitGroup
	writing.Go(func() { c.conn.Write(sent) }) // fails if the server closes before
	got, closed := readAnswers(t, c, p)
	if !closed && got != answers {
		t.Errorf("%v: %d ACKs and NACKs for %d requests", p, got, answers)
	}
	c.conn.Close()
	writing.Wait()
	s.waitEmpty(t)
}

// answerable reports whether a message gets an ACK or NACK, unless the
// connection ends.
func answerable(p frame.Protocol, message []byte) bool {
	var f frame.Frame
	err := p.DecodeRequest(bytes.Clone(message), &f)
	if d := (*frame.DecodeError)(nil); errors.As(err, &d) {
		return d.Nack
	}
	return f.Type != frame.Cancel && f.Type != frame.Pong
}

// readAnswers reads until the sentinel is answered or the server closes, and
// counts the ACKs and NACKs.
func readAnswers(t *testing.T, c *rawClient, p frame.Protocol) (answers int, closed bool) {
	for {
		op, payload, err := c.frame()
		if err != nil {
			t.Fatalf("%v: neither an answer nor a close frame: %v", p, err)
		}
		if op == ws.OpClose {
			if code, reason := ws.ParseCloseFrameData(payload); !slices.Contains(documentedClose, int(code)) || reason == "" {
				t.Errorf("%v: closed with %d %q", p, code, reason)
			}
			return answers, true
		}
		var f frame.Frame
		if err := p.DecodeAnswer(bytes.Clone(payload), &f); err != nil {
			t.Fatalf("%v: %s: %v", p, payload, err)
		}
		switch f.Type {
		case frame.Ack:
			answers++
		case frame.Nack:
			answers++
			if !slices.Contains(documentedNack, f.Err.Code) || len(f.Err.Message) == 0 {
				t.Errorf("%v: %s", p, payload)
			}
			if string(f.For) == sentinels[p].id && f.Err.Code == juggler.CodeNoCallee {
				return answers, false
			}
		}
	}
}

// FuzzFrames sends anything in place of WebSocket frames: the connection ends
// with a documented code, or with that of a close frame in the input.
func FuzzFrames(f *testing.F) {
	call := maskedText(`{"type":"CALL","id":"1","uri":"echo"}`)
	for _, seed := range [][]byte{
		nil, call, call[:7], slices.Concat(call, call), {0x81, 0xfe, 0, 1}, {0x81, 0xff, 0x80}, {0x89, 0x80, 0, 0, 0, 0},
		maskedFrame(false, ws.OpText, `{"type":`), maskedFrame(true, ws.OpBinary, ""), maskedClose(1000, "bye"), maskedClose(1005, ""),
		slices.Concat(maskedFrame(false, ws.OpText, `{"type":`), maskedFrame(true, ws.OpPing, "x"), maskedFrame(true, ws.OpContinuation, `"PONG"}`)),
	} {
		f.Add(seed)
	}
	s := newFuzzTarget(f)
	// What follows the input completes a frame that it may have begun, of
	// fuzzMessage bytes at most, and is none itself.
	end := bytes.Repeat([]byte{0xff}, fuzzMessage+2*ws.MaxHeaderSize)
	f.Fuzz(func(t *testing.T, data []byte) {
		c := s.open(t, frame.Juggler1)
		var writing sync.WaitGroup
		writing.Go(func() { c.conn.Write(slices.Concat(data, end)) }) // fails if the server closes before
		const closes = 0x88                                           // the first byte of a close frame
		code, _ := c.untilClose(t)
		if !slices.Contains(documentedClose, code) && !bytes.Contains(data, []byte{closes}) {
			t.Errorf("closed with %d", code)
		}
		c.conn.Close()
		writing.Wait()
		s.waitEmpty(t)
	})
}
