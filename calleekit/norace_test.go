//go:build !race

package calleekit_test

const raceEnabled = false
