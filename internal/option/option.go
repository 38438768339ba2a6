// Package option is what the options of all packages share: the form of their
// errors, the rule for nil, and their defaults and ranges, which the command reads
// for its flags.
package option

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// ErrInvalid is ErrInvalidOption of every package.
var ErrInvalid = errors.New("invalid option")

// Problems are what is wrong with the options of one New. The zero value with a
// package set has none.
type Problems struct {
	Package string // the errors begin with it
	errs    []error
}

// Add adds a problem, a text that begins with the name of the option.
func (p *Problems) Add(problem string) {
	p.errs = append(p.errs, fmt.Errorf("%s: %s: %w", p.Package, problem, ErrInvalid))
}

// Refuse adds that an option was given a value in place of what it takes.
func (p *Problems) Refuse(option string, value any, want string) {
	p.Add(fmt.Sprintf("%s(%v): want %s", option, value, want))
}

// NotNil reports whether v is not nil, and refuses it if it is. A nil pointer or
// function in an interface is nil, too.
func (p *Problems) NotNil(option string, v any, want string) bool {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Invalid:
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Slice, reflect.Chan:
		if !r.IsNil() {
			return true
		}
	default:
		return true
	}
	p.Refuse(option, "nil", want)
	return false
}

// None reports whether there is no problem so far.
func (p *Problems) None() bool { return len(p.errs) == 0 }

// Err returns all problems, each of which wraps [ErrInvalid]; nil if there is none.
func (p *Problems) Err() error { return errors.Join(p.errs...) }

// Apply applies options, and refuses those that are nil.
func Apply[O comparable](p *Problems, options []O, apply func(O)) {
	var none O
	for _, o := range options {
		if o == none {
			p.Refuse("New", "nil", "an Option")
			continue
		}
		apply(o)
	}
}

// A Number is the value of an option that has a range: a count, bytes or a time.
type Number interface{ int | int64 | time.Duration }

// A Range is the default of an option, and the least and the greatest value that it
// takes.
type Range[T Number] struct {
	Option            string
	Default, Min, Max T
}

// Check refuses a value that is out of the range.
func (r Range[T]) Check(p *Problems, value T) {
	if value < r.Min || value > r.Max {
		p.Refuse(r.Option, value, fmt.Sprintf("%v to %v", r.Min, r.Max))
	}
}

// In says where the value of the option is kept.
func (r Range[T]) In(value *T) Setting { return setting[T]{r, value} }

// A Setting is an option with a range, and its value.
type Setting interface {
	reset()
	check(*Problems)
}

type setting[T Number] struct {
	limits Range[T]
	value  *T
}

func (s setting[T]) reset()            { *s.value = s.limits.Default }
func (s setting[T]) check(p *Problems) { s.limits.Check(p, *s.value) }

// Reset sets values to their defaults.
func Reset(settings []Setting) {
	for _, s := range settings {
		s.reset()
	}
}

// Check refuses the values that are out of their ranges.
func Check(p *Problems, settings []Setting) {
	for _, s := range settings {
		s.check(p)
	}
}

// CheckBackoff refuses a backoff whose first pause is longer than its longest, or
// that is out of the range.
func CheckBackoff(p *Problems, r Range[time.Duration], first, longest time.Duration) {
	if first < r.Min || longest < first || longest > r.Max {
		p.Refuse(r.Option, fmt.Sprintf("%v, %v", first, longest), fmt.Sprintf("%v <= first <= longest <= %v", r.Min, r.Max))
	}
}
