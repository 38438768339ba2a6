package frame_test

import (
	"testing"

	"github.com/juggler-go/juggler/frame"
)

// Nothing allocates: neither decoding, with or without escapes, nor encoding
// into a slice that is long enough.
func TestAllocations(t *testing.T) {
	check := func(name string, f func()) {
		t.Helper()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	buf := make([]byte, 0, 1<<16)
	for _, table := range []struct {
		p        frame.Protocol
		messages []golden
	}{
		{frame.Juggler0, golden0}, {frame.Juggler0, acceptedRequests0}, {frame.Juggler0, acceptedAnswers0},
		{frame.Juggler1, golden1}, {frame.Juggler1, acceptedRequests1}, {frame.Juggler1, acceptedAnswers1},
	} {
		for _, m := range table.messages {
			check("decoding "+m.text, func() {
				var f frame.Frame
				b := append(buf[:0], m.text...)
				if err := decode(table.p, m.want.Type, b, &f); err != nil {
					t.Fatal(err)
				}
			})
			check("encoding "+m.text, func() { table.p.Append(buf, &m.want) })
		}
	}

	long := "an id of the application that is longer than any temporary <\"é\xff\">"
	headers := frame.AppendHeaders(nil, map[string]string{"user": long, long: "x"})
	check("SetHeader", func() { frame.SetHeader(buf, headers, "user", long) })
	check("AppendHeaders", func() { frame.AppendHeaders(buf, smallHeaders) })
	check("AppendString", func() { frame.AppendString(buf, long) })
	check("ValidJSON", func() { frame.ValidJSON(headers) })
	check("ValidHeaders", func() { frame.ValidHeaders(headers) })
	check("ULID", func() { frame.ParseULID(frame.AppendULID(buf, [16]byte{1, 2, 3})) })
	check("UUID", func() { frame.ParseUUID(frame.AppendUUID(buf, [16]byte{1, 2, 3})) })
}

var smallHeaders = map[string]string{"traceparent": "00-1-2-03", "tenant": "a"}
