package load

import (
	"encoding/binary"
	"testing"
	"time"
)

func TestTemplateIsWhatTheFrameWouldBe(t *testing.T) {
	// Every place of the id relative to the mask, alone and twice.
	for shift := range 4 {
		for _, rest := range []string{"", " and " + sampleID} {
			text := func(id string, again string) string { return filler(shift) + id + again }
			tmpl := newTemplate(opText, text(sampleID, rest))
			again := ""
			if rest != "" {
				again = " and 145000007"
			}
			want := appendFrame(nil, opText, []byte(text("145000007", again)))
			if got := tmpl.append(nil, makeID(45, 7)); string(got) != string(want) {
				t.Errorf("shift %d: got % x, want % x", shift, got, want)
			}
		}
	}
}

func TestVarintTemplate(t *testing.T) {
	tmpl := newVarintTemplate(0, "a"+sampleIDVarint+"z")
	for _, id := range []uint32{makeID(0, 0), makeID(63, 999_999)} {
		got := tmpl.append(nil, id)
		value, n := binary.Uvarint(got[1:])
		if value != uint64(id) || n != 4 {
			t.Errorf("id %d became %d in %d bytes", id, value, n)
		}
	}
}

func TestIDs(t *testing.T) {
	slot, number, ok := splitID(makeID(63, 1_000_001))
	if slot != 63 || number != 1 || !ok {
		t.Errorf("got slot %d, number %d, %v", slot, number, ok)
	}
	for _, b := range []string{"", "12345678", "12345678x"} {
		if _, ok := parseID([]byte(b)); ok {
			t.Errorf("parseID(%q) takes it", b)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(int64(i+1) * 1000)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond} {
		got := h.quantile(q)
		if got > want || got < want-want/8 {
			t.Errorf("quantile(%v) = %v, want at most an eighth below %v", q, got, want)
		}
	}
}

func TestNextMessage(t *testing.T) {
	var c conn
	stream := "\x01\x03abc" + "\x89\x01p" + "\x80\x02de" + "\x82\x01x" // a ping between two fragments
	var got []string
	for at := 0; at < len(stream); {
		message, n, err := nextMessage(&c, []byte(stream[at:]))
		if err != nil || n == 0 {
			t.Fatalf("at %d: %d bytes, %v", at, n, err)
		}
		at += n
		if message != nil {
			got = append(got, string(message))
		}
	}
	if len(got) != 2 || got[0] != "abcde" || got[1] != "x" {
		t.Errorf("got %q", got)
	}
	if want := appendFrame(nil, opPong, []byte("p")); string(c.out) != string(want) {
		t.Errorf("answered the ping with % x, want % x", c.out, want)
	}
	for end := range len(stream[:5]) {
		if _, n, err := nextMessage(&c, []byte(stream[:end])); n != 0 || err != nil {
			t.Errorf("took %d of %d bytes of a frame of 5, %v", n, end, err)
		}
	}
}
