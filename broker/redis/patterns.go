package redis

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/juggler-go/juggler/internal/glob"
)

// patterns has the patterns of a process. Redis compares each publication with each
// pattern that somebody has asked it for, on its only thread, with a matcher that goes
// back. Clients choose patterns, so a process asks for something wider where its patterns
// are dear or many, and picks what they match itself.
type patterns struct {
	broker *Broker

	mu        sync.Mutex // guards the following, and the sets of asked
	asked     map[subject]*asked
	of        map[string]*asked // by the name of a pattern: what is asked for, for it
	backtrack int               // the sum over asked
}

// Bounds of what a process asks Redis for, and so of what it makes a publication cost
// there: serverPatterns comparisons with the beginning of the channel, serverBacktrack
// ones with each byte of the rest. Beyond the first all events come, which costs Redis
// less than many comparisons do; beyond the second, all that begin as the pattern does.
const (
	serverPatterns  = 256
	serverBacktrack = 128
)

// asked is a pattern that the server was asked for, and those in whose place that is. It
// listens for them.
type asked struct {
	patterns  *patterns
	subject   subject
	backtrack int
	set       glob.Set[[]*subscription]
	matching  []*subscription // scratch of message
}

func newPatterns(b *Broker) *patterns {
	return &patterns{broker: b, asked: map[subject]*asked{}, of: map[string]*asked{}}
}

// subscribe has s get the events that match its pattern, and returns nil once the server
// has confirmed that.
func (p *patterns) subscribe(ctx context.Context, s *subscription) error {
	a := p.enter(s)
	err := p.broker.hub.await(ctx, a.subject, a)
	if err != nil {
		p.unsubscribe(s)
	}
	return err
}

// enter adds s to what is asked for in place of its pattern.
func (p *patterns) enter(s *subscription) *asked {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.of[s.topic.Name]
	if a == nil {
		a = p.choose(s.topic.Name)
		p.of[s.topic.Name] = a
	}
	e := a.set.Add(s.topic.Name)
	e.Value = append(e.Value, s)
	return a
}

// choose returns what to ask for in place of a new pattern: itself, all that begins as it
// does, or everything. mu is held.
func (p *patterns) choose(name string) *asked {
	compiled := glob.Compile(name)
	backtrack := compiled.Backtrack()
	if backtrack < 0 || p.backtrack+backtrack > serverBacktrack {
		name, backtrack = glob.Quote(compiled.Prefix())+"*", 0
	}
	s := subject{pattern, p.broker.keys.eventPattern(name)}
	if p.asked[s] == nil && len(p.asked) >= serverPatterns {
		s, backtrack = subject{pattern, p.broker.keys.eventPattern("*")}, 0
	}
	a := p.asked[s]
	if a == nil {
		a = &asked{patterns: p, subject: s, backtrack: backtrack}
		p.asked[s] = a
		p.backtrack += backtrack
	}
	return a
}

// unsubscribe ends what subscribe began.
func (p *patterns) unsubscribe(s *subscription) {
	if a := p.leave(s); a != nil {
		p.broker.hub.unsubscribe(a.subject, a)
	}
}

// leave removes s, and returns what need not be asked for any more, or nil.
func (p *patterns) leave(s *subscription) *asked {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.of[s.topic.Name]
	if a == nil {
		return nil
	}
	e := a.set.Get(s.topic.Name)
	i := slices.Index(e.Value, s)
	if i < 0 {
		return nil // it has left already
	}
	if e.Value = slices.Delete(e.Value, i, i+1); len(e.Value) > 0 {
		return nil
	}
	a.set.Remove(e)
	delete(p.of, s.topic.Name)
	if a.set.Len() > 0 {
		return nil
	}
	delete(p.asked, a.subject)
	p.backtrack -= a.backtrack
	return a
}

// message implements [listener]. Only the goroutine of the feed calls it.
func (a *asked) message(_ subject, name, payload string) {
	p := a.patterns
	channel := strings.TrimPrefix(name, p.broker.keys.eventPattern(""))
	a.matching = a.matching[:0]
	p.mu.Lock()
	for e := range a.set.Matching(channel) {
		a.matching = append(a.matching, e.Value...)
	}
	p.mu.Unlock()
	defer clear(a.matching)
	if len(a.matching) == 0 {
		return
	}
	k, err := decodeMessage(payload)
	if err != nil {
		p.broker.corrupt(name, err)
		return
	}
	k.event.Channel = channel
	if k.begins { // who may have missed something was told when the connection was lost
		return
	}
	for _, s := range a.matching {
		s.put(delivery{event: k.event})
	}
}

// gap implements [listener].
func (a *asked) gap(subject) {
	var all []*subscription
	a.patterns.mu.Lock()
	for e := range a.set.All() {
		all = append(all, e.Value...)
	}
	a.patterns.mu.Unlock()
	for _, s := range all {
		s.gap(a.subject)
	}
}
