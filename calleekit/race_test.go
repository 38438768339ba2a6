//go:build race

package calleekit_test

// raceEnabled says that the race detector is on, which allocates.
const raceEnabled = true
