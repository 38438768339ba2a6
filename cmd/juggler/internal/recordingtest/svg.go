package recordingtest

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A span is text in one style, a line what one row shows.
type (
	span struct{ style, text string }
	line []span
)

// cursorStyle is that of the cursor: the parameter of no colour.
const cursorStyle = "cursor"

// classes are the CSS classes of styles.
var classes = map[string]string{"2": "d", "31": "r", "32": "g", "33": "y", "36": "c", cursorStyle: "u"}

func spans(row []cell) line {
	var l line
	for _, c := range row {
		if n := len(l); n > 0 && l[n-1].style == c.style {
			l[n-1].text += string(c.char)
		} else {
			l = append(l, span{c.style, string(c.char)})
		}
	}
	for n := len(l); n > 0; n-- { // without spaces at the end
		if l[n-1].text = strings.TrimRight(l[n-1].text, " "); l[n-1].text != "" {
			break
		}
		l = l[:n-1]
	}
	return l
}

// A Recording is a sequence of what screens, one below the other, have shown.
type Recording struct {
	screens []*Screen
	frames  [][]line // of all rows of all screens
	ends    []time.Duration
}

// New returns an empty recording of screens.
func New(screens ...*Screen) *Recording { return &Recording{screens: screens} }

// Show adds what the screens show now, for a time. The cursor is shown on one of
// them.
func (r *Recording) Show(active *Screen, d time.Duration) {
	var frame []line
	for _, s := range r.screens {
		frame = append(frame, s.snapshot(s == active)...)
	}
	r.frames = append(r.frames, frame)
	r.ends = append(r.ends, r.length()+d)
}

func (r *Recording) length() time.Duration {
	if len(r.ends) == 0 {
		return 0
	}
	return r.ends[len(r.ends)-1]
}

// A run is a line that a row shows for some time.
type run struct {
	row      int
	line     line
	from, to time.Duration
}

// runs returns what each row shows when. Frames that show the same in a row are
// one run.
func (r *Recording) runs() []run {
	var runs []run
	if len(r.frames) == 0 {
		return nil
	}
	for row := range r.frames[0] {
		from := time.Duration(0)
		for i := range r.frames {
			l := r.frames[i][row]
			if i+1 < len(r.frames) && slices.Equal(l, r.frames[i+1][row]) {
				continue
			}
			if len(l) > 0 {
				runs = append(runs, run{row, l, from, r.ends[i]})
			}
			from = r.ends[i]
		}
	}
	return runs
}

// Measures of the picture, in its own units. The font's characters are 0.6 of
// its size wide, or a bit less.
const (
	fontSize   = 14
	lineHeight = 19
	charWidth  = 8.43
	margin     = 12
	gap        = 8 // between screens
)

const style = `text{font:%dpx ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre;fill:#e6edf3;animation:%s step-end infinite}
.x{visibility:hidden}.d{fill:#8b949e}.r{fill:#ff7b72}.g{fill:#56d364}.y{fill:#e3b341}.c{fill:#56d4dd}.u{fill:#8b949e}
@media(prefers-reduced-motion:reduce){text{animation:none!important}}
`

// WriteSVG writes the picture. It repeats for ever. Where nothing moves it shows
// the last frame: the lines of the others have the class x.
func (r *Recording) WriteSVG(w io.Writer, title string) error {
	var b bytes.Buffer
	top, tops, height := 0, []int(nil), 0 // tops: of each row
	var boxes strings.Builder
	width := 0
	for _, s := range r.screens {
		height = len(s.rows)*lineHeight + 2*margin
		width = max(width, int(float64(s.columns)*charWidth)+2*margin)
		fmt.Fprintf(&boxes, `<rect y="%d" width="100%%" height="%d" rx="6" fill="#161b22"/>`+"\n", top, height)
		for i := range s.rows {
			tops = append(tops, top+margin+(i+1)*lineHeight-5)
		}
		top += height + gap
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" role="img">`+"\n<title>", width, top-gap, width)
	escape(&b, title)
	fmt.Fprintf(&b, "</title>\n<style>\n"+style, fontSize, seconds(r.length()))
	runs := r.runs()
	for i, run := range runs {
		r.writeKeyframes(&b, i, run)
	}
	b.WriteString("</style>\n" + boxes.String())
	for i, run := range runs {
		r.writeText(&b, i, run, tops[run.row])
	}
	b.WriteString("</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}

// writeKeyframes writes when a run is visible, if that is not always.
func (r *Recording) writeKeyframes(b *bytes.Buffer, i int, run run) {
	if run.from == 0 && run.to == r.length() {
		return
	}
	fmt.Fprintf(b, "@keyframes k%d{", i)
	if run.from > 0 {
		b.WriteString("0%{visibility:hidden}")
	}
	fmt.Fprintf(b, "%s{visibility:visible}", r.percent(run.from))
	if run.to < r.length() {
		fmt.Fprintf(b, "%s{visibility:hidden}", r.percent(run.to))
	}
	b.WriteString("}\n")
}

func (r *Recording) writeText(b *bytes.Buffer, i int, run run, y int) {
	fmt.Fprintf(b, `<text x="%d" y="%d"`, margin, y)
	if run.to < r.length() {
		b.WriteString(` class="x"`)
	}
	if run.from > 0 || run.to < r.length() {
		fmt.Fprintf(b, ` style="animation-name:k%d"`, i)
	}
	b.WriteByte('>')
	for _, s := range run.line {
		class := classes[s.style]
		if class == "" {
			escape(b, s.text)
			continue
		}
		fmt.Fprintf(b, `<tspan class="%s">`, class)
		escape(b, s.text)
		b.WriteString("</tspan>")
	}
	b.WriteString("</text>\n")
}

func (r *Recording) percent(at time.Duration) string {
	text := fmt.Sprintf("%.2f", 100*float64(at)/float64(r.length()))
	return strings.TrimRight(strings.TrimRight(text, "0"), ".") + "%"
}

func seconds(d time.Duration) string { return fmt.Sprintf("%gs", d.Seconds()) }

func escape(b *bytes.Buffer, text string) {
	for _, r := range text {
		switch r {
		case '<':
			b.WriteString("&lt;")
		case '&':
			b.WriteString("&amp;")
		default:
			b.WriteRune(r)
		}
	}
}

// LastFrame returns the lines that a picture of WriteSVG shows at its end,
// without the cursor and empty lines.
func LastFrame(svg io.Reader) ([]string, error) {
	var picture struct {
		Texts []struct {
			Class string `xml:"class,attr"`
			Inner string `xml:",innerxml"`
		} `xml:"text"`
	}
	if err := xml.NewDecoder(svg).Decode(&picture); err != nil {
		return nil, err
	}
	var lines []string
	for _, t := range picture.Texts {
		if t.Class == "x" {
			continue
		}
		text, err := characters(t.Inner)
		if err != nil {
			return nil, err
		}
		if text = strings.TrimRight(text, "█ "); text != "" {
			lines = append(lines, text)
		}
	}
	return lines, nil
}

// characters returns the text of XML without its elements.
func characters(text string) (string, error) {
	var b strings.Builder
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.Token()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		if c, ok := token.(xml.CharData); ok {
			b.Write(c)
		}
	}
}
