package sources

import (
	"go/ast"
	"go/constant"
	"go/types"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A logCall is a call that writes a log line.
type logCall struct {
	call    *ast.CallExpr
	message int  // index of the argument; what follows are keys and values
	given   bool // the message is a parameter of the function
}

// logMethods are the methods of slog.Logger, with the index of the message.
var logMethods = map[string]int{
	"Debug": 0, "Info": 0, "Warn": 0, "Error": 0,
	"DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1, "Log": 2,
}

// slogMethod returns which method of slog.Logger is called, or "".
func slogMethod(p *sourcePackage, call *ast.CallExpr) string {
	if f := called(p, call); f != nil && strings.HasPrefix(f.FullName(), "(*log/slog.Logger).") {
		return f.Name()
	}
	return ""
}

// called returns the function or method that is called, or nil.
func called(p *sourcePackage, call *ast.CallExpr) *types.Func {
	name, ok := call.Fun.(*ast.Ident)
	if s, is := call.Fun.(*ast.SelectorExpr); is {
		name, ok = s.Sel, true
	}
	if !ok {
		return nil
	}
	f, _ := p.info.Uses[name].(*types.Func)
	return f
}

// wrappers returns our functions that log a message that they are given, by their
// full names, with the index of that parameter.
func wrappers(t *testing.T) map[string]int {
	all := make(map[string]int)
	each(t, func(p *sourcePackage, d *ast.FuncDecl) {
		f := p.info.Defs[d.Name].(*types.Func)
		params := f.Signature().Params()
		ast.Inspect(d, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if index, ok := logMethods[slogMethod(p, call)]; ok {
				if name, ok := call.Args[index].(*ast.Ident); ok {
					for i := range params.Len() {
						if p.info.Uses[name] == params.At(i) {
							all[f.FullName()] = i
						}
					}
				}
			}
			return true
		})
	})
	return all
}

// eachLog calls visit for every call that logs, with the function that it stands in.
func eachLog(t *testing.T, visit func(p *sourcePackage, in *ast.FuncDecl, l logCall)) {
	t.Helper()
	forwards := wrappers(t)
	each(t, func(p *sourcePackage, in *ast.FuncDecl) {
		_, forwarding := forwards[p.info.Defs[in.Name].(*types.Func).FullName()]
		ast.Inspect(in, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			to := called(p, call)
			if to == nil {
				return true
			}
			if index, ok := forwards[to.FullName()]; ok {
				visit(p, in, logCall{call, index, false})
			} else if index, ok := logMethods[slogMethod(p, call)]; ok {
				visit(p, in, logCall{call, index, forwarding})
			}
			return true
		})
	})
}

// documentedLog returns what docs/operations.md lists under "Log lines": the
// components and the keys.
func documentedLog(t *testing.T) (components, keys []string) {
	t.Helper()
	name := regexp.MustCompile("`([a-z_]+)`")
	for row := range strings.Lines(section(t, "docs/operations.md", "Log lines")) {
		cells := strings.Split(row, "|")
		if len(cells) != 4 {
			continue
		}
		for _, m := range name.FindAllStringSubmatch(cells[1], -1) {
			keys = append(keys, m[1])
		}
		if strings.TrimSpace(cells[1]) == "`component`" {
			for _, m := range name.FindAllStringSubmatch(cells[2], -1) {
				components = append(components, m[1])
			}
		}
	}
	return components, keys
}

// Every log line has the form that docs/operations.md promises.
func TestLogLines(t *testing.T) {
	_, keys := documentedLog(t)
	used := map[string]bool{"component": true, "not_logged_before": true}
	lines := 0
	eachLog(t, func(p *sourcePackage, in *ast.FuncDecl, l logCall) {
		lines++
		if !l.given {
			checkMessage(t, p, l.call.Args[l.message])
		}
		check := func(values []ast.Expr) { checkAttrs(t, p, values, keys, used) }
		if l.call.Ellipsis.IsValid() {
			eachAttrs(p, in, check)
		} else {
			check(l.call.Args[l.message+1:])
		}
	})
	each(t, func(p *sourcePackage, call *ast.CallExpr) {
		if slogMethod(p, call) == "With" {
			checkAttrs(t, p, call.Args, keys, used)
		}
	})
	if lines < 50 {
		t.Errorf("found %d log lines only", lines)
	}
	for _, key := range keys {
		if !used[key] {
			t.Errorf("docs/operations.md lists the key %q, which no log line has", key)
		}
	}
}

var (
	lowerCase = regexp.MustCompile(`^[a-z]`)
	prefixed  = regexp.MustCompile(`^\w+: `)
)

// checkMessage checks that a message is constant, in lower case, and does not begin
// with the name of a package: there is a component for that.
func checkMessage(t *testing.T, p *sourcePackage, message ast.Expr) {
	t.Helper()
	value := p.info.Types[message].Value
	if value == nil {
		t.Errorf("%s: the message is not constant", at(message))
		return
	}
	if text := constant.StringVal(value); !lowerCase.MatchString(text) || prefixed.MatchString(text) {
		t.Errorf("%s: message %q: want lower case and no prefix", at(message), text)
	}
}

// eachAttrs calls f for the keys and values that a function collects for a log
// line: in literals of []any, and in what it appends to one.
func eachAttrs(p *sourcePackage, in *ast.FuncDecl, f func([]ast.Expr)) {
	isAttrs := func(e ast.Expr) bool { return p.info.TypeOf(e).String() == "[]any" }
	ast.Inspect(in, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if isAttrs(n) {
				f(n.Elts)
			}
		case *ast.CallExpr:
			if name, ok := n.Fun.(*ast.Ident); ok && name.Name == "append" && isAttrs(n) && !n.Ellipsis.IsValid() {
				f(n.Args[1:])
			}
		}
		return true
	})
}

var errorType = types.Universe.Lookup("error").Type().Underlying().(*types.Interface)

// checkAttrs checks keys and values of a log line.
func checkAttrs(t *testing.T, p *sourcePackage, values []ast.Expr, keys []string, used map[string]bool) {
	t.Helper()
	for pair := range slices.Chunk(values, 2) {
		key := p.info.Types[pair[0]].Value
		if key == nil || key.Kind() != constant.String || len(pair) != 2 {
			continue // the one parameter that a wrapper takes in place of pairs
		}
		name := constant.StringVal(key)
		if used[name] = true; !slices.Contains(keys, name) {
			t.Errorf("%s: key %q is not in docs/operations.md", at(pair[0]), name)
		}
		if isError := types.Implements(p.info.TypeOf(pair[1]), errorType); isError != (name == "error") {
			t.Errorf("%s: key %q with a value that is an error: %v", at(pair[0]), name, isError)
		}
	}
}

// Each component names itself once, where its logger is set.
func TestLogComponents(t *testing.T) {
	want, _ := documentedLog(t)
	var got []string
	each(t, func(p *sourcePackage, call *ast.CallExpr) {
		if slogMethod(p, call) != "With" || len(call.Args) < 2 {
			return
		}
		if key := p.info.Types[call.Args[0]].Value; key != nil && constant.StringVal(key) == "component" {
			got = append(got, constant.StringVal(p.info.Types[call.Args[1]].Value))
		}
	})
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the components are %q, in docs/operations.md %q", got, want)
	}
}

// What clients or an outage bring about at once does not fill the log: the loggers of
// the library are bounded, each where it gets its component.
func TestLogsAreBounded(t *testing.T) {
	bounded := make(map[ast.Expr]bool)
	each(t, func(p *sourcePackage, call *ast.CallExpr) {
		if f := called(p, call); f != nil && strings.HasSuffix(f.FullName(), "internal/ratelog.New") {
			bounded[call.Args[0]] = true
		}
	})
	each(t, func(p *sourcePackage, call *ast.CallExpr) {
		if slogMethod(p, call) != "With" || bounded[call] || strings.HasPrefix(p.path, "cmd/") {
			return
		}
		if key := p.info.Types[call.Args[0]].Value; key != nil && constant.StringVal(key) == "component" {
			t.Errorf("%s: this logger is not passed to ratelog.New", at(call))
		}
	})
}
