package juggler_test

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler/internal/freeport"
)

func readDoc(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// parsePackage parses the files of a package but its tests.
func parsePackage(t *testing.T, dir string) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no Go files in %s: %v", dir, err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// declared returns what a package declares at its top, with the comments of
// functions.
func declared(t *testing.T, dir string) map[string]string {
	t.Helper()
	names := make(map[string]string)
	for _, f := range parsePackage(t, dir) {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					names[d.Name.Name] = d.Doc.Text()
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						names[s.Name.Name] = ""
					case *ast.ValueSpec:
						for _, n := range s.Names {
							names[n.Name] = ""
						}
					}
				}
			}
		}
	}
	return names
}

// What the documents name of a package exists there.
func TestDocsNameWhatExists(t *testing.T) {
	packages := map[string]map[string]string{
		"juggler":     declared(t, "."),
		"frame":       declared(t, "frame"),
		"broker":      declared(t, "broker"),
		"memory":      declared(t, "broker/memory"),
		"redis":       declared(t, "broker/redis"),
		"brokertest":  declared(t, "broker/brokertest"),
		"caller":      declared(t, "caller"),
		"calleekit":   declared(t, "calleekit"),
		"client":      declared(t, "client"),
		"jugglertest": declared(t, "jugglertest"),
		"rules":       declared(t, "rules"),
	}
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	qualified := regexp.MustCompile(`\b(?:new )?([a-z]+)\.([A-Z]\w*)`)
	option := regexp.MustCompile("`(With[A-Z]\\w*)")
	for _, path := range append(docs, "README.md", "CONTRIBUTING.md", "doc.go") {
		doc := readDoc(t, path)
		for _, m := range qualified.FindAllStringSubmatch(doc, -1) {
			if names, ok := packages[m[1]]; ok && !strings.HasPrefix(m[0], "new ") { // which is JavaScript
				if _, ok := names[m[2]]; !ok {
					t.Errorf("%s: there is no %s", path, m[0])
				}
			}
		}
		for _, m := range option.FindAllStringSubmatch(doc, -1) { // of whichever package the text is about
			if !slices.ContainsFunc(slices.Collect(maps.Values(packages)), func(names map[string]string) bool {
				_, ok := names[m[1]]
				return ok
			}) {
				t.Errorf("%s: there is no %s", path, m[1])
			}
		}
	}
}

func TestGuideNamesEveryOption(t *testing.T) {
	docs := readDoc(t, "docs/guide.md") + readDoc(t, "doc.go")
	for name := range declared(t, ".") {
		if strings.HasPrefix(name, "With") && !regexp.MustCompile(`\b`+name+`\b`).MatchString(docs) {
			t.Errorf("neither docs/guide.md nor doc.go names %s", name)
		}
	}
}

// helloWorld returns the program of the README, of package main but for its imports.
func helloWorld(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(readDoc(t, "README.md"), "```go\n")
	program, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("README.md has no Go code")
	}
	if n := strings.Count(program, "\n"); n > 15 {
		t.Errorf("the hello world has %d lines, want at most 15", n)
	}
	return program
}

// withImports adds the imports that a program needs.
func withImports(t *testing.T, program string) string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "main.go", "package main\n"+program, 0)
	if err != nil {
		t.Fatal(err)
	}
	paths := make(map[string]bool)
	for _, id := range f.Unresolved {
		switch id.Name {
		case "context", "errors", "log", "time":
			paths[id.Name] = true
		case "http":
			paths["net/http"] = true
		case "juggler":
			paths["github.com/juggler-go/juggler"] = true
		case "calleekit":
			paths["github.com/juggler-go/juggler/calleekit"] = true
		case "rules":
			paths["github.com/juggler-go/juggler/rules"] = true
		case "memory":
			paths["github.com/juggler-go/juggler/broker/memory"] = true
		}
	}
	var b strings.Builder
	b.WriteString("package main\n\nimport (\n")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		fmt.Fprintf(&b, "\t%q\n", path)
	}
	return b.String() + ")\n\n" + program
}

// buildElsewhere vets and builds a program as a module of its own that
// requires this one.
func buildElsewhere(t *testing.T, program string) (binary string) {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mod := strings.Replace(readDoc(t, "go.mod"), "module github.com/juggler-go/juggler\n", "module hello\n", 1) +
		"\nrequire github.com/juggler-go/juggler v0.0.0\n\nreplace github.com/juggler-go/juggler => " + root + "\n"
	for name, text := range map[string]string{"go.mod": mod, "go.sum": readDoc(t, "go.sum"), "main.go": program} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary = filepath.Join(dir, "hello")
	for _, args := range [][]string{{"vet", "-mod=mod", "."}, {"build", "-mod=mod", "-o", binary, "."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOPROXY=off") // all that it needs, this module needs too
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return binary
}

// The README's hello world runs, and the conversation below it takes place.
func TestReadmeHelloWorld(t *testing.T) {
	t.Parallel() // it mostly waits
	addr := freeport.Address(t)
	binary := buildElsewhere(t, strings.Replace(withImports(t, helloWorld(t)), "127.0.0.1:8080", addr, 1))
	ctx, cancel := context.WithCancel(t.Context())
	server := exec.CommandContext(ctx, binary)
	var stderr bytes.Buffer
	server.Stderr = &stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer cancel()
	var conn *websocket.Conn
	waitFor(t, "the hello world to listen", func() bool {
		var err error
		conn, _, err = websocket.Dial(ctx, "ws://"+addr+"/ws", &websocket.DialOptions{Subprotocols: []string{"juggler.1"}})
		return err == nil
	})
	defer conn.CloseNow()
	c := &testClient{t, conn}
	c.expect(`{"type":"HELLO"}`)

	_, rest, _ := strings.Cut(readDoc(t, "README.md"), "```\n→ ")
	conversation, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("README.md shows no conversation")
	}
	for line := range strings.Lines("→ " + conversation) {
		arrow, message, _ := strings.Cut(strings.TrimSpace(line), " ")
		if arrow == "→" {
			c.send(message)
			continue
		}
		if strings.Contains(message, `"EVNT"`) { // someone publishes it
			c.send(`{"type":"PUB","id":"x","channel":"news.go","args":{"title":"Go"}}`)
			c.expect(`{"type":"ACK","for":"x"}`)
			message = strings.Replace(message, `"id":"01K…",`, "", 1)
		}
		c.expect(message)
	}
}

// The program in the package's documentation is the README's.
func TestDocShowsTheHelloWorld(t *testing.T) {
	code := regexp.MustCompile(`(?m)^//\t(.*)$`)
	var shown []string
	for _, m := range code.FindAllStringSubmatch(readDoc(t, "doc.go"), -1) {
		shown = append(shown, m[1])
	}
	comment := regexp.MustCompile(` +//.*$`)
	var wanted []string
	for line := range strings.Lines(helloWorld(t)) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, "\t") {
			wanted = append(wanted, comment.ReplaceAllString(line[1:], ""))
		}
	}
	if !slices.Equal(shown, wanted) {
		t.Errorf("doc.go shows\n%s\nREADME.md\n%s", strings.Join(shown, "\n"), strings.Join(wanted, "\n"))
	}
}

// Each page says first who it is for, and is among those of docs/README.md and of the site.
func TestPagesSayWhoTheyAreFor(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatal(pages, err)
	}
	index, site := readDoc(t, "docs/README.md"), readDoc(t, "docs/site/pages.mjs")
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "js/README.md", "js/docs/migrating.md") {
		if page == "docs/README.md" {
			continue
		}
		first, _, _ := strings.Cut(readDoc(t, page), "\n#")
		if !strings.Contains(first, "\n*For ") {
			t.Errorf("%s does not say who it is for", page)
		}
		link, err := filepath.Rel("docs", page)
		if err != nil || !strings.Contains(index, "]("+link+")") {
			t.Errorf("docs/README.md does not have %s", link)
		}
		if !strings.Contains(site, "'"+page+"'") {
			t.Errorf("docs/site does not have %s", page)
		}
	}
}

// The guide's whole main is that of the example.
func TestGuideShowsTheWholeMain(t *testing.T) {
	_, text, _ := strings.Cut(readDoc(t, "docs/guide.md"), "```go\nfunc main() {")
	code, _, ok := strings.Cut(text, "```")
	if !ok || !strings.Contains(readDoc(t, "examples/server/main.go"), "\nfunc main() {"+code) {
		t.Error("the main of docs/guide.md is not in examples/server/main.go")
	}
}

// What docs/once.md shows of effects that happen once is the example's code.
func TestOnceShowsTheExample(t *testing.T) {
	_, section, _ := strings.Cut(readDoc(t, "docs/once.md"), "\n## Effects that happen once\n")
	section, _, _ = strings.Cut(section, "\n## ")
	example := readDoc(t, "examples/once/main.go") + readDoc(t, "examples/once/once.go")
	quotes := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(section, -1)
	for _, quote := range quotes {
		if !strings.Contains(example, "\n"+quote[1]) {
			t.Errorf("examples/once does not have\n%s", quote[1])
		}
	}
	if len(quotes) != 2 {
		t.Errorf("%d quotes, want 2", len(quotes))
	}
}

// Each mistake that the first hour lists has a test that makes it.
func TestMistakesAreTested(t *testing.T) {
	_, table, ok := strings.Cut(readDoc(t, "docs/first-hour.md"), "| mistake | what one sees | test |\n| --- | --- | --- |\n")
	if !ok {
		t.Fatal("there is no table of mistakes")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	tests := testNames(t)
	for row := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(row, "| \n"), " | ")
		if name := strings.Trim(cells[len(cells)-1], "`"); len(cells) != 3 || !strings.Contains(tests, "\n"+name+"\n") {
			t.Errorf("no test is named by %s", row)
		}
	}
}

// testNames returns the names of the repository's tests, in Go and TypeScript, a line each.
func testNames(t *testing.T) string {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t |\b(?:it|test)(?:\.each\(.*\))?\(\s*'([^']+)'`)
	var names strings.Builder
	names.WriteByte('\n')
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "node_modules", d.Name() == "dist": // which may go meanwhile
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".test.ts"):
			return nil
		}
		for _, m := range declared.FindAllStringSubmatch(readDoc(t, path), -1) {
			names.WriteString(m[1] + m[2] + "\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names.String()
}
