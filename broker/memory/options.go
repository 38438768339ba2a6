package memory

import (
	"errors"
	"fmt"
	"time"
)

// ErrInvalidOption is wrapped by the errors of [New].
var ErrInvalidOption = errors.New("invalid option")

// An Option changes a setting of a [Broker].
type Option interface{ apply(*config) }

type option func(*config)

func (o option) apply(c *config) { o(c) }

// config is the settings of a Broker; New validates them once.
type config struct {
	queueCapacity int
	queueBytes    int64
	grace         time.Duration
	discovery     bool
}

func defaultConfig() config {
	return config{
		queueCapacity: 1024,
		queueBytes:    256 << 20,
		grace:         5 * time.Second,
		discovery:     true,
	}
}

// WithQueueCapacity sets how many calls may wait for a callee in the queue of
// one URI: 1 to 1<<24, 1024 by default. Beyond it calls are refused with
// [broker.ErrQueueFull]. Calls that a callee has taken do not count.
func WithQueueCapacity(calls int) Option {
	return option(func(c *config) { c.queueCapacity = calls })
}

// WithQueueBytes sets how many bytes the calls waiting in all queues may hold
// together, their book-keeping included (a fixed sum for each call): 64 KiB to
// 1 TiB, 256 MiB by default. Beyond it calls are refused as when a queue is
// full.
func WithQueueBytes(bytes int64) Option {
	return option(func(c *config) { c.queueBytes = bytes })
}

// WithCalleeGrace sets for how long calls to a URI are still queued after its
// last callee has closed: 0 to 1 hour, 5 seconds by default. It bridges the
// restart of callees; 0 refuses calls at once. Calls that wait in the queue
// when it is over end in code 404.
func WithCalleeGrace(grace time.Duration) Option {
	return option(func(c *config) { c.grace = grace })
}

// WithoutCalleeDiscovery lets calls to any URI be queued, also when nobody
// answers it: such calls end when their time is over, instead of being refused
// with broker.ErrNoCallee. Callees may then be opened after the calls.
func WithoutCalleeDiscovery() Option {
	return option(func(c *config) { c.discovery = false })
}

// validate returns an error for each setting that is out of bounds.
func (c *config) validate() error {
	var errs []error
	check := func(ok bool, name string, value any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("memory: %w: %s(%v): want %s", ErrInvalidOption, name, value, want))
		}
	}
	check(c.queueCapacity >= 1 && c.queueCapacity <= 1<<24, "WithQueueCapacity", c.queueCapacity, "1 to 16777216 calls")
	check(c.queueBytes >= 64<<10 && c.queueBytes <= 1<<40, "WithQueueBytes", c.queueBytes, "65536 to 1099511627776 bytes")
	check(c.grace >= 0 && c.grace <= time.Hour, "WithCalleeGrace", c.grace, "0s to 1h0m0s")
	return errors.Join(errs...)
}
