package contract

import (
	"cmp"
	"fmt"
	"slices"
)

// A Change is a difference between two contracts.
type Change struct {
	Breaks bool   // clients that were made for the old one may fail with the new one
	Where  string // such as: call math.add: args.limit
	What   string // such as: is required now
}

// String returns the change as a line.
func (c Change) String() string { return c.Where + ": " + c.What }

// Compare returns what has changed from one contract to another, in the order of what it
// concerns: first that of calls, then that of channels.
//
// What clients send, the arguments of calls, may become wider: a member that may be left
// out, an integer that becomes a number. What they receive, results, parts and events, may
// become narrower: a member that is always there now. The other way round it breaks them,
// as does what is removed, also a member that could be left out. Where Compare cannot tell,
// it says that a change breaks clients. Descriptions do not count.
func Compare(from, to *Contract) []Change {
	c := &comparison{from: from, to: to}
	for _, uri := range either(from.Calls, to.Calls) {
		c.where = "call " + uri
		c.call(from.Calls[uri], to.Calls[uri])
	}
	for _, name := range either(from.Channels, to.Channels) {
		c.where = "channel " + name
		was, is := from.channelLike(name), to.channelLike(name)
		if was != is && name == was && is != "" {
			continue // it comes by its new name
		}
		c.channel(from.Channels[was], to.Channels[is])
	}
	return c.changes
}

// either returns the keys that either map has, in order.
func either[K cmp.Ordered, V any](a, b map[K]V) []K {
	return slices.Compact(slices.Sorted(slices.Values(append(sorted(a), sorted(b)...))))
}

// A comparison goes through two contracts.
type comparison struct {
	from, to *Contract
	changes  []Change
	where    string
	by       direction
	seen     map[pair]bool // what was compared, or is being compared
}

type pair struct{ from, to alternative }

// A direction says who sends what is looked at.
type direction uint8

const (
	sent     direction = 1 << iota // clients do
	received                       // the server does
)

// An effect is what a change does to the values that are allowed.
type effect uint8

const (
	harmless effect = iota
	wider           // more values are allowed
	narrower        // fewer values are allowed
	other           // others are allowed
)

func (c *comparison) note(breaks bool, format string, a ...any) {
	c.changes = append(c.changes, Change{breaks, c.where, fmt.Sprintf(format, a...)})
}

// changed notes a change of a schema.
func (c *comparison) changed(e effect, format string, a ...any) {
	c.note(e == other || e == wider && c.by&received != 0 || e == narrower && c.by&sent != 0, format, a...)
}

func (c *comparison) within(part string, f func()) {
	outer := c.where
	c.where += part
	f()
	c.where = outer
}

// inBoth notes what only one of the contracts has.
func (c *comparison) inBoth(from, to bool) bool {
	switch {
	case !from:
		c.note(false, "is new")
	case !to:
		c.note(true, "is gone")
	}
	return from && to
}

func (c *comparison) call(from, to *CallDoc) {
	if !c.inBoth(from != nil, to != nil) {
		return
	}
	c.deprecation(from.Deprecated, to.Deprecated)
	c.within(": args", func() { c.args(from, to) })
	c.schema(": result", from.Result, to.Result, received)
	switch {
	case from.Part == nil && to.Part == nil:
	case from.Part == nil:
		c.note(false, "answers in parts, too")
	case to.Part == nil:
		c.note(true, "answers in parts no more")
	default:
		c.schema(": part", from.Part, to.Part, received)
	}
	for _, code := range either(from.Errors, to.Errors) {
		_, was := from.Errors[code]
		_, is := to.Errors[code]
		switch {
		case !was:
			c.note(false, "may fail with code %d: %s", code, to.Errors[code])
		case !is:
			c.note(false, "fails with code %d no more", code)
		}
	}
}

func (c *comparison) args(from, to *CallDoc) {
	switch {
	case from.Args == nil && to.Args == nil:
		return
	case from.Args == nil:
		c.note(!to.ArgsOptional, "are new and %s", optionally(to.ArgsOptional))
		return
	case to.Args == nil:
		c.note(true, "are taken no more")
		return
	case from.ArgsOptional != to.ArgsOptional:
		c.note(from.ArgsOptional, "are %s now", optionally(to.ArgsOptional))
	}
	if from.StrictArgs != to.StrictArgs {
		c.note(to.StrictArgs, "members that are not known are %s now", map[bool]string{true: "refused", false: "ignored"}[to.StrictArgs])
	}
	c.schema("", from.Args, to.Args, sent)
}

func optionally(optional bool) string {
	if optional {
		return "optional"
	}
	return "required"
}

func (c *comparison) channel(from, to *ChannelDoc) {
	if !c.inBoth(from != nil, to != nil) {
		return
	}
	c.deprecation(from.Deprecated, to.Deprecated)
	switch {
	case from.FromClients && !to.FromClients:
		c.note(true, "clients publish on it no more")
	case !from.FromClients && to.FromClients:
		c.note(false, "clients publish on it, too")
	}
	by := received
	if from.FromClients && to.FromClients {
		by |= sent
	}
	c.schema(": event", from.Event, to.Event, by)
}

func (c *comparison) deprecation(from, to string) {
	switch {
	case from == "" && to != "":
		c.note(false, "is deprecated: %s", to)
	case from != "" && to == "":
		c.note(false, "is deprecated no more")
	}
}

// schema compares what clients send or receive.
func (c *comparison) schema(part string, from, to *Schema, by direction) {
	c.by, c.seen = by, map[pair]bool{}
	c.within(part, func() { c.values(from, to) })
}
