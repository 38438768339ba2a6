package settings

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/internal/option"
)

// Options are the flags that stand for options of a New. Defaults and ranges are the
// library's, and an option is handed over only where its flag was set, on the command
// line, by a variable or in the file: what was not set may follow what was.
type Options[O any] struct {
	Prefix string // the names of the flags begin with it
	given  []func() (o O, ok bool)
}

// Int adds a flag for an option that takes a number.
func (o *Options[O]) Int(flags *pflag.FlagSet, r option.Range[int], with func(int) O, usage string) {
	p, name := new(int), o.Prefix+FlagName(r.Option)
	IntVar(flags, p, name, r.Default, r.Min, r.Max, usage)
	o.WhenSet(flags.Lookup(name), func() O { return with(*p) })
}

// Bytes adds a flag for an option that takes a size.
func (o *Options[O]) Bytes(flags *pflag.FlagSet, r option.Range[int], with func(int) O, usage string) {
	addSize(o, flags, r, with, usage)
}

// Bytes64 is Bytes for sizes that an int may be too small for.
func (o *Options[O]) Bytes64(flags *pflag.FlagSet, r option.Range[int64], with func(int64) O, usage string) {
	addSize(o, flags, r, with, usage)
}

func addSize[O any, T int | int64](o *Options[O], flags *pflag.FlagSet, r option.Range[T], with func(T) O, usage string) {
	p, name := new(T), o.Prefix+FlagName(r.Option)
	BytesVar(flags, p, name, r.Default, r.Min, r.Max, usage)
	o.WhenSet(flags.Lookup(name), func() O { return with(*p) })
}

// Duration adds a flag for an option that takes a time.
func (o *Options[O]) Duration(flags *pflag.FlagSet, r option.Range[time.Duration], with func(time.Duration) O, usage string) {
	p, name := new(time.Duration), o.Prefix+FlagName(r.Option)
	DurationVar(flags, p, name, r.Default, r.Min, r.Max, usage)
	o.WhenSet(flags.Lookup(name), func() O { return with(*p) })
}

// IntOrAuto adds a flag like Int whose default is 0, for leaving the option out.
func (o *Options[O]) IntOrAuto(flags *pflag.FlagSet, r option.Range[int], with func(int) O, usage string) {
	p := new(int)
	IntVar(flags, p, o.Prefix+FlagName(r.Option), 0, 0, r.Max, usage)
	o.When(func() bool { return *p != 0 }, func() O { return with(*p) })
}

// WhenSet adds an option that is made when a flag was set.
func (o *Options[O]) WhenSet(flag *pflag.Flag, option func() O) {
	o.When(func() bool { return flag.Changed }, option)
}

// When adds an option that is made under a condition.
func (o *Options[O]) When(is func() bool, option func() O) {
	o.given = append(o.given, func() (made O, ok bool) {
		if is() {
			return option(), true
		}
		return made, false
	})
}

// List returns the options that were given.
func (o *Options[O]) List() []O {
	var all []O
	for _, given := range o.given {
		if option, ok := given(); ok {
			all = append(all, option)
		}
	}
	return all
}

// Needs refuses flags that were set and can have no effect, unless there is what they
// need.
func Needs(flags *pflag.FlagSet, there bool, what string, names ...string) error {
	for _, name := range names {
		if !there && flags.Changed(name) {
			return fmt.Errorf("--%s goes with %s only", name, what)
		}
	}
	return nil
}

// FlagName returns the name of the flag for an option, without its prefix:
// max-queue-bytes for WithMaxQueueBytes.
func FlagName(option string) string {
	var name strings.Builder
	for i, r := range strings.TrimPrefix(option, "With") {
		if unicode.IsUpper(r) && i > 0 {
			name.WriteByte('-')
		}
		name.WriteRune(unicode.ToLower(r))
	}
	return name.String()
}
