//go:build long

package redis_test

import "github.com/juggler-go/juggler/internal/race"

// Without its optional roles the broker runs what it runs with them, so the race detector
// sees that once.
func init() { onlyWhole = race.Enabled }
