//go:build !race

package juggler_test

const raceEnabled = false
