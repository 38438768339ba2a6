package rules_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/glob"
	"github.com/juggler-go/juggler/internal/race"
	"github.com/juggler-go/juggler/rules"
)

// somebody is a session with a user and attributes, each NAME=VALUE.
type somebody struct {
	user       string
	attributes []string
}

func (s *somebody) User() string { return s.user }

func (s *somebody) HasAttribute(name, value string) bool {
	for _, a := range s.attributes {
		if n, v, _ := strings.Cut(a, "="); n == name && v == value {
			return true
		}
	}
	return false
}

func compile(t testing.TB, list ...rules.Rule) *rules.Rules {
	t.Helper()
	r, err := rules.Compile(list...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func everyone(names ...string) rules.Rule {
	return rules.Rule{Who: []string{rules.Everyone}, Subscribe: names}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		rule, user, requested string
		want                  bool
	}{
		{"news", "", "news", true},
		{"news", "", "news.go", false},
		{"news", "", "NEWS", false},
		{"news", "", "", false},
		{"news.*", "", "news.go", true},
		{"news.*", "", "news.", true},
		{"news.*", "", "news", false},
		{"*", "", "anything", true},
		{`a\b`, "", `a\b`, true},
		{"users.{user}.*", "ann", "users.ann.mail", true},
		{"users.{user}.*", "ann", "users.anna.mail", false},
		{"users.{user}.*", "ann", "users.Ann.mail", false},
		{"users.{user}.*", "", "users..mail", false},
		{"users.{user}", "ann", "users.ann", true},
		{"users.{user}", "", "users.", false},
		{"users.{user}", "a.b", "users.a.b", true},
		{"{user}", "ann", "ann", true},
		{"{user}-{user}", "ann", "ann-ann", true},
		{"{user}-{user}", "ann", "ann-bob", false},
		// Names of users stand for themselves.
		{"users.{user}.*", "*", "users.*.x", true},
		{"users.{user}.*", "*", "users.ann.x", false},
		{"users.{user}.*", "?", "users.a.x", false},
		{"users.{user}.*", "[a]", "users.a.x", false},
		{"users.{user}.*", "{user}", "users.ann.x", false},
		{"users.{user}.*", `\`, `users.\.x`, true},
		// Nobody knows where the name of ann.b ends, or whether it is one.
		{"users.{user}.*", "ann.b", "users.ann.b.x", false},
		{"users.{user}.*", "ann", "users.ann.b.x", true},
		{"users.{user}.mail", "ann.b", "users.ann.b.mail", false},
		{"users.{user}/*", "ann.b", "users.ann.b/x", true},
	} {
		r := compile(t, everyone(tt.rule))
		if got := r.Allows(&somebody{user: tt.user}, frame.Sub, tt.requested, false); got != tt.want {
			t.Errorf("%q for user %q allows %q: %v", tt.rule, tt.user, tt.requested, got)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		rule, user, pattern string
		want                bool
	}{
		{"news.*", "", "news.*", true},
		{"news.*", "", "news.go*", true},
		{"news.*", "", "news.?", true},
		{"news.*", "", "news*", false},
		{"news.*", "", "*", false},
		{"news.*", "", "", false},
		{"news.*", "", "[n]ews.go", true},
		{"news.*", "", "[nm]ews.go", false},
		{"news.*", "", `news\.go`, true},
		{"news.*", "", `news.\*`, true},
		{"news", "", "news", false},
		{"*", "", "*", true},
		{"*", "", "", true},
		{"users.{user}.*", "ann", "users.ann.*", true},
		{"users.{user}.*", "ann", "users.*", false},
		{"users.{user}.*", "*", "users.*.x", false},
		{"users.{user}.*", "*", `users.\*.*`, true},
		{"users.{user}.*", "?", "users.?.x", false},
		{"users.{user}.*", "?", `users.\?.x*`, true},
		{"users.{user}.*", "[a]", "users.[a].x", false},
		{"users.{user}.*", "[a]", `users.\[a].x*`, true},
		{"users.{user}.*", `\`, `users.\.x*`, false},
		{"users.{user}.*", `\`, `users.\\.x*`, true},
		{"users.{user}.*", "", "users..*", false},
		{"users.{user}.*", "ann", "users.ANN.*", false},
	} {
		r := compile(t, everyone(tt.rule))
		if got := r.Allows(&somebody{user: tt.user}, frame.Sub, tt.pattern, true); got != tt.want {
			t.Errorf("%q for user %q allows the pattern %q: %v", tt.rule, tt.user, tt.pattern, got)
		}
	}
}

func TestWho(t *testing.T) {
	nobody, ann := &somebody{}, &somebody{user: "ann", attributes: []string{"role=reader", "role=editor"}}
	for _, tt := range []struct {
		who         string
		nobody, ann bool
	}{
		{"everyone", true, true},
		{"anonymous", true, false},
		{"authenticated", false, true},
		{"user=ann", false, true},
		{"user=an", false, false},
		{"role=editor", false, true},
		{"role=edit", false, false},
		{"role=reader editor", false, false},
		{"Role=editor", false, false},
	} {
		r := compile(t,
			rules.Rule{Who: []string{"user=root", tt.who}, Call: []string{"c"}},
			rules.Rule{Who: []string{tt.who}, Publish: []string{"p"}, Subscribe: []string{"s"}})
		for _, asks := range []struct {
			who  *somebody
			want bool
		}{{nobody, tt.nobody}, {ann, tt.ann}} {
			for typ, own := range map[frame.Type]string{frame.Call: "c", frame.Sub: "s", frame.Pub: "p"} {
				for _, name := range []string{"c", "s", "p"} {
					if got := r.Allows(asks.who, typ, name, false); got != (asks.want && name == own) {
						t.Errorf("%s: %+v: %v %s: %v", tt.who, asks.who, typ, name, got)
					}
				}
			}
		}
	}
	if new(rules.Rules).Allows(ann, frame.Call, "", false) {
		t.Error("no rules allow something")
	}
}

// Rules that stand in a program are right, or it does not start.
func TestMustCompile(t *testing.T) {
	who := []string{rules.Everyone}
	if may := rules.MustCompile(rules.Rule{Who: who, Call: []string{"x"}}); !may.Allows(&somebody{}, frame.Call, "x", false) {
		t.Error("not what Compile makes")
	}
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "rule 1: ") {
			t.Errorf("panicked with %v", r)
		}
	}()
	rules.MustCompile(rules.Rule{Who: who})
}

func TestCompileErrors(t *testing.T) {
	who := []string{"everyone"}
	for want, r := range map[string]rules.Rule{
		`who is empty: want everyone, if that is meant`:                                                                      {Call: []string{"x"}},
		`who: "ann": want everyone, anonymous, authenticated, user=NAME or ATTRIBUTE=VALUE`:                                  {Who: []string{"ann"}, Call: []string{"x"}},
		`who: "user=": want everyone, anonymous, authenticated, user=NAME or ATTRIBUTE=VALUE`:                                {Who: []string{"user="}, Call: []string{"x"}},
		`who: "": want everyone, anonymous, authenticated, user=NAME or ATTRIBUTE=VALUE`:                                     {Who: []string{""}, Call: []string{"x"}},
		`the rule allows nothing: want call, subscribe or publish`:                                                           {Who: who},
		`call: "a*b": want a name, or the beginning of names followed by *`:                                                  {Who: who, Call: []string{"x", "a*b"}},
		`subscribe: a name is empty`:                                                                                         {Who: who, Subscribe: []string{""}},
		`publish: "u.{user}*": want something after {user} that shows where the name of the user ends, such as a dot`:        {Who: who, Publish: []string{"u.{user}*"}},
		`publish: "u.{user}{user}.x": want something after {user} that shows where the name of the user ends, such as a dot`: {Who: who, Publish: []string{"u.{user}{user}.x"}},
	} {
		_, err := rules.Compile(everyone("fine"), r)
		if err == nil || err.Error() != "rule 2: "+want {
			t.Errorf("%+v: %v, want %s", r, err, want)
		}
	}
	_, err := rules.Compile(rules.Rule{}, rules.Rule{Who: []string{"x"}, Call: []string{"?"}})
	if n := strings.Count(err.Error(), "\n"); n != 3 {
		t.Errorf("want all that is wrong, have %v", err)
	}
}

// letters are those of small names, so that many of them match.
const letters = `ab.*?[]\^-`

func someName(most int) string {
	b := make([]byte, rand.IntN(most+1))
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return string(b)
}

// allNames calls f with each name of up to n letters.
func allNames(n int, f func(string)) {
	var add func(string)
	add = func(name string) {
		if f(name); len(name) < n {
			for i := range len(letters) {
				add(name + letters[i:i+1])
			}
		}
	}
	add("")
}

// A pattern that is allowed matches no channel that is refused.
func TestAllowedPatternsMatchWhatIsAllowed(t *testing.T) {
	allowed := 0
	for range 300 {
		var list []rules.Rule
		for range 1 + rand.IntN(3) {
			text := strings.Map(func(r rune) rune {
				if strings.ContainsRune("*?[", r) {
					return 'a'
				}
				return r
			}, someName(2))
			rule := everyone(text + []string{"*", "{user}", "{user}.*", "{user}b*", "b"}[rand.IntN(5)])
			if _, err := rules.Compile(rule); err == nil {
				list = append(list, rule)
			}
		}
		r, who := compile(t, list...), &somebody{user: someName(2)}
		for range 40 {
			pattern := someName(4)
			if rand.IntN(2) == 0 {
				pattern = glob.Quote(who.user) + "." + pattern
			}
			if !r.Allows(who, frame.Sub, pattern, true) {
				continue
			}
			allowed++
			compiled := glob.Compile(pattern)
			try := func(channel string) {
				if compiled.Match(channel) && !r.Allows(who, frame.Sub, channel, false) {
					t.Fatalf("%+v: user %q may subscribe to the pattern %q, but not to %q", list, who.user, pattern, channel)
				}
			}
			allNames(2, try)
			for range 500 {
				try(compiled.Prefix() + someName(3))
				try(someName(4))
			}
		}
	}
	if allowed < 100 {
		t.Errorf("only %d patterns were allowed", allowed)
	}
}

// What is allowed by name costs no allocation, nor does what is refused.
func TestDecisionsDoNotAllocate(t *testing.T) {
	r := compile(t, everyone("public.*"),
		rules.Rule{Who: []string{"user=root", "role=editor"}, Call: []string{"math.add"}, Subscribe: []string{"news", "users.{user}.*"}})
	var who rules.Subject = &somebody{user: "ann", attributes: []string{"role=editor"}}
	for want, f := range map[bool]func() bool{
		true: func() bool {
			return r.Allows(who, frame.Call, "math.add", false) && r.Allows(who, frame.Sub, "news", false) && r.Allows(who, frame.Sub, "users.ann.mail", false)
		},
		false: func() bool {
			return r.Allows(who, frame.Call, "math.sub", false) || r.Allows(who, frame.Sub, "users.bob.mail", false)
		},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if f() != want {
				t.Errorf("want %v", want)
			}
		}); n != 0 && !race.Enabled {
			t.Errorf("%v allocations", n)
		}
	}
}

// Compile takes any text, and what it makes of it keeps to what names say of themselves.
func FuzzCompile(f *testing.F) {
	for _, name := range []string{"news", "news.*", "*", "users.{user}.*", "{user}", "{user}-{user}", "{user}*", "a*b", "", "{user}{user}", "{use", `\*`} {
		f.Add("everyone", name, "ann", "users.ann.x", `users.\*.*`)
		f.Add("role=editor", name, "*", "news", "news.*")
	}
	f.Add("user=ann", "{user}.*", "a.b", "a.b.x", `a\.b*`)
	f.Fuzz(func(t *testing.T, who, name, user, channel, pattern string) {
		r, err := rules.Compile(everyone("never"), rules.Rule{Who: []string{who}, Subscribe: []string{name}})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "rule 2: ") {
				t.Errorf("%v names no rule", err)
			}
			return
		}
		s := &somebody{user: user, attributes: []string{"role=editor"}}
		other := &somebody{user: user + "x", attributes: s.attributes}
		byName := r.Allows(s, frame.Sub, channel, false)
		switch {
		case byName && r.Allows(other, frame.Sub, channel, false) && strings.Contains(name, "{user}"):
			t.Errorf("%q of %q is of %q as well", channel, user, other.user)
		case r.Allows(s, frame.Pub, channel, false) || r.Allows(s, frame.Call, channel, false):
			t.Error("what is for subscribers is for others")
		case r.Allows(s, frame.Sub, pattern, true) && !byName && channel != "never" && glob.Compile(pattern).Match(channel):
			t.Errorf("%q of %q may have the pattern %q, but not %q", name, user, pattern, channel)
		}
	})
}
