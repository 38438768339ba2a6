package sources

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/frame"
)

var isCode = regexp.MustCompile(`(?i)code$`)

// codes returns the names of the codes that package frame declares, by value.
func codes(t *testing.T) map[int64]string {
	t.Helper()
	all := make(map[int64]string)
	each(t, func(p *sourcePackage, v *ast.ValueSpec) {
		for _, name := range v.Names {
			c, ok := p.info.Defs[name].(*types.Const)
			if p.path == "frame" && ok && regexp.MustCompile(`^(Code|Close)[A-Z]`).MatchString(name.Name) {
				n, _ := constant.Int64Val(c.Val())
				all[n] = name.Name
			}
		}
	})
	if len(all) < 25 {
		t.Fatalf("package frame has %d codes only", len(all))
	}
	return all
}

// The codes of the protocol are written as numbers in package frame only.
func TestCodesHaveNames(t *testing.T) {
	all := codes(t)
	each(t, func(p *sourcePackage, n ast.Node) {
		if p.path == "frame" {
			return
		}
		for _, e := range codePositions(p, n) {
			literal, ok := e.(*ast.BasicLit)
			if !ok || literal.Kind != token.INT {
				continue
			}
			if value, err := strconv.ParseInt(literal.Value, 0, 64); err == nil && all[value] != "" {
				t.Errorf("%s: %d is frame.%s, or that by the name that this package has for it", at(literal), value, all[value])
			}
		}
	})
}

// codePositions returns the parts of n of which the name beside them says that they
// are codes.
func codePositions(p *sourcePackage, n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		if named(n.Key) {
			return []ast.Expr{n.Value}
		}
	case *ast.BinaryExpr:
		if named(n.X) || named(n.Y) {
			return []ast.Expr{n.X, n.Y}
		}
	case *ast.AssignStmt:
		if named(n.Lhs[0]) {
			return n.Rhs
		}
	case *ast.SwitchStmt:
		if n.Tag != nil && named(n.Tag) {
			var all []ast.Expr
			for _, c := range n.Body.List {
				all = append(all, c.(*ast.CaseClause).List...)
			}
			return all
		}
	case *ast.ValueSpec:
		if name := n.Names[0].Name; named(n.Names[0]) || named(n.Type) || regexp.MustCompile(`^(?i:code|close)[A-Z]`).MatchString(name) {
			return n.Values
		}
	case *ast.CallExpr:
		return codeArguments(p, n)
	case *ast.FuncDecl:
		if named(n.Name) && n.Body != nil {
			return returned(n.Body)
		}
	}
	return nil
}

// named reports whether the last name in an expression says that it is a code.
func named(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return isCode.MatchString(e.Name)
	case *ast.SelectorExpr:
		return named(e.Sel)
	case *ast.CallExpr:
		return named(e.Fun) || len(e.Args) == 1 && named(e.Args[0]) // a conversion
	}
	return false
}

// codeArguments returns the arguments for parameters that are codes, and what is
// converted to one.
func codeArguments(p *sourcePackage, call *ast.CallExpr) (all []ast.Expr) {
	if p.info.Types[call.Fun].IsType() && named(call.Fun) {
		return call.Args
	}
	s, ok := p.info.TypeOf(call.Fun).(*types.Signature)
	if !ok {
		return nil
	}
	for i := range min(s.Params().Len(), len(call.Args)) {
		if isCode.MatchString(s.Params().At(i).Name()) {
			all = append(all, call.Args[i])
		}
	}
	return all
}

// returned returns what the body of a function returns.
func returned(body *ast.BlockStmt) (all []ast.Expr) {
	ast.Inspect(body, func(n ast.Node) bool {
		if r, ok := n.(*ast.ReturnStmt); ok {
			all = append(all, r.Results...)
		}
		return true
	})
	return all
}

var number = regexp.MustCompile(`\d{3,4}`)

// codeRows calls f for each row of a table of codes, with the codes in it and its last
// cell.
func codeRows(t *testing.T, heading string, f func(codes []int, last string)) {
	t.Helper()
	for row := range strings.Lines(section(t, "docs/protocol.md", heading)) {
		cells := strings.Split(row, "|")
		if len(cells) < 5 {
			continue
		}
		var all []int
		for _, text := range number.FindAllString(cells[1], -1) {
			n, _ := strconv.Atoi(text)
			all = append(all, n)
		}
		f(all, strings.TrimSpace(cells[3]))
	}
}

// docs/protocol.md lists each code, and none that is not there; it says of close codes
// whether a client may come back, as the Go client does.
func TestProtocolListsTheCodes(t *testing.T) {
	left := codes(t)
	codeRows(t, "Codes (in NACK and RES)", func(listed []int, _ string) {
		for _, code := range listed {
			if left[int64(code)] == "" {
				t.Errorf("docs/protocol.md lists %d, which package frame does not have", code)
			}
			delete(left, int64(code))
		}
	})
	codeRows(t, "Close codes", func(listed []int, reconnect string) {
		for i, code := range listed {
			application := len(listed) == 4 && reconnect == "no / yes"
			if code >= 4000 && left[int64(code)] == "" && !application {
				t.Errorf("docs/protocol.md lists %d, which package frame does not have", code)
			}
			delete(left, int64(code))
			if want := strings.HasPrefix(reconnect, "yes") || application && i >= 2; frame.Juggler1.MayReconnect(code) != want {
				t.Errorf("docs/protocol.md says of reconnecting after %d: %s", code, reconnect)
			}
		}
	})
	for code, name := range left {
		t.Errorf("docs/protocol.md does not list %d, %s", code, name)
	}
}
