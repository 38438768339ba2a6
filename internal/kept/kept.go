// Package kept finds the rule of history that a channel has. All brokers take the same
// rules and refuse the same.
package kept

import (
	"fmt"
	"slices"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/names"
	"github.com/juggler-go/juggler/internal/option"
)

// Rules are rules in their order. The zero value has none.
type Rules struct {
	list []rule
}

type rule struct {
	broker.HistoryRule
	channels names.Set
}

// Compile checks rules that the option WithHistory was given. If one of them is wrong it
// adds that to p, and the result has no use.
func Compile(p *option.Problems, given []broker.HistoryRule) Rules {
	var r Rules
	if len(given) > option.HistoryRules {
		p.Add(fmt.Sprintf("WithHistory: %d rules, want up to %d", len(given), option.HistoryRules))
		return r
	}
	for _, g := range given {
		channels, ok := names.Parse(g.Channels)
		next := rule{g, channels}
		earlier := slices.IndexFunc(r.list, func(e rule) bool { return e.channels.Covers(channels) })
		switch {
		case !ok:
			refuse(p, g, "want the name of a channel, or how names begin and then a star")
		case g.Events < 1 || g.Events > option.HistoryEvents:
			refuse(p, g, fmt.Sprintf("Events is %d, want 1 to %d", g.Events, option.HistoryEvents))
		case g.For < option.HistoryShortest || g.For > option.HistoryLongest:
			refuse(p, g, fmt.Sprintf("For is %v, want %v to %v", g.For, option.HistoryShortest, option.HistoryLongest))
		case earlier >= 0:
			refuse(p, g, fmt.Sprintf("the rule of %q before it has all of its channels", r.list[earlier].Channels))
		}
		r.list = append(r.list, next)
	}
	return r
}

func refuse(p *option.Problems, r broker.HistoryRule, problem string) {
	p.Add(fmt.Sprintf("WithHistory(%q): %s", r.Channels, problem))
}

// Len returns how many rules there are.
func (r *Rules) Len() int { return len(r.list) }

// At returns a rule, by its place.
func (r *Rules) At(i int) broker.HistoryRule { return r.list[i].HistoryRule }

// Find returns the place of the first rule that keeps the events of channel, or -1.
func (r *Rules) Find(channel string) int {
	for i := range r.list {
		if r.list[i].channels.Has(channel) {
			return i
		}
	}
	return -1
}
