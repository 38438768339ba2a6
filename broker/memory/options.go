package memory

import (
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/kept"
	"github.com/juggler-go/juggler/internal/option"
)

// ErrInvalidOption is wrapped by the errors of [New]. It is juggler.ErrInvalidOption.
var ErrInvalidOption = option.ErrInvalid

// An Option changes a setting of a [Broker].
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (o optionFunc) apply(c *config) { o(c) }

// config is the settings of a Broker; New validates them once.
type config struct {
	queueCapacity int
	queueBytes    int64
	grace         time.Duration
	discovery     bool
	history       []broker.HistoryRule
	historyBytes  int64
	recordBytes   int64

	rules kept.Rules // of history
}

func defaultConfig() config {
	c := config{discovery: true}
	option.Reset(c.settings())
	return c
}

// settings says where the values of the options are kept that have a range.
func (c *config) settings() []option.Setting {
	return []option.Setting{
		option.MemoryQueueCapacity.In(&c.queueCapacity),
		option.MemoryQueueBytes.In(&c.queueBytes),
		option.MemoryCalleeGrace.In(&c.grace),
		option.MemoryHistoryBytes.In(&c.historyBytes),
		option.MemoryKeyedBytes.In(&c.recordBytes),
	}
}

// WithQueueCapacity sets how many calls may wait for a callee in the queue of
// one URI. Beyond it calls are refused with [broker.ErrQueueFull]. Calls that a
// callee has taken do not count. Default: 1,024; 1 to 16,777,216.
func WithQueueCapacity(calls int) Option {
	return optionFunc(func(c *config) { c.queueCapacity = calls })
}

// WithQueueBytes sets how many bytes the calls waiting in all queues may hold
// together, their book-keeping included (a fixed sum for each call). Beyond it
// calls are refused as when a queue is full. Default: 256 MiB; 64 KiB to 1 TiB.
func WithQueueBytes(bytes int64) Option {
	return optionFunc(func(c *config) { c.queueBytes = bytes })
}

// WithCalleeGrace sets for how long calls to a URI are still queued after its
// last callee has closed. It bridges the restart of callees; 0 refuses calls at
// once. Calls that wait in the queue when it is over end in code 404. Default:
// 5 s; 0 to 1 h.
func WithCalleeGrace(grace time.Duration) Option {
	return optionFunc(func(c *config) { c.grace = grace })
}

// WithoutCalleeDiscovery lets calls to any URI be queued, also when it has no
// callee: such calls end when their time is over, instead of being refused
// with broker.ErrNoCallee. Callees may then be opened after the calls.
func WithoutCalleeDiscovery() Option {
	return optionFunc(func(c *config) { c.discovery = false })
}

// WithHistory keeps events of the channels that the rules match, the first rule that does:
// see [broker.HistoryRule] for what a rule may say. There may be 256 rules; one that
// could never match since an earlier one has all of its channels is refused. Without
// rules, which is the default, nothing is kept.
func WithHistory(rules ...broker.HistoryRule) Option {
	return optionFunc(func(c *config) { c.history = rules })
}

// WithMaxHistoryBytes sets how many bytes the kept events of all channels may hold
// together, their book-keeping included. Beyond it the events of the channels go whose
// last event is the oldest. Default: 64 MiB; 64 KiB to 1 TiB.
func WithMaxHistoryBytes(bytes int64) Option {
	return optionFunc(func(c *config) { c.historyBytes = bytes })
}

// WithMaxKeyedBytes sets how many bytes may be kept of all calls with keys together: what
// their callees have answered, with a fixed sum for each call. Beyond it calls with new
// keys are refused with [broker.ErrUnavailable], and of parts only the newest are kept; the
// outcomes of calls that were made are stored all the same. Default: 64 MiB; 64 KiB to
// 1 TiB.
func WithMaxKeyedBytes(bytes int64) Option {
	return optionFunc(func(c *config) { c.recordBytes = bytes })
}
