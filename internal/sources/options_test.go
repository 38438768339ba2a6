package sources

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/types"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// owners are the packages whose ranges internal/option has, by what the names of
// these begin with.
var owners = map[string]string{
	"Server": "", "Memory": "broker/memory", "Redis": "broker/redis", "Callee": "calleekit", "Caller": "caller", "Client": "client",
}

// An optionRange is a range of internal/option; times are in ns.
type optionRange struct{ standard, least, most int64 }

// ranges returns the ranges of a package's options by their names.
func ranges(t *testing.T, owner string) map[string]optionRange {
	t.Helper()
	all := make(map[string]optionRange)
	each(t, func(p *sourcePackage, v *ast.ValueSpec) {
		if p.path != "internal/option" || len(v.Values) != 1 {
			return
		}
		literal, ok := v.Values[0].(*ast.CompositeLit)
		if !ok {
			return
		}
		number := func(i int) int64 {
			n, _ := constant.Int64Val(p.info.Types[literal.Elts[i]].Value)
			return n
		}
		for prefix, path := range owners {
			if strings.HasPrefix(v.Names[0].Name, prefix) && path == owner {
				all[constant.StringVal(p.info.Types[literal.Elts[0]].Value)] = optionRange{number(1), number(2), number(3)}
			}
		}
	})
	return all
}

// units are those in which comments and documents state values.
var units = map[string]int64{
	"": 1, "B": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	"ms": int64(time.Millisecond), "s": int64(time.Second), "min": int64(time.Minute), "h": int64(time.Hour),
}

const quantity = `([\d,]*\d)(?: (bytes|B|KiB|MiB|GiB|TiB|ms|s|min|h)\b)?`

func amount(t *testing.T, number, unit string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.ReplaceAll(number, ",", ""), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n * units[unit]
}

var (
	statedDefault = regexp.MustCompile(`Default: ` + quantity)
	statedRange   = regexp.MustCompile(quantity + ` to (?:the maximum|` + quantity + `)`)
)

// Each option that takes a number or a time has a range, and its comment states that
// and its default.
func TestOptionsStateDefaultAndRange(t *testing.T) {
	for _, path := range owners {
		left := ranges(t, path)
		each(t, func(p *sourcePackage, f *ast.FuncDecl) {
			name := f.Name.Name
			if p.path != path || f.Recv != nil || !strings.HasPrefix(name, "With") {
				return
			}
			r, ok := left[name]
			if !ok {
				if takesNumber(p, f) {
					t.Errorf("%s: %s takes a number and has no range in internal/option", at(f), name)
				}
				return
			}
			delete(left, name)
			checkComment(t, f, r)
		})
		for name := range left {
			t.Errorf("internal/option has a range for %s of %q, which is not there", name, path)
		}
	}
}

// takesNumber reports whether f returns the option of a New, and takes a number or a
// time.
func takesNumber(p *sourcePackage, f *ast.FuncDecl) bool {
	s := p.info.Defs[f.Name].(*types.Func).Signature()
	if result, ok := s.Results().At(0).Type().(*types.Named); !ok || result.Obj().Name() != "Option" {
		return false
	}
	for v := range s.Params().Variables() {
		switch v.Type().String() {
		case "int", "int64", "time.Duration":
			return true
		}
	}
	return false
}

func checkComment(t *testing.T, f *ast.FuncDecl, r optionRange) {
	t.Helper()
	text, name := strings.Join(strings.Fields(f.Doc.Text()), " "), f.Name.Name
	switch m := statedDefault.FindStringSubmatch(text); {
	case m == nil:
		// 0 is told in words, and WithDeferredAuth always takes a time.
		if r.standard != 0 && name != "WithDeferredAuth" {
			t.Errorf("%s: %s does not state its default", at(f), name)
		}
	case amount(t, m[1], m[2]) != r.standard:
		t.Errorf("%s: %s says %s, want %d", at(f), name, m[0], r.standard)
	}
	switch m := statedRange.FindStringSubmatch(text); {
	case m == nil:
		t.Errorf("%s: %s does not state its range", at(f), name)
	case amount(t, m[1], m[2]) != r.least || m[3] != "" && amount(t, m[3], m[4]) != r.most:
		t.Errorf("%s: %s says %s, want %d to %d", at(f), name, m[0], r.least, r.most)
	}
}

// section returns the part of a document under a heading.
func section(t *testing.T, file, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(readFile(t, file), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", file, heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// The guide's table of limits has the defaults.
func TestGuideStatesTheDefaults(t *testing.T) {
	options := ranges(t, "")
	value := regexp.MustCompile("^" + quantity + "$")
	name := regexp.MustCompile("`(With\\w+)`")
	stated := 0
	table, _, _ := strings.Cut(section(t, "docs/guide.md", "Limits"), "| how often |") // rates have no range each
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) != 6 {
			continue
		}
		names, defaults := name.FindAllStringSubmatch(cells[2], -1), strings.Split(strings.TrimSpace(cells[3]), ", ")
		for i, m := range names {
			r, ok := options[m[1]]
			if !ok || i >= len(defaults) {
				t.Errorf("the table of limits names %s, which has no range, or has no default of it", m[1])
				continue
			}
			stated++
			var said int64 // 0 is told in words
			if v := value.FindStringSubmatch(defaults[i]); v != nil {
				said = amount(t, v[1], v[2])
			}
			if said != r.standard {
				t.Errorf("the table of limits says %s for %s, want %d", defaults[i], m[1], r.standard)
			}
		}
	}
	if stated < 12 {
		t.Errorf("the table of limits has %d options only", stated)
	}
}

// The HELLO that docs/protocol.md shows is that of a server without options.
func TestProtocolShowsTheDefaults(t *testing.T) {
	r := ranges(t, "")
	ms := func(name string) int64 { return r[name].standard / int64(time.Millisecond) }
	hello := fmt.Sprintf(`"ping":%d,"limits":{"message":%d,"subscriptions":%d,"calls":%d,"calls_per_uri":%d,"timeout":%d,"rates":{`, ms("WithPing"),
		r["WithMaxMessageBytes"].standard, r["WithMaxSubscriptions"].standard, r["WithMaxCalls"].standard,
		r["WithMaxCallsPerURI"].standard, ms("WithMaxCallTimeout"))
	if !strings.Contains(readFile(t, "docs/protocol.md"), hello) {
		t.Errorf("docs/protocol.md does not show a HELLO with the defaults: %s", hello)
	}
}
