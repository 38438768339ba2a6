package memory

import (
	"slices"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/glob"
)

// patterns finds the patterns that match a channel. A publication looks up the beginnings
// of its channel, one for each length that beginnings of patterns have, and is compared
// with those patterns only that begin so: with one pattern for each user (user.7.*) a
// publication for one of them costs no more however many there are.
type patterns struct {
	all      map[string]*pattern
	byPrefix map[string][]*pattern
	lengths  []prefixLength // of the keys of byPrefix, ascending
}

// A pattern is a topic with subscribers.
type pattern struct {
	name        string
	glob        *glob.Pattern
	subscribers []*subscriberConn
	index       int // among those with its prefix
}

// A prefixLength is one that the prefixes of some patterns have.
type prefixLength struct{ bytes, patterns int }

func (p *patterns) init() {
	p.all = make(map[string]*pattern)
	p.byPrefix = make(map[string][]*pattern)
}

// match appends the patterns that match the channel of e to found.
func (p *patterns) match(e *broker.Event, found []match) []match {
	for _, length := range p.lengths {
		if length.bytes > len(e.Channel) {
			break
		}
		rest := e.Channel[length.bytes:]
		for _, candidate := range p.byPrefix[e.Channel[:length.bytes]] {
			if candidate.glob.MatchRest(rest) {
				found = append(found, match{e, broker.Topic{Name: candidate.name, Pattern: true}, candidate.subscribers})
			}
		}
	}
	return found
}

// get returns a pattern, which it makes if there is none.
func (p *patterns) get(name string) *pattern {
	if known := p.all[name]; known != nil {
		return known
	}
	n := &pattern{name: name, glob: glob.Compile(name)}
	p.all[name] = n
	prefix := n.glob.Prefix()
	n.index = len(p.byPrefix[prefix])
	p.byPrefix[prefix] = append(p.byPrefix[prefix], n)
	i, known := p.length(prefix)
	if !known {
		p.lengths = slices.Insert(p.lengths, i, prefixLength{bytes: len(prefix)})
	}
	p.lengths[i].patterns++
	return n
}

// remove removes a pattern.
func (p *patterns) remove(gone *pattern) {
	delete(p.all, gone.name)
	prefix := gone.glob.Prefix()
	list := p.byPrefix[prefix]
	last := len(list) - 1
	list[gone.index] = list[last]
	list[gone.index].index = gone.index
	list[last] = nil
	if p.byPrefix[prefix] = list[:last]; last == 0 {
		delete(p.byPrefix, prefix)
	}
	i, _ := p.length(prefix)
	if p.lengths[i].patterns--; p.lengths[i].patterns == 0 {
		p.lengths = slices.Delete(p.lengths, i, i+1)
	}
}

// length returns where the length of a prefix is, or belongs, among lengths.
func (p *patterns) length(prefix string) (int, bool) {
	return slices.BinarySearchFunc(p.lengths, len(prefix), func(l prefixLength, bytes int) int { return l.bytes - bytes })
}
