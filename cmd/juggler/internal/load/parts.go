package load

import (
	"strconv"

	"github.com/juggler-go/juggler/frame"
)

// window is how many parts of an answer may be under way. More are asked for when half of
// them have come, as clients do that use each part at once.
const window = 128

// part takes note of a part of an answer, which is its number.
func (c *client) part(f *frame.Frame) {
	kind, seq, ok := parseID(f.For, c.run.config.Protocol)
	var q *request
	if ok && kind == kindCall {
		q = c.requests.find(kind, seq)
	}
	if q == nil {
		c.run.record.unexpected(c.index)
		return
	}
	n, err := strconv.Atoi(string(f.Args))
	c.run.record.part(c.index, f.N == q.parts+1 && n == f.N && err == nil)
	q.parts++
	if q.parts%(window/2) == 0 {
		more := frame.Frame{Type: frame.More, For: f.For, Parts: window / 2}
		c.message = c.run.config.Protocol.Append(c.message[:0], &more)
		c.socket.send(c.message)
	}
}
