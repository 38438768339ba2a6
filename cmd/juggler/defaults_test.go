package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

// documented is the default in the comment of an option, whose package tests that
// it is true.
var documented = regexp.MustCompile(`(?:Default:|Default, and|the default is|[,;] default) (\d[\d,]*|true|"\w+")(?: (bytes|[KMG]iB|ms|s|min)\b)?`)

// documentedDefaults returns the defaults that a package documents, by the name of
// the option and as flags take them.
func documentedDefaults(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	unit := strings.NewReplacer("bytes", "", "min", "m")
	defaults := make(map[string]string)
	for _, d := range f.Decls {
		option, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		comment := strings.ReplaceAll(option.Doc.Text(), "\n", " ")
		if m := documented.FindStringSubmatch(comment); m != nil {
			defaults[option.Name.Name] = strings.Trim(strings.ReplaceAll(m[1], ",", ""), `"`) + unit.Replace(m[2])
		}
	}
	return defaults
}

// withOption returns the name of the option that a flag is named after.
func withOption(flag string) string {
	name := "With"
	for word := range strings.SplitSeq(flag, "-") {
		name += strings.ToUpper(word[:1]) + word[1:]
	}
	return name
}

// What a setting is by default, its option is too: a program with the library in it
// and the command behave alike. Where the default of a setting is 0, or none, and
// stands for leaving the option out, its help says what the option's is.
func TestDefaultsAreTheLibrarys(t *testing.T) {
	leftOut := map[string]string{"max-sessions": "0: 65536, or", "redis-lanes": "0: 1, in a cluster 16", "default-protocol": "none: they are refused"}
	serve, _, _ := newRoot().Find([]string{"serve"})
	callee, _, _ := newRoot().Find([]string{"callee"})
	own := func(bind func(*pflag.FlagSet)) *pflag.FlagSet { // without those of other options of the same name
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		bind(flags)
		return flags
	}
	concurrency := pflag.NewFlagSet("", pflag.ContinueOnError)
	concurrency.AddFlag(callee.Flags().Lookup("concurrency"))
	for _, tt := range []struct {
		options, prefix string
		flags           *pflag.FlagSet
	}{
		{"../../options.go", "", own(new(limitFlags).bind)},
		{"../../broker/redis/options.go", "redis-", own(func(flags *pflag.FlagSet) { f := new(engine.Flags); f.Bind(flags); f.BindServer(flags) })},
		{"../../calleekit/options.go", "", concurrency},
	} {
		defaults := documentedDefaults(t, tt.options)
		tt.flags.VisitAll(func(f *pflag.Flag) {
			if help, ok := leftOut[f.Name]; ok {
				if delete(leftOut, f.Name); !strings.Contains(f.Usage, help) {
					t.Errorf("the help of --%s does not say %q", f.Name, help)
				}
				return
			}
			option := withOption(strings.TrimPrefix(f.Name, tt.prefix))
			want, ok := defaults[option]
			if _, _, bounded := settings.Bounds(f); bounded && !ok {
				t.Errorf("%s: found no default of %s, for --%s", tt.options, option, f.Name)
			}
			if !ok {
				return
			}
			if err := f.Value.Set(want); err != nil {
				t.Errorf("--%s: %v", f.Name, err)
			} else if got := f.Value.String(); got != f.DefValue {
				t.Errorf("the default of --%s is %s, of %s %s", f.Name, f.DefValue, option, got)
			}
		})
	}
	for flag := range leftOut {
		t.Errorf("there is no --%s any more", flag)
	}
	operations, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	stated := regexp.MustCompile("`--([a-z-]+)` \\((\\d+) (s|ms)\\)").FindAllStringSubmatch(string(operations), -1)
	if len(stated) < 2 {
		t.Errorf("docs/operations.md states %d defaults of settings", len(stated))
	}
	for _, m := range stated {
		if f := serve.Flags().Lookup(m[1]); f == nil || f.DefValue != m[2]+m[3] {
			t.Errorf("docs/operations.md says %s", m[0])
		}
	}
}
