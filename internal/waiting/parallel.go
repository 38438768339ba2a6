package waiting

import (
	"flag"
	"strconv"

	"github.com/juggler-go/juggler/internal/race"
)

// AtOnce has go test run up to n parallel tests of a package at once, half as many with
// the race detector, which has them compute more, unless -parallel says how many. Its own
// bound, the number of processors, is for tests that compute: those that wait would wait
// one after the other. It is for TestMain.
func AtOnce(n int) {
	const name = "test.parallel"
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	if race.Enabled {
		n /= 2
	}
	if err := flag.Set(name, strconv.Itoa(n)); err != nil {
		panic(err)
	}
}
