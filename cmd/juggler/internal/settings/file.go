package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/juggler-go/juggler/cmd/juggler/internal/nearest"
)

// file is a parsed file: settings for every command that has them, and
// sections for single commands.
type file struct {
	path    string
	entries []entry
}

type entry struct {
	key     string
	keyNode *yaml.Node
	value   *yaml.Node
}

// parseFile checks the form of a file: YAML, one mapping, no key twice.
func parseFile(path string, text []byte) (*file, error) {
	var document, second yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&document); err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s:%s", path, yamlProblem(err))
	}
	f := &file{path: path}
	if d.Decode(&second) != io.EOF {
		return nil, f.at(&second, "", errors.New("want one document: nothing would be read behind ---"))
	}
	if len(document.Content) == 0 {
		return f, nil // empty, or comments only
	}
	var err error
	f.entries, err = f.mapping(document.Content[0], "")
	return f, err
}

// yamlProblem rewrites "yaml: line 3: did not find …" as "3: did not find …".
func yamlProblem(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		return rest
	}
	return " " + text
}

// unjoin returns what errors.Join joined.
func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// mapping returns the entries of a mapping.
func (f *file) mapping(n *yaml.Node, section string) ([]entry, error) {
	if n.Kind != yaml.MappingNode {
		return nil, f.at(n, strings.TrimSuffix(section, "."), errors.New("want settings, each as NAME: VALUE"))
	}
	var entries []entry
	var errs []error
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if slices.ContainsFunc(entries, func(e entry) bool { return e.key == key.Value }) {
			errs = append(errs, f.at(key, section+key.Value, errors.New("duplicate key")))
			continue
		}
		entries = append(entries, entry{key.Value, key, resolve(n.Content[i+1])})
	}
	return entries, errors.Join(errs...)
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// A problem is something that is wrong at one place of a file.
type problem struct {
	path string
	line int
	key  string // "": the line as a whole
	err  error
}

func (p *problem) Error() string {
	if p.key == "" {
		return fmt.Sprintf("%s:%d: %v", p.path, p.line, p.err)
	}
	return fmt.Sprintf("%s:%d: %s: %v", p.path, p.line, p.key, p.err)
}

func (p *problem) Unwrap() error { return p.err }

// at adds the place to an error.
func (f *file) at(n *yaml.Node, key string, err error) error {
	return &problem{f.path, n.Line, key, err}
}

// inOrder joins errors, each once, those of lines in the order of the lines.
func inOrder(errs []error) error {
	line := func(err error) int {
		var p *problem
		if errors.As(err, &p) {
			return p.line
		}
		return 0
	}
	slices.SortStableFunc(errs, func(a, b error) int { return line(a) - line(b) })
	return errors.Join(slices.CompactFunc(errs, func(a, b error) bool { return a.Error() == b.Error() })...)
}

// apply sets what the file says for a command: first its section, then what
// stands outside of sections.
func (f *file) apply(s Schema, command string, set *setter) []error {
	var errs []error
	for _, e := range f.entries {
		if _, isSection := s[e.key]; !isSection {
			continue
		}
		if e.value.Kind == yaml.ScalarNode && e.value.Tag == "!!null" {
			continue // an empty section
		}
		entries, err := f.mapping(e.value, e.key+".")
		if err != nil {
			errs = append(errs, unjoin(err)...)
		}
		for _, inner := range entries {
			key := e.key + "." + inner.key
			if err := f.known(s, e.key, inner); err != nil {
				errs = append(errs, f.at(inner.keyNode, key, err))
			} else if e.key == command {
				errs = append(errs, f.set(set, key, inner)...)
			}
		}
	}
	for _, e := range f.entries {
		if _, isSection := s[e.key]; isSection {
			continue
		}
		if err := f.known(s, "", e); err != nil {
			errs = append(errs, f.at(e.keyNode, e.key, err))
		} else {
			errs = append(errs, f.set(set, e.key, e)...)
		}
	}
	return errs
}

// known reports whether a command, or any for "", has the setting.
func (f *file) known(s Schema, command string, e entry) error {
	names := s.names(command)
	if slices.Contains(names, e.key) {
		return nil
	}
	if command == "" {
		names = append(names, s.commands()...)
	} else if slices.Contains(s.names(""), e.key) {
		return fmt.Errorf("is not a setting of %s", command)
	}
	if near := nearest.To(e.key, names); near != "" {
		return fmt.Errorf("unknown setting; did you mean %q?", near)
	}
	return errors.New("unknown setting")
}

// set sets one flag, unless it has been set or the command does not have it.
func (f *file) set(set *setter, key string, e entry) []error {
	flag := set.flags.Lookup(e.key)
	if flag == nil || !settable(flag) || set.taken[e.key] {
		return nil
	}
	set.taken[e.key] = true
	var values []string
	value := e.value.Value
	switch e.value.Kind {
	case yaml.ScalarNode:
		if e.value.Tag == "!!null" {
			return []error{f.at(e.keyNode, key, errors.New("has no value"))}
		}
		values = []string{value}
	case yaml.SequenceNode:
		if _, ok := flag.Value.(pflag.SliceValue); !ok {
			return []error{f.at(e.value, key, errors.New("want one value, not a list"))}
		}
		for _, n := range e.value.Content {
			if n = resolve(n); n.Kind != yaml.ScalarNode {
				return []error{f.at(n, key, errors.New("want a list of plain values"))}
			}
			if n.Tag == "!!null" {
				n = &yaml.Node{} // as "" is
			}
			values = append(values, n.Value)
		}
		value = strings.Join(values, ",") // for the error
	default:
		return []error{f.at(e.keyNode, key, errors.New("want a value or a list, not settings inside"))}
	}
	if err := setValue(set.flags, flag, values, value); err != nil {
		return []error{f.at(e.value, key, err)}
	}
	return nil
}
