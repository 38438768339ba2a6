package recordingtest_test

import (
	"bytes"
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/cmd/juggler/internal/recordingtest"
)

// Each case is written at once, and byte by byte: sequences come in parts.
func TestScreen(t *testing.T) {
	for _, tt := range []struct {
		name, written string
		want          []string
		typed         string
	}{
		{"lines", "ab\r\ncd", []string{"ab", "cd", ""}, "cd"},
		{"a line feed alone stays in its column", "ab\nc", []string{"ab", "  c", ""}, "  c"},
		{"carriage return", "abc\rx", []string{"xbc", "", ""}, "x"},
		{"backspace", "abc\b \b", []string{"ab", "", ""}, "ab"},
		{"wide text goes on in the next row", "12345678", []string{"123456", "78", ""}, "78"},
		{"a full row", "123456", []string{"123456", "", ""}, "123456"},
		{"a full row, and a new one", "123456\r\n7", []string{"123456", "7", ""}, "7"},
		{"scrolling", "1\r\n2\r\n3\r\n4", []string{"2", "3", "4"}, "4"},
		{"moves", "ab\r\ncd\x1b[A\x1b[2Dx\x1b[By\x1b[Cz", []string{"xb", "cy z", ""}, "cy z"},
		{"moves end at the edges", "\x1b[9A\x1b[9Da\x1b[9B\x1b[9Cb", []string{"a", "", "     b"}, "     b"},
		{"erase to the end", "abc\x1b[2D\x1b[K", []string{"a", "", ""}, "a"},
		{"colours", "\x1b[31mab\x1b[0mc", []string{"abc", "", ""}, "abc"},
		{"what is not understood", "\x1b[?2004ha\x07\x1b=b", []string{"ab", "", ""}, "ab"},
		{"characters of several bytes", "é→", []string{"é→", "", ""}, "é→"},
	} {
		whole, parts := recordingtest.NewScreen(3, 6), recordingtest.NewScreen(3, 6)
		io.WriteString(whole, tt.written)
		for i := range len(tt.written) {
			io.WriteString(parts, tt.written[i:i+1])
		}
		for _, s := range []*recordingtest.Screen{whole, parts} {
			if !slices.Equal(s.Text(), tt.want) || s.Typed() != tt.typed {
				t.Errorf("%s: %q, typed %q; want %q, %q", tt.name, s.Text(), s.Typed(), tt.want, tt.typed)
			}
		}
	}
}

func TestPicture(t *testing.T) {
	top, bottom := recordingtest.NewScreen(2, 10), recordingtest.NewScreen(2, 10)
	r := recordingtest.New(top, bottom)
	io.WriteString(top, "\x1b[32mstays\x1b[0m")
	io.WriteString(bottom, "$ a")
	r.Show(bottom, time.Second)
	io.WriteString(bottom, "<&")
	r.Show(bottom, 3*time.Second)
	var b bytes.Buffer
	if err := r.WriteSVG(&b, "a & b"); err != nil {
		t.Fatal(err)
	}
	svg := b.String()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("not XML: %v\n%s", err, svg)
		}
	}
	for _, want := range []string{
		"animation:4s step-end infinite",
		"<title>a &amp; b</title>",
		`<text x="12" y="26"><tspan class="g">stays</tspan></text>`, // always
		"@keyframes k1{0%{visibility:visible}25%{visibility:hidden}}",
		`<text x="12" y="96" class="x" style="animation-name:k1">$ a<tspan class="u">█</tspan></text>`,
		"@keyframes k2{0%{visibility:hidden}25%{visibility:visible}}",
		`<text x="12" y="96" style="animation-name:k2">$ a&lt;&amp;<tspan class="u">█</tspan></text>`,
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in:\n%s", want, svg)
		}
	}
	if strings.Contains(svg, "http") && strings.Count(svg, "http") != 1 { // the name of the language
		t.Error("the picture asks for something from elsewhere")
	}
	lines, err := recordingtest.LastFrame(strings.NewReader(svg))
	if err != nil || !slices.Equal(lines, []string{"stays", "$ a<&"}) {
		t.Errorf("the last frame is %q, %v", lines, err)
	}
}
