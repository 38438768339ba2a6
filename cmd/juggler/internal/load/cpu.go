package load

import (
	"runtime"
	"time"
)

func processors() float64 { return float64(runtime.GOMAXPROCS(0)) }

// cpuShare returns how many processors were busy for used in took.
func cpuShare(used, took time.Duration) float64 { return used.Seconds() / took.Seconds() }
