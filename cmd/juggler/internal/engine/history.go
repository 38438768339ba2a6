package engine

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/internal/kept"
	"github.com/juggler-go/juggler/internal/option"
)

// embeddedHistory is the flag for the memory of the embedded broker.
var embeddedHistory = settings.FlagName(option.MemoryHistoryBytes.Option)

// bindHistory adds what events are kept of which channels.
func (f *Flags) bindHistory(flags *pflag.FlagSet) {
	f.history.List = settings.List{Kind: "rules", Take: f.history.take}
	flags.Var(&f.history, "history", "`rules` of which channels' newest events are kept, the first that matches: CHANNELS=EVENTS/TIME, such as room.*=100/1h; they lie in Redis, so give all nodes the same; \"none\" takes those away that lie there (default: those that lie there)")
	f.embedded.Bytes64(flags, option.MemoryHistoryBytes, memory.WithMaxHistoryBytes, "memory for all events that --history keeps, without --redis")
}

// memoryOptions returns the options of the embedded broker.
func (f *Flags) memoryOptions() []memory.Option {
	options := f.embedded.List()
	if len(f.history.rules) > 0 {
		options = append(options, memory.WithHistory(f.history.rules...))
	}
	return options
}

// redisHistory returns the options of the broker that carries events.
func (f *Flags) redisHistory() []redis.Option {
	if f.history.rules == nil {
		return nil
	}
	return []redis.Option{redis.WithHistory(f.history.rules...)}
}

// historyRules are rules of history: CHANNELS=EVENTS/TIME, with commas between them, or
// "none".
type historyRules struct {
	settings.List
	rules []broker.HistoryRule // nil: nothing was said; empty: there are to be none
}

// noHistory says that no rules are to count.
const noHistory = "none"

// take sets the rules.
func (h *historyRules) take(texts []string) error {
	rules := make([]broker.HistoryRule, 0, len(texts))
	for _, text := range texts {
		if text == noHistory {
			if len(texts) > 1 {
				return fmt.Errorf("%q is for no rules, and others are there", noHistory)
			}
			continue
		}
		rule, err := parseRule(text)
		if err != nil {
			return err
		}
		rules = append(rules, rule)
	}
	p := option.Problems{Package: "history"}
	kept.Compile(&p, rules)
	if err := p.Err(); err != nil {
		return errors.New(withoutOption.Replace(err.Error()))
	}
	h.rules = rules
	return nil
}

// withoutOption takes what a library says of its option off the text of an error.
var withoutOption = strings.NewReplacer("history: WithHistory(", "", "history: WithHistory: ", "", "): ", ": ", ": "+option.ErrInvalid.Error(), "")

// parseRule reads CHANNELS=EVENTS/TIME. Names may have an = or / in them.
func parseRule(text string) (r broker.HistoryRule, err error) {
	at := strings.LastIndex(text, "=")
	events, duration, ok := strings.Cut(text[at+1:], "/")
	if at >= 1 && ok {
		r.Channels = text[:at]
		var err1, err2 error
		r.Events, err1 = strconv.Atoi(events)
		r.For, err2 = time.ParseDuration(duration)
		if err1 == nil && err2 == nil {
			return r, nil
		}
	}
	return r, fmt.Errorf("%q: want CHANNELS=EVENTS/TIME, such as room.*=100/1h", text)
}
