package juggler

import (
	"fmt"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/names"
	"github.com/juggler-go/juggler/internal/option"
)

// An OutcomeRule says what is kept of the calls with keys to some URIs.
type OutcomeRule struct {
	// URIs is a URI, or how URIs begin and then a star: "order.*". A star alone is all.
	URIs string

	// Keep is for how long an outcome is kept from when it is there, 1 s to 30 days.
	// Default, and 0: 10 min.
	Keep time.Duration

	// PartBytes is how many bytes the parts of an answer may have together that are kept, 1
	// KiB to 64 MiB: of more the oldest go. Default, and 0: 1 MiB.
	PartBytes int

	// Repeatable says that the callees of these URIs do what a key stands for once, however
	// often they are called with it: they store [calleekit.Call.Key] in the transaction of the
	// effect. A CALL with a key then makes the call again, in a new attempt, if its callee died
	// (502), or if its time is over and no outcome came; without it, a key runs once, whatever
	// becomes of it. What an earlier attempt brings from then on is ignored.
	//
	// [calleekit.Call.Key]: https://pkg.go.dev/github.com/juggler-go/juggler/calleekit#Call.Key
	Repeatable bool
}

// outcomeRule is an OutcomeRule that was checked.
type outcomeRule struct {
	OutcomeRule
	uris names.Set
}

// WithOutcomes sets what is kept of calls with keys, by their URIs: the first rule counts
// that has the URI. All nodes should have the same rules; those of the node count that made
// the call. Default: outcomes are kept for 10 min, and 1 MiB of parts; up to 256 rules.
func WithOutcomes(rules ...OutcomeRule) Option {
	return optionFunc(func(c *config) {
		c.needsOutcomes("WithOutcomes")
		if len(rules) > option.OutcomeRules {
			c.problems.Add(fmt.Sprintf("WithOutcomes: %d rules, want up to %d", len(rules), option.OutcomeRules))
			return
		}
		c.outcomes = nil
		for _, r := range rules {
			c.addOutcomeRule(r)
		}
	})
}

// addOutcomeRule adds a rule, or the problem that it has.
func (c *config) addOutcomeRule(r OutcomeRule) {
	refuse := func(problem string) { c.problems.Add(fmt.Sprintf("WithOutcomes(%q): %s", r.URIs, problem)) }
	uris, ok := names.Parse(r.URIs)
	if !ok {
		refuse("want " + names.Want)
		return
	}
	for _, earlier := range c.outcomes {
		if earlier.uris.Covers(uris) {
			refuse(fmt.Sprintf("the rule of %q before it has all of its URIs", earlier.URIs))
			return
		}
	}
	if keep := option.OutcomeKeep; r.Keep == 0 {
		r.Keep = keep.Default
	} else if r.Keep < keep.Min || r.Keep > keep.Max {
		refuse(fmt.Sprintf("Keep is %v, want %v to %v", r.Keep, keep.Min, keep.Max))
	}
	if size := option.OutcomePartBytes; r.PartBytes == 0 {
		r.PartBytes = size.Default
	} else if r.PartBytes < size.Min || r.PartBytes > size.Max {
		refuse(fmt.Sprintf("PartBytes is %d, want %d to %d", r.PartBytes, size.Min, size.Max))
	}
	c.outcomes = append(c.outcomes, outcomeRule{r, uris})
}

// outcomeRule returns the rule of a URI.
func (c *config) outcomeRule(uri string) *OutcomeRule {
	for i := range c.outcomes {
		if r := &c.outcomes[i]; r.uris.Has(uri) {
			return &r.OutcomeRule
		}
	}
	return &defaultOutcomeRule
}

var defaultOutcomeRule = OutcomeRule{Keep: option.OutcomeKeep.Default, PartBytes: option.OutcomePartBytes.Default}

// WithMaxKeys sets how many calls to one URI a scope ([WithKeyScope]) may have for which
// something is kept, on all nodes together: those that run, and the outcomes that are kept
// still. More get NACK 429. Default: 100; 1 to 1,000,000.
func WithMaxKeys(n int) Option {
	return optionFunc(func(c *config) {
		c.needsOutcomes("WithMaxKeys")
		c.maxKeys = n
	})
}

// needsOutcomes notes that an option has an effect only if the broker keeps outcomes.
func (c *config) needsOutcomes(option string) { c.needOutcomes = append(c.needOutcomes, option) }

// checkOutcomes refuses options that have no effect with the broker.
func (c *config) checkOutcomes() {
	if _, ok := c.caller.(broker.KeyedCaller); ok || c.caller == nil { // the default broker does
		return
	}
	for _, name := range c.needOutcomes {
		c.problems.Add(fmt.Sprintf("%s: it has no effect, as the broker, %T, keeps no outcomes of calls (it is no broker.KeyedCaller)", name, c.caller))
	}
}
