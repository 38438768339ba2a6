package deflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"strings"
	"testing"
)

// What one side compresses the other inflates, at each level, and so does the standard
// library.
func TestDeflate(t *testing.T) {
	for level := 1; level <= 9; level++ {
		d := New(level)
		for _, want := range []string{"", "a", strings.Repeat("Hello ", 100), strings.Repeat("0123456789", 50_000)} {
			message := bytes.Clone(d.Deflate([]byte(want)))
			got, err := io.ReadAll(flate.NewReader(bytes.NewReader(append(bytes.Clone(message), tail...))))
			if err != nil || string(got) != want {
				t.Errorf("level %d: %d bytes are %d for the standard library, %v", level, len(want), len(got), err)
			}
			if got, err := d.Inflate(message, len(want)); err != nil || string(got) != want {
				t.Errorf("level %d: %d bytes are inflated to %d, %v", level, len(want), len(got), err)
			}
			if _, err := d.Inflate(message, len(want)-1); !errors.Is(err, ErrTooBig) && want != "" {
				t.Errorf("level %d: one byte more than may be: %v", level, err)
			}
			if _, err := d.Inflate(message[:len(message)/2], len(want)); want != "" && !errors.Is(err, ErrBroken) {
				t.Errorf("level %d: half of %d bytes: %v", level, len(want), err)
			}
		}
	}
}

// Large buffers are not kept.
func TestBuffersAreBounded(t *testing.T) {
	d := New(1)
	for _, text := range []string{strings.Repeat("x", 4<<20), "small"} {
		message := bytes.Clone(d.Deflate([]byte(text)))
		if _, err := d.Inflate(message, 8<<20); err != nil {
			t.Fatal(err)
		}
	}
	if d.Size() > 3*keepEach {
		t.Errorf("%d bytes are kept", d.Size())
	}
}
