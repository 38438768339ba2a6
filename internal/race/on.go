//go:build race

// Package race says, to tests, whether the race detector is on. Memory is not what it
// is without it then: it allocates, and has pools forget at random.
package race

// Enabled is whether the race detector is on.
const Enabled = true
