package memory_test

import (
	"strings"
	"testing"

	"github.com/juggler-go/juggler/broker/memory"
)

// globs are patterns with texts that match (in match) and that do not.
var globs = []struct {
	pattern string
	match   []string
	differ  []string
}{
	{"*", []string{"", "a", "a.b", "\x00"}, nil},
	{"**", []string{"", "a"}, nil},
	{"", []string{""}, []string{"a"}},
	{"?", []string{"a", "?", "\xff"}, []string{"", "ab", "é"}},
	{"??", []string{"é", "ab"}, []string{"a"}},
	{"news.*", []string{"news.", "news.go"}, []string{"news", "anews.go", "NEWS.go"}},
	{"*.go", []string{".go", "a.go"}, []string{"go", "a.gox"}},
	{"a*b*c", []string{"abc", "abbcc", "acbc"}, []string{"ab", "acb"}},
	{"*ab", []string{"ab", "aab", "abab"}, []string{"aba"}},
	{"a*?", []string{"ab", "abc"}, []string{"a"}},

	{"h[ae]llo", []string{"hello", "hallo"}, []string{"hillo", "hllo"}},
	{"h[^e]llo", []string{"hallo", "h^llo"}, []string{"hello"}},
	{"[!a]", []string{"!", "a"}, []string{"b"}},
	{"[a^]", []string{"a", "^"}, []string{"b"}},
	{"[a-c]", []string{"a", "b", "c"}, []string{"-", "d"}},
	{"[c-a]", []string{"a", "b", "c"}, []string{"-", "d"}},
	{"[^a-c]", []string{"d", "-"}, []string{"a", "b"}},
	{"[a-]", []string{"]", "^", "_", "`", "a"}, []string{"-", "b"}},
	{"[a-]x]", []string{"]", "a", "x"}, []string{"-", "b", "]x]"}},
	{"[--/]", []string{"-", ".", "/"}, []string{","}},
	{"[-a]", []string{"-", "a"}, []string{"b"}},
	{"[]", nil, []string{"", "[]", "]"}},
	{"[]a]", nil, []string{"a", "]", "aa]"}},
	{"[^]", []string{"a", "]"}, []string{""}},

	{`\*`, []string{"*"}, []string{"a", `\*`}},
	{`\\`, []string{`\`}, []string{`\\`}},
	{`\a`, []string{"a"}, []string{`\a`}},
	{`a\`, []string{`a\`}, []string{"a"}},
	{`[\]]`, []string{"]"}, []string{`\`}},
	{`[\-a]`, []string{"-", "a"}, []string{`\`}},
	{`[a\-c]`, []string{"a", "-", "c"}, []string{"b", `\`}},
	{`[a-\]`, []string{"a", `\`, "]", "_"}, []string{"b", "-"}},
	{`[\`, []string{`\`}, []string{"["}},

	{"[abc", []string{"a", "b", "c"}, []string{"[abc", "d"}},
	{"[^abc", []string{"d"}, []string{"a", "[^abc"}},
	{"[", nil, []string{"", "[", "a"}},
	{"[^", []string{"a", "^"}, []string{"", "[^"}},
	{"[a-", []string{"a", "-"}, []string{"b"}},
}

func TestMatchGlob(t *testing.T) {
	for _, g := range globs {
		for _, text := range g.match {
			if !memory.MatchGlob(g.pattern, text) {
				t.Errorf("%q does not match %q", g.pattern, text)
			}
		}
		for _, text := range g.differ {
			if memory.MatchGlob(g.pattern, text) {
				t.Errorf("%q matches %q", g.pattern, text)
			}
		}
	}
}

// A matcher that tries all ways to share out the text among the stars would
// not end in the lifetime of the test.
func TestMatchGlobWithManyStars(t *testing.T) {
	text := strings.Repeat("a", 10_000)
	if memory.MatchGlob(strings.Repeat("*a", 50)+"*b", text) {
		t.Error("matched without a b")
	}
	if !memory.MatchGlob(strings.Repeat("a*", 500)+"b", text+"b") {
		t.Error("did not match with a b")
	}
}

// The matcher agrees with one that is slow and simple.
func FuzzMatchGlob(f *testing.F) {
	for _, g := range globs {
		for _, text := range append(g.match, g.differ...) {
			f.Add(g.pattern, text)
		}
	}
	f.Add("*a*[b-d]?*\\**", "xxaxcx*x*")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 100 || len(text) > 100 {
			return
		}
		want := matchElements(parseGlob(pattern), text)
		if got := memory.MatchGlob(pattern, text); got != want {
			t.Errorf("pattern %q, text %q: matched: %v, want %v", pattern, text, got, want)
		}
	})
}

// An element of a pattern is a star or the set of the bytes that it accepts.
type element struct {
	star bool
	set  [256]bool
}

// parseGlob takes a pattern apart, by what the comment of matchGlob says.
func parseGlob(pattern string) (elements []element) {
	next := func() byte {
		b := pattern[0]
		pattern = pattern[1:]
		return b
	}
	for pattern != "" {
		var e element
		switch b := next(); {
		case b == '*':
			e.star = true
		case b == '?':
			for i := range e.set {
				e.set[i] = true
			}
		case b == '[':
			negated := strings.HasPrefix(pattern, "^")
			if negated {
				next()
			}
			for pattern != "" {
				b := next()
				if b == ']' {
					break
				}
				switch {
				case b == '\\' && pattern != "":
					e.set[next()] = true
				case len(pattern) >= 2 && pattern[0] == '-':
					next()
					for i, to := int(min(b, pattern[0])), int(max(b, pattern[0])); i <= to; i++ {
						e.set[i] = true
					}
					next()
				default:
					e.set[b] = true
				}
			}
			for i := range e.set {
				e.set[i] = e.set[i] != negated
			}
		case b == '\\' && pattern != "":
			e.set[next()] = true
		default:
			e.set[b] = true
		}
		elements = append(elements, e)
	}
	return elements
}

// matchElements keeps the set of all places in the pattern where the matching
// may stand after each byte.
func matchElements(elements []element, text string) bool {
	at := make([]bool, len(elements)+1)
	at[0] = true
	passStars := func() {
		for i, e := range elements {
			if at[i] && e.star {
				at[i+1] = true
			}
		}
	}
	passStars()
	for _, b := range []byte(text) {
		next := make([]bool, len(elements)+1)
		for i, e := range elements {
			if at[i] && e.star {
				next[i] = true
			} else if at[i] && e.set[b] {
				next[i+1] = true
			}
		}
		at = next
		passStars()
	}
	return at[len(elements)]
}
