// Package optiontest checks that New of a package keeps to the ranges of its options.
package optiontest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/option"
)

// Range checks that an option takes its default and both ends of its range, and that
// New refuses what is beyond, with an error that names option, value and range. try
// calls New with the option, and ends what it made.
func Range[T option.Number, O any](t *testing.T, r option.Range[T], option func(T) O, try func(O) error) {
	t.Helper()
	for _, value := range []T{r.Default, r.Min, r.Max} {
		if err := try(option(value)); err != nil {
			t.Errorf("%s(%v): %v", r.Option, value, err)
		}
	}
	for _, value := range []T{r.Min - 1, r.Max + 1} {
		Refused(t, fmt.Sprintf("%s(%v): want %v to %v", r.Option, value, r.Min, r.Max), try(option(value)))
	}
}

// Backoff is Range for an option with the first and the longest pause.
func Backoff[O any](t *testing.T, r option.Range[time.Duration], option func(first, longest time.Duration) O, try func(O) error) {
	t.Helper()
	for _, good := range [][2]time.Duration{{r.Default, r.Max}, {r.Min, r.Min}, {r.Max, r.Max}} {
		if err := try(option(good[0], good[1])); err != nil {
			t.Errorf("%s(%v, %v): %v", r.Option, good[0], good[1], err)
		}
	}
	for _, bad := range [][2]time.Duration{{r.Min - 1, r.Max}, {r.Min + 1, r.Min}, {r.Min, r.Max + 1}} {
		want := fmt.Sprintf("%s(%v, %v): want %v <= first <= longest <= %v", r.Option, bad[0], bad[1], r.Min, r.Max)
		Refused(t, want, try(option(bad[0], bad[1])))
	}
}

// Refused checks that err is a problem that says want.
func Refused(t *testing.T, want string, err error) {
	t.Helper()
	if !errors.Is(err, option.ErrInvalid) || !strings.Contains(err.Error(), want+": "+option.ErrInvalid.Error()) {
		t.Errorf("got error %v, want %s", err, want)
	}
}
