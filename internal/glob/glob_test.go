package glob_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/glob"
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

func match(pattern, name string) bool { return glob.Compile(pattern).Match(name) }

func TestMatch(t *testing.T) {
	for _, g := range globs {
		for _, text := range g.match {
			if !match(g.pattern, text) {
				t.Errorf("%q does not match %q", g.pattern, text)
			}
		}
		for _, text := range g.differ {
			if match(g.pattern, text) {
				t.Errorf("%q matches %q", g.pattern, text)
			}
		}
	}
}

// costs are patterns that are dear for a matcher that goes back, and one beside them that
// is not.
var costs = map[string]string{
	"plain":         "*?" + strings.Repeat("a?", 100) + "*b?",
	"long":          "*" + strings.Repeat("a", 200) + "b*",
	"many stars":    strings.Repeat("*a", 100) + "*b?",
	"many brackets": "*" + strings.Repeat("[a-y]", 200) + "b*",
	"long brackets": strings.Repeat("*["+strings.Repeat("a", 1000)+"]", 100) + "b?",
}

// What a match costs is up to the lengths of name and pattern, not to what they are.
func TestMatchNeverGoesBack(t *testing.T) {
	name := strings.Repeat("a", 1000)
	compiled := make(map[string]*glob.Pattern)
	for what, pattern := range costs {
		compiled[what] = glob.Compile(pattern)
	}
	least := make(map[string]time.Duration)
	for range 20 { // the least of interleaved runs: others use the processor, too
		for what, p := range compiled {
			began := time.Now()
			for range 5 {
				if p.Match(name) {
					t.Fatalf("the pattern %q matches", costs[what])
				}
			}
			if took := time.Since(began); least[what] == 0 || took < least[what] {
				least[what] = took
			}
		}
	}
	for what, took := range least {
		if took > 5*least["plain"] {
			t.Errorf("a pattern with %s takes %v, a plain one %v", what, took, least["plain"])
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	name := strings.Repeat("a", 1000)
	for _, pattern := range append(slices.Collect(maps.Values(costs)), "*"+strings.Repeat("?", 256)+"*", "a*", "*a", "*[ab]") {
		p := glob.Compile(pattern)
		if n := testing.AllocsPerRun(10, func() { p.Match(name) }); n > 0 {
			t.Errorf("%v allocations for %q", n, pattern)
		}
	}
}

func TestBacktrack(t *testing.T) {
	for pattern, want := range map[string]int{
		"": 0, "a": 0, "a*": 0, "a[xyz]?**": 0, `\**`: 0, "[*]": 0, `a\*b`: 0, "*": 0,
		"*a": 1, "**ab*": 2, "a*[xyz]*": 5, `news.*.\?g`: 4, "*?[]": 3, "a*[b*c": 4,
		"a*b*c": -1, "*a*b": -1, "*a*b*": -1,
	} {
		if got := glob.Compile(pattern).Backtrack(); got != want {
			t.Errorf("%q: backtrack %d, want %d", pattern, got, want)
		}
	}
}

func TestPrefix(t *testing.T) {
	for pattern, want := range map[string]string{
		"": "", "*": "", "news.*.go": "news.", `a\*b?`: "a*b", "a[b]c[de]": "abc", "exact": "exact", "[^a]": "",
	} {
		p := glob.Compile(pattern)
		if got := p.Prefix(); got != want || glob.Prefix(pattern) != want {
			t.Errorf("%q: prefix %q, want %q", pattern, got, want)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	const news = "news.2026.11.go"
	for name, c := range map[string]struct{ pattern, channel string }{
		"prefix": {"news.*", news},
		"middle": {"news.*.go", news},
		"class":  {"n[a-f]ws.*?*", news},
		"worst":  {"*" + strings.Repeat("a", 250) + "b*", strings.Repeat("a", 1000)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			p := glob.Compile(c.pattern)
			for b.Loop() {
				p.Match(c.channel)
			}
		})
	}
}

// The matcher agrees with one that is slow and simple.
func FuzzMatch(f *testing.F) {
	for _, g := range globs {
		for _, text := range append(g.match, g.differ...) {
			f.Add(g.pattern, text)
		}
	}
	f.Add("*a*[b-d]?*\\**", "xxaxcx*x*")
	f.Add("x*"+strings.Repeat("[a-c]?", 40)+"*b*ba", "x"+strings.Repeat("abc", 40)+"bba")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 300 || len(text) > 300 {
			return
		}
		want := matchElements(parseGlob(pattern), text)
		if got := match(pattern, text); got != want {
			t.Errorf("pattern %q, text %q: matched: %v, want %v", pattern, text, got, want)
		}
	})
}

// An element of a pattern is a star or the set of the bytes that it accepts.
type element struct {
	star bool
	set  [256]bool
}

// parseGlob takes a pattern apart, by what the comment of the package says.
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
