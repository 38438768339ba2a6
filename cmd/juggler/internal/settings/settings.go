// Package settings fills the flags of a command from the environment and a
// file, so that each setting has one name everywhere: --max-sessions,
// JUGGLER_MAX_SESSIONS, and max-sessions in the file. The command line wins
// over the environment, that over the file, that over the default.
package settings

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/cmd/juggler/internal/nearest"
)

// FileFlag is the name of the flag for the file itself.
const FileFlag = "config"

// notSettings are flags that no file sets.
var notSettings = []string{FileFlag, "help", "check"}

// Prefix is what the names of variables begin with.
const Prefix = "JUGGLER_"

// Variable returns the name of the environment variable for a flag.
func Variable(flag string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// A Schema says which settings there are: the flags by command.
type Schema map[string]*pflag.FlagSet

// Apply fills those of the command's flags that the command line has not set,
// from environ (NAME=VALUE) and from the file that the flag "config" names, if
// it names one. The error tells of everything that is wrong.
func (s Schema) Apply(command string, environ []string) error {
	flags := s[command]
	set := setter{flags: flags, taken: make(map[string]bool)}
	flags.Visit(func(f *pflag.Flag) {
		set.taken[f.Name] = true
		if err := checkEmpty(f); err != nil {
			set.errs = append(set.errs, fmt.Errorf("--%s %w", f.Name, err))
		}
	})
	set.environment(environ)
	if name := flags.Lookup(FileFlag); name != nil && name.Value.String() != "" {
		f, err := readFile(name.Value.String())
		if err != nil {
			return err
		}
		set.errs = append(set.errs, f.apply(s, command, &set)...)
	}
	return inOrder(set.errs)
}

// CheckFile reports everything that is wrong with a file, whichever command it
// is for. The flags are overwritten.
func (s Schema) CheckFile(path string) error {
	f, err := readFile(path)
	if err != nil {
		return err
	}
	var errs []error
	for _, command := range s.commands() {
		set := setter{flags: s[command], taken: make(map[string]bool)}
		errs = append(errs, f.apply(s, command, &set)...)
	}
	return inOrder(errs)
}

// Concerned returns the commands that the file at path is for: those that it has a
// section for, and those that alone have a setting at its top.
func (s Schema) Concerned(path string) []string {
	f, err := readFile(path)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(s.commands(), func(command string) bool {
		return !slices.ContainsFunc(f.entries, func(e entry) bool { return e.key == command || s.only(command, e.key) })
	})
}

// only reports whether a command, and no other, has a setting.
func (s Schema) only(command, setting string) bool {
	for c, flags := range s {
		if (c == command) != (flags.Lookup(setting) != nil) {
			return false
		}
	}
	return true
}

func (s Schema) commands() []string {
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// names returns the settings of a command, or of all for "".
func (s Schema) names(command string) []string {
	var names []string
	for c, flags := range s {
		if command != "" && c != command {
			continue
		}
		flags.VisitAll(func(f *pflag.Flag) {
			if settable(f) && !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		})
	}
	slices.Sort(names)
	return names
}

// settable reports whether a flag can be set by variables and files.
func settable(f *pflag.Flag) bool { return !slices.Contains(notSettings, f.Name) }

// A setter sets flags, each from the first source that has it.
type setter struct {
	flags *pflag.FlagSet
	taken map[string]bool
	errs  []error
}

// environment takes what variables say. An empty one is as good as none.
func (s *setter) environment(environ []string) {
	s.flags.VisitAll(func(f *pflag.Flag) {
		if s.taken[f.Name] || !settable(f) && f.Name != FileFlag {
			return
		}
		variable := Variable(f.Name)
		for _, e := range environ {
			if value, ok := strings.CutPrefix(e, variable+"="); ok && value != "" {
				s.taken[f.Name] = true
				if err := setValue(s.flags, f, strings.Split(value, ","), value); err != nil {
					s.errs = append(s.errs, fmt.Errorf("%s: %w", variable, err))
				}
			}
		}
	})
}

// setValue sets a flag: a list to values, any other to value.
func setValue(flags *pflag.FlagSet, f *pflag.Flag, values []string, value string) error {
	var err error
	if list, ok := f.Value.(pflag.SliceValue); ok {
		err = list.Replace(values)
	} else {
		err = f.Value.Set(value)
	}
	if err != nil {
		return fmt.Errorf("%q is not a value for it: %s", value, cause(err))
	}
	f.Changed = true
	return checkEmpty(f)
}

// mayBeEmpty is the annotation of flags for which an empty value says something.
const mayBeEmpty = "may be empty"

// MayBeEmpty lets a flag be set to nothing.
func MayBeEmpty(flags *pflag.FlagSet, name string) {
	_ = flags.SetAnnotation(name, mayBeEmpty, nil) // the flag is there
}

// checkEmpty reports whether a flag that was set says nothing, as the mistakes of
// templates and scripts do: a server whose --token-audience is empty would let in
// the tokens of everybody.
func checkEmpty(f *pflag.Flag) error {
	if _, ok := f.Annotations[mayBeEmpty]; ok {
		return nil
	}
	list, isList := f.Value.(pflag.SliceValue)
	switch {
	case isList && len(list.GetSlice()) == 0:
		return errors.New("is an empty list: leave it out for the default")
	case isList && slices.Contains(list.GetSlice(), ""):
		return errors.New("has an empty entry")
	case !isList && f.Value.Type() == "string" && f.Value.String() == "":
		return errors.New("is empty: leave it out for the default")
	}
	return nil
}

// cause shortens the errors of strconv, which repeat the value.
func cause(err error) string {
	if errors.Is(err, strconv.ErrSyntax) {
		return "want true or false" // the only values of pflag's own in use
	}
	return err.Error()
}

// Misspelt returns a warning for each variable that looks like the name of a
// setting and is none. Others of the same prefix are left alone: Kubernetes
// makes some of its own for a service called juggler.
func (s Schema) Misspelt(environ []string) []string {
	var known []string
	for _, name := range append(s.names(""), FileFlag) {
		known = append(known, Variable(name))
	}
	var warnings []string
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, Prefix) || slices.Contains(known, name) {
			continue
		}
		if near := nearest.To(strings.TrimPrefix(name, Prefix), trimAll(known)); near != "" {
			warnings = append(warnings, fmt.Sprintf("the variable %s is not known; did you mean %s?", name, Prefix+near))
		}
	}
	return warnings
}

func trimAll(names []string) []string {
	trimmed := make([]string, len(names))
	for i, n := range names {
		trimmed[i] = strings.TrimPrefix(n, Prefix)
	}
	return trimmed
}

// readFile reads and parses a file of settings.
func readFile(path string) (*file, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseFile(path, text)
}
