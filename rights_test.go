package juggler_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/glob"
	"github.com/juggler-go/juggler/jugglertest"
	"github.com/juggler-go/juggler/rules"
)

// shownAuthorizers are all authorizers that documents and examples show, each in a function
// named as its key with the very text that is shown, and what they mean to allow by name.
var shownAuthorizers = map[string]struct {
	make func() (juggler.Authorizer, error)
	// allows is what by name. The user is also the user's role; "" is nobody.
	allows func(user string, typ frame.Type, name string) bool
}{
	"shownInGuide": {shownInGuide, allowsInGuide},
	"shownInGuideForRooms": {shownInGuideForRooms, func(user string, typ frame.Type, name string) bool {
		if room, ok := strings.CutPrefix(name, "rooms."); ok && typ != frame.Call {
			return memberships{}.is(room, user)
		}
		return allowsInGuide(user, typ, name)
	}},
	"shownInExample": {shownInExample, func(user string, typ frame.Type, name string) bool {
		return typ != frame.Call && isOf(user, "user.", name)
	}},
	"shownForReload": {shownForReload, func(string, frame.Type, string) bool { return false }},
	"shownAsFresh": {shownAsFresh, func(_ string, typ frame.Type, name string) bool {
		return typ == frame.Sub && strings.HasPrefix(name, "public.")
	}},
	"shownInReadme": {shownInReadme, func(_ string, typ frame.Type, name string) bool {
		if typ == frame.Call {
			return strings.HasPrefix(name, "math.")
		}
		return strings.HasPrefix(name, "news.")
	}},
	"shownInTutorial": {shownInTutorial, func(_ string, typ frame.Type, name string) bool {
		if typ == frame.Call {
			return strings.HasPrefix(name, "chat.")
		}
		return name == "room"
	}},
	"shownInWholeMain": {shownInWholeMain, func(_ string, typ frame.Type, name string) bool {
		return typ == frame.Call && name == "report.make"
	}},
	"shownInFirstHour": {shownInFirstHour, func(user string, typ frame.Type, name string) bool {
		switch typ {
		case frame.Call:
			return name == "greet" && user != ""
		case frame.Sub:
			return name == "greetings" && user != "" || isOf(user, "users.", name)
		}
		return false
	}},
}

// isOf reports whether a name is of a user alone: its end of the user's name is a dot.
func isOf(user, beginning, name string) bool {
	return user != "" && !strings.Contains(user, ".") && strings.HasPrefix(name, beginning+user+".")
}

func allowsInGuide(user string, typ frame.Type, name string) bool {
	public := strings.HasPrefix(name, "public.")
	switch typ {
	case frame.Call:
		return user != "" && strings.HasPrefix(name, "math.")
	case frame.Sub:
		return public || isOf(user, "users.", name)
	}
	return public && (user == "root" || user == "editor")
}

func shownInGuide() (juggler.Authorizer, error) {
	return rules.Compile(
		rules.Rule{Who: []string{rules.Everyone}, Subscribe: []string{"public.*"}},
		rules.Rule{Who: []string{rules.Authenticated}, Call: []string{"math.*"}, Subscribe: []string{"users.{user}.*"}},
		rules.Rule{Who: []string{"role=editor", "user=root"}, Publish: []string{"public.*"}},
	)
}

func shownInGuideForRooms() (juggler.Authorizer, error) {
	may, err := shownInGuide()
	var db memberships
	option := authorizers{}
	option.WithAuthorizer(juggler.AuthorizerFunc(func(ctx context.Context, r *juggler.Request) error {
		room, ok := strings.CutPrefix(r.Channel(), "rooms.")
		if !ok {
			return may.Authorize(ctx, r) // no room: as the rules say
		}
		member, err := db.IsMember(ctx, room, r.Session().User())
		if err == nil && !member {
			err = juggler.ErrForbidden
		}
		return err // what is no *juggler.Error becomes code 500, and is logged
	}))
	return option.Authorizer, err
}

func shownInExample() (juggler.Authorizer, error) {
	own := []string{"user.{user}.*"}
	return rules.Compile(rules.Rule{Who: []string{rules.Authenticated}, Publish: own, Subscribe: own})
}

func shownForReload() (juggler.Authorizer, error) {
	var current atomic.Pointer[rules.Rules]
	current.Store(new(rules.Rules))
	option := authorizers{}
	option.WithAuthorizer(juggler.NonBlocking(
		func(ctx context.Context, r *juggler.Request) error { return current.Load().Authorize(ctx, r) }))
	return option.Authorizer, nil
}

func shownAsFresh() (juggler.Authorizer, error) {
	return rules.Compile(rules.Rule{Who: []string{rules.Everyone}, Subscribe: []string{"public.*"}})
}

func shownInReadme() (juggler.Authorizer, error) {
	return rules.Compile(rules.Rule{Who: []string{rules.Everyone}, Call: []string{"math.*"}, Subscribe: []string{"news.*"}, Publish: []string{"news.*"}})
}

func shownInTutorial() (juggler.Authorizer, error) {
	return rules.Compile(rules.Rule{Who: []string{rules.Everyone}, // who may do what; all else is refused
		Call: []string{"chat.*"}, Subscribe: []string{"room"}, Publish: []string{"room"}})
}

func shownInWholeMain() (juggler.Authorizer, error) {
	return rules.Compile(rules.Rule{Who: []string{rules.Everyone}, Call: []string{"report.make"}})
}

func shownInFirstHour() (juggler.Authorizer, error) {
	return rules.Compile(
		rules.Rule{Who: []string{rules.Authenticated}, Call: []string{"greet"}, Subscribe: []string{"greetings", "users.{user}.*"}},
	)
}

// authorizers keeps what is shown as an option.
type authorizers struct{ juggler.Authorizer }

func (a *authorizers) WithAuthorizer(is juggler.Authorizer) { a.Authorizer = is }

// memberships are who is in which room, those of hostile names included.
type memberships struct{}

func (memberships) is(room, user string) bool {
	return room == "go" && user == "ann" || room == "*" && user == "*"
}

func (m memberships) IsMember(_ context.Context, room, user string) (bool, error) {
	return m.is(room, user), nil
}

// hostileUsers have names that mean something in patterns, rules, or beside other names.
var hostileUsers = []string{"", "ann", "bob", "ANN", "ann.b", "ann.b.mail", ".", "*", "?", "a*", "a?n", "[ab]nn", "[", "]", "^", `\`, `ann\`, "{user}", "root", "Root", "editor", "anonymous", "everyone"}

// hostileNames are of all users, of administrators, and beside those that are allowed.
func hostileNames() []string {
	names := []string{"admin.secrets", "ADMIN.secrets", "public", "public.", "public.news", "Public.news", "publicity", "news.go", "news", "math.add", "math", "chat.shout", "chat", "greet", "greetings", "greet.x", "room", "rooms", "rooms.go", "rooms.GO", "rooms.*", "rooms.x", "rooms.", "user..mail", "users..mail", "user.", "*", "?", "[a]", `\`}
	for _, user := range hostileUsers {
		names = append(names, "user."+user+".mood", "users."+user+".mail", "users."+user, "rooms."+user)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// hostilePatterns match some of hostileNames, and are names themselves.
func hostilePatterns() []string {
	patterns := []string{"*", "**", "?*", "[a-z]*", "[^x]*", `\p*`, "public.*", "public*", "[p]ublic.*", "news.*", "news*", "*.mail", "*.secrets", "admin.*", "user.*", "users.*", "users.*.mail", "user.?nn.*", "users.[ab]*", "users.ann.*", "users.ann*", "rooms.*", "rooms.[g]o", "rooms.g?", "rooms.go", "room*", "greet*", `greetings\`, "room"}
	for _, user := range hostileUsers {
		for _, name := range []string{user, client.QuotePattern(user)} {
			patterns = append(patterns, "user."+name+".*", "users."+name+".*", "users."+name+".mai[l]", "rooms."+name)
		}
	}
	slices.Sort(patterns)
	return slices.Compact(patterns)
}

// Each authorizer that is shown allows by name what it means to, in each of the three ways
// that clients may name something, and no pattern that matches more.
func TestShownAuthorizersUnderAttack(t *testing.T) {
	for name, shown := range shownAuthorizers {
		t.Run(name, func(t *testing.T) {
			authorizer, err := shown.make()
			if err != nil {
				t.Fatal(err)
			}
			srv := jugglertest.New(t, juggler.WithAuthorizer(authorizer), juggler.WithLogger(quiet),
				juggler.WithSessionRates(juggler.Rates{Messages: juggler.Rate{PerSecond: 1_000_000}}),
				juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
					return &juggler.Identity{User: r.Header.Get("User"), Attributes: []juggler.Attribute{{Name: "role", Value: r.Header.Get("User")}}}, nil
				}))
			for _, user := range hostileUsers {
				c := srv.Client(client.WithHTTPHeader(http.Header{"User": {user}}))
				tryAll(t, c, user, shown.allows)
			}
		})
	}
}

func tryAll(t *testing.T, c *client.Client, user string, allows func(string, frame.Type, string) bool) {
	names, refused := hostileNames(), make(map[frame.Type][]string)
	for _, name := range names {
		for typ, err := range map[frame.Type]error{
			frame.Call: c.Call(t.Context(), name, nil, nil),
			frame.Sub:  subscribeOnce(t.Context(), c, name),
			frame.Pub:  c.Publish(t.Context(), name, 1),
		} {
			if got := !errors.Is(err, client.CodeForbidden); got != allows(user, typ, name) {
				t.Errorf("user %q: %v %q is allowed: %v (%v)", user, typ, name, got, err)
			}
			if !allows(user, typ, name) {
				refused[typ] = append(refused[typ], name)
			}
		}
	}
	for _, beginning := range []string{"user.", "users."} {
		if own := beginning + client.QuotePattern(user) + ".*"; allows(user, frame.Sub, beginning+user+".mood") {
			if err := subscribeOnce(t.Context(), c, own, client.Pattern()); err != nil {
				t.Errorf("user %q may not subscribe to %q: %v", user, own, err)
			}
		}
	}
	for _, pattern := range hostilePatterns() {
		if err := subscribeOnce(t.Context(), c, pattern, client.Pattern()); errors.Is(err, client.CodeForbidden) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		matches := glob.Compile(pattern).Match
		if i := slices.IndexFunc(refused[frame.Sub], matches); i >= 0 {
			t.Errorf("user %q may subscribe to the pattern %q, and so to %q", user, pattern, refused[frame.Sub][i])
		}
	}
}

func subscribeOnce(ctx context.Context, c *client.Client, name string, opts ...client.SubscribeOption) error {
	sub, err := c.Subscribe(ctx, name, opts...)
	if err != nil {
		return err
	}
	sub.Unsubscribe()
	return nil
}

// What documents and examples show of rights is what is under attack above.
func TestShownAuthorizersAreAttacked(t *testing.T) {
	attacked, used := make(map[string]string), make(map[string]bool)
	for name, text := range shownFunctions(t) {
		for _, snippet := range rightsSnippets(text) {
			attacked[snippet] = name
		}
		if _, ok := shownAuthorizers[name]; !ok {
			t.Errorf("%s is not in shownAuthorizers", name)
		}
	}
	for path, text := range shownTexts(t) {
		for _, snippet := range rightsSnippets(text) {
			name, ok := attacked[snippet]
			if used[name] = true; !ok {
				t.Errorf("%s shows an authorizer that no test attacks: put it into shownAuthorizers of rights_test.go\n%s", path, snippet)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shownAuthorizers)) {
		if !used[name] {
			t.Errorf("nothing shows %s any more", name)
		}
	}
}

// shownFunctions returns the texts of the functions with what is shown.
func shownFunctions(t *testing.T) map[string]string {
	t.Helper()
	text, set := readDoc(t, "rights_test.go"), token.NewFileSet()
	file, err := parser.ParseFile(set, "rights_test.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	functions := make(map[string]string)
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "shown") && f.Type.Params.NumFields() == 0 {
			functions[f.Name.Name] = text[set.Position(f.Pos()).Offset:set.Position(f.End()).Offset]
		}
	}
	return functions
}

// shownTexts returns the documents, and what go doc shows, examples and comments, by their
// paths.
func shownTexts(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "node_modules" || name == "dist" || len(name) > 1 && name[0] == '.'):
			return filepath.SkipDir
		case strings.HasSuffix(name, ".md"), strings.HasPrefix(name, "example_") && strings.HasSuffix(name, "_test.go"):
			texts[path] = readDoc(t, path)
		case strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go"):
			texts[path] = strings.Join(comments.FindAllString(readDoc(t, path), -1), "\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

var (
	showsRights = regexp.MustCompile(`\b(rules\.Compile|(?:juggler|option)\.WithAuthorizer)\(`)
	isElsewhere = regexp.MustCompile(`^(\w+|juggler\.AllowAll\(\))$`)
	comments    = regexp.MustCompile(`(?m)^\s*//.*$`)
	commented   = regexp.MustCompile(`(?m)^\s*//`)
)

// rightsSnippets returns the calls in a text that say who may do what, without the name of
// the function and in one form, whether they are in code or in a comment.
func rightsSnippets(text string) (snippets []string) {
	for _, at := range showsRights.FindAllStringIndex(text, -1) {
		depth, end := 1, at[1]
		for ; depth > 0 && end < len(text); end++ {
			depth += strings.Count(text[end:end+1], "(") - strings.Count(text[end:end+1], ")")
		}
		inside := commented.ReplaceAllString(text[at[1]:end-1], "")
		if inside = strings.Join(strings.Fields(inside), " "); !isElsewhere.MatchString(inside) {
			snippets = append(snippets, inside)
		}
	}
	return snippets
}
