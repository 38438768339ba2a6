// Package sources checks rules that the source of all our packages keeps, and that
// neither the compiler nor a linter knows.
package sources

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// root is the directory of the library's module, and command that of the command.
const (
	root    = "../.."
	command = root + "/cmd/juggler"
)

// modules are the directories of those that go.work ties together.
var modules = []string{root, command, root + "/telemetry/otel", root + "/telemetry/prometheus"}

// A sourcePackage is one of ours, parsed and with types, without its tests.
type sourcePackage struct {
	path  string // without that of the module; "" for the library's root
	files []*ast.File
	info  *types.Info
}

var fset = token.NewFileSet()

// packages returns all of ours, but those in the modules of benchmarks and the like.
var packages = sync.OnceValues(func() ([]*sourcePackage, error) {
	var all []*sourcePackage
	seen := make(map[string]bool)
	for _, dir := range modules {
		listed, exports, err := list(dir)
		if err != nil {
			return nil, err
		}
		imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
		for _, l := range listed {
			if seen[l.ImportPath] {
				continue
			}
			seen[l.ImportPath] = true
			p, err := check(l, imports)
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
	}
	return all, nil
})

// A listing is what go list says of a package.
type listing struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	DepOnly                 bool
	Module                  struct{ Path string }
}

// list returns the packages below a directory, and the files with what they and
// all that they import export.
func list(dir string) (ours []listing, exports map[string]string, err error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,DepOnly,Module", "./...")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, nil, err
	}
	exports = make(map[string]string)
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var l listing
		if err := d.Decode(&l); err != nil {
			return nil, nil, err
		}
		exports[l.ImportPath] = l.Export
		if !l.DepOnly && len(l.GoFiles) > 0 {
			ours = append(ours, l)
		}
	}
	return ours, exports, nil
}

// check parses a package and finds its types.
func check(l listing, imports types.Importer) (*sourcePackage, error) {
	p := &sourcePackage{info: &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue),
		Uses:  make(map[*ast.Ident]types.Object),
		Defs:  make(map[*ast.Ident]types.Object),
	}}
	_, p.path, _ = strings.Cut(l.ImportPath, "juggler-go/juggler")
	p.path = strings.TrimPrefix(p.path, "/")
	for _, name := range l.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(l.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, f)
	}
	config := types.Config{Importer: imports}
	_, err := config.Check(l.ImportPath, fset, p.files, p.info)
	return p, err
}

// each calls f for every node of type N in the source.
func each[N ast.Node](t *testing.T, f func(p *sourcePackage, n N)) {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		for _, file := range p.files {
			ast.Inspect(file, func(n ast.Node) bool {
				if n, ok := n.(N); ok {
					f(p, n)
				}
				return true
			})
		}
	}
}

// at returns where a node stands, from the root of the repository.
func at(n ast.Node) string {
	p := fset.Position(n.Pos())
	if base, err := filepath.Abs(root); err == nil {
		if name, err := filepath.Rel(base, p.Filename); err == nil {
			p.Filename = name
		}
	}
	return p.String()
}

// readFile returns a file of the repository.
func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
