//go:build race

package memory_test

// The race detector makes pools forget at random, so nothing is free of
// allocations.
const raceEnabled = true
