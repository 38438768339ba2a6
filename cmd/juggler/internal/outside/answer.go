package outside

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
)

// bounded collects what is written up to a limit, and drops the rest. The
// buffer is not embedded: io.Copy would read into it, past the limit.
type bounded struct {
	buffer   bytes.Buffer
	limit    int
	full     func() // called when the limit is passed, or nil
	overflow bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - b.buffer.Len()
	if len(p) <= room {
		return b.buffer.Write(p)
	}
	b.buffer.Write(p[:max(room, 0)])
	if !b.overflow && b.full != nil {
		b.full()
	}
	b.overflow = true
	return len(p), nil
}

// answer returns the result that an answer is. No answer at all is null.
func answer(text []byte) (any, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return json.RawMessage("null"), nil
	}
	if !json.Valid(text) {
		return nil, errors.New("its answer is not JSON")
	}
	return json.RawMessage(text), nil
}

// said returns the error that an answer is, in the form that RES has in juggler.1, or nil:
// what else a program or a web server says when it fails is not for the caller.
func said(text []byte) *calleekit.Error {
	var body struct {
		Error struct {
			Code       frame.Code      `json:"code"`
			Message    *string         `json:"message"`
			Data       json.RawMessage `json:"data"`
			RetryAfter int64           `json:"retry_after"` // ms
		} `json:"error"`
	}
	if json.Unmarshal(text, &body) != nil || body.Error.Code <= 0 || body.Error.Message == nil {
		return nil
	}
	e := &calleekit.Error{Code: body.Error.Code, Message: *body.Error.Message, Data: body.Error.Data}
	return e.WithRetryAfter(time.Duration(min(body.Error.RetryAfter, maxRetryAfter.Milliseconds())) * time.Millisecond)
}

const maxRetryAfter = 24 * time.Hour

// tooLong refuses an answer of which more comes than may.
func (l Limits) tooLong() error {
	return calleekit.Errorf(calleekit.CodeTooLarge, "the answer has more than %d bytes", l.MaxOutput)
}

// headersText returns the headers of a call as JSON that fits in a header of HTTP, and
// in a variable: in one line, and in ASCII.
func headersText(c *calleekit.Call) string {
	if len(c.RawHeaders) == 0 {
		return "{}"
	}
	var line bytes.Buffer
	if json.Compact(&line, c.RawHeaders) != nil {
		return "{}" // never: they were decoded
	}
	var text []byte
	for _, r := range line.String() {
		switch {
		case r < 0x7f:
			text = append(text, byte(r))
		case r < 0x10000:
			text = fmt.Appendf(text, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			text = fmt.Appendf(text, `\u%04x\u%04x`, high, low)
		}
	}
	return string(text)
}
