package brokertest

import (
	"slices"
	"testing"
)

// Examine runs the case of that name on an engine and returns its failures. If
// other tests run meanwhile, it does not look for goroutines that are left.
func Examine(t *testing.T, name string, open func(*testing.T) Engine, parallel bool) (failures []string) {
	all := cases()
	i := slices.IndexFunc(all, func(c testCase) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("there is no case %q", name)
	}
	t.Run(name, func(t *testing.T) {
		examine(t, all[i], open, false, parallel, func(failure string) { failures = append(failures, failure) })
	})
	return failures
}

// CaseNames returns the names of all cases.
func CaseNames() (names []string) {
	for _, c := range cases() {
		names = append(names, c.name)
	}
	return names
}

// OutageCases returns the names of the cases that need Engine.Outage.
func OutageCases() (names []string) {
	for _, c := range cases() {
		if c.needs&outage != 0 {
			names = append(names, c.name)
		}
	}
	return names
}
