//go:build long

package systemtest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A callKey names a call of a soak; it is the call's arguments.
type callKey struct {
	Session, Serial uint32
}

// A stream is what one session publishes on one channel, numbered from 0.
type stream struct {
	Session uint32
	Channel string
}

// A publication is when it was made, by the books' count, and what became of it.
type publication struct {
	at    uint64
	made  time.Time
	state uint8
}

const (
	unanswered uint8 = iota
	confirmed
	refused // certainly not published
	unknown

	seen uint8 = 0x80 // somebody got it
)

// books are what a soak knows of all sessions together.
type books struct {
	mu           sync.Mutex // guards the following
	sessions     uint32
	runs         map[callKey][]time.Time
	refusedCalls map[callKey]bool
	publications map[stream][]publication
	clock        uint64 // counts publications
	skipped      []skip
	expired      []expiry
	told         map[uint32][]telling // by the number of the call with a key
	gone         []expiry             // calls with keys of which nothing was kept
	stopped      map[uint32]bool      // calls with keys, for all
	spans        []span               // of the faults
	counts       map[string]int
	slowest      time.Duration // until an ACK or NACK
	slowestWhat  string
	violations   []string
}

// A skip is a hole in what a subscription got of a stream, without a gap. What is
// missing may have come later.
type skip struct {
	stream
	*position
	after, before int
	subscriber    string
}

// An expiry is a call that ended in 408 though its callee answers at once.
type expiry struct {
	key        callKey
	begun, end time.Time
}

// A span is the time of a fault.
type span struct {
	*fault
	begin, end time.Time // no end: it goes on
}

const (
	// aftermath is how long a fault may have effects on calls: connections are given
	// up, leases end, callees and nodes announce themselves, the system is looked at
	// anew, and what is brought back runs.
	aftermath = 10 * time.Second
	// lookedAt is when all brokers have seen who the masters are.
	lookedAt = 5 * time.Second
)

func newBooks() *books {
	return &books{
		runs:         map[callKey][]time.Time{},
		refusedCalls: map[callKey]bool{},
		publications: map[stream][]publication{},
		told:         map[uint32][]telling{},
		stopped:      map[uint32]bool{},
		counts:       map[string]int{},
	}
}

// violated notes that a promise was broken, and during or after which fault.
func (b *books) violated(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.violations = append(b.violations, fmt.Sprintf(format, args...)+b.storm(time.Now()))
}

// storm says which fault was on at a time, or was last before it. mu is held.
func (b *books) storm(at time.Time) string {
	for _, s := range slices.Backward(b.spans) {
		if s.begin.After(at) {
			continue
		}
		ended := "which was on"
		if !s.end.IsZero() && s.end.Before(at) {
			ended = fmt.Sprintf("%v after its end", at.Sub(s.end).Round(time.Millisecond))
		}
		return fmt.Sprintf(" (%v after the beginning of %q, %s)", at.Sub(s.begin).Round(time.Millisecond), s.name, ended)
	}
	return ""
}

func (b *books) newSession() uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions++
	return b.sessions
}

func (b *books) count(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[what]++
}

// answered notes how long a request waited for its ACK or NACK.
func (b *books) answered(what string, after time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if after > b.slowest {
		b.slowest, b.slowestWhat = after, what+b.storm(time.Now())
	}
}

// ran notes that a callee runs the call with these arguments.
func (b *books) ran(args json.RawMessage) {
	var key callKey
	if err := json.Unmarshal(args, &key); err != nil {
		b.violated("a callee got the arguments %q", args)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs[key] = append(b.runs[key], time.Now())
}

func (b *books) refusedCall(key callKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusedCalls[key] = true
}

// suffers notes that a fault begins; over, that it ends.
func (b *books) suffers(f *fault) (over func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.spans)
	b.spans = append(b.spans, span{fault: f, begin: time.Now()})
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.spans[n].end = time.Now()
	}
}

// excused reports whether something between begin and end happened during a fault
// that may cause it, or less than so long after it. mu is held.
func (b *books) excused(may func(*fault) bool, after time.Duration, begin, end time.Time) bool {
	return slices.ContainsFunc(b.spans, func(s span) bool {
		return may(s.fault) && s.begin.Before(end) && (s.end.IsZero() || s.end.Add(after).After(begin))
	})
}

func (b *books) expire(e expiry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expired = append(b.expired, e)
}

// publish enters the next publication of a stream and returns its number.
func (b *books) publish(s stream) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock++
	b.publications[s] = append(b.publications[s], publication{at: b.clock, made: time.Now()})
	return len(b.publications[s]) - 1
}

// published notes what became of a publication.
func (b *books) published(s stream, n int, what uint8) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publications[s][n].state |= what
}

// now is later than all publications made so far.
func (b *books) now() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clock
}

// arrived notes that somebody got a publication, and returns when it was made.
func (b *books) arrived(s stream, n int) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &b.publications[s][n]
	p.state |= seen
	return p.at
}

// onItsWay reports whether event n of a skip may have been overtaken by the one behind the
// hole, and was still to come when the subscription ended. mu is held.
func (b *books) onItsWay(s skip, n int) bool {
	of := b.publications[s.stream]
	return !s.ended.IsZero() && s.ended.Before(of[s.before].made.Add(lookedAt)) && b.mayOvertake(of[n], of[s.before])
}

// mayOvertake reports whether a fault allows that the later publication arrives first. It
// counts when the two were published. mu is held.
func (b *books) mayOvertake(earlier, later publication) bool {
	return b.excused(func(f *fault) bool { return f.mayReorder }, lookedAt, earlier.made, later.made)
}

// overtaken notes that event n of a stream came after one that was published later.
func (b *books) overtaken(s stream, n, by int, subscriber string) {
	b.mu.Lock()
	of := b.publications[s]
	excused := b.mayOvertake(of[n], of[by])
	b.mu.Unlock()
	if !excused {
		b.violated("%s: for %+v came %d after %d", subscriber, s, n, by)
	}
}

// forgotten reports whether a publication may have been forgotten by servers that had
// confirmed it. Then nothing says that it is missing on a channel whose events are kept: the
// log proves what it has. mu is held.
func (b *books) forgotten(s stream, p publication) bool {
	return s.Channel == keptChannel.Channels && b.excused(func(f *fault) bool { return f.mayRepeat }, aftermath, p.made, p.made)
}

func (b *books) skip(s skip) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.skipped = append(b.skipped, s)
}

// check looks at everything together, once all sessions have ended.
func (b *books) check(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, runs := range b.runs {
		if n := len(runs); n > 1 && !b.excused(func(f *fault) bool { return f.mayRepeat || key.isShared() && f.mayForget }, aftermath, runs[0], runs[n-1]) {
			t.Errorf("the call %+v ran %d times", key, n)
		}
		if b.refusedCalls[key] {
			t.Errorf("the call %+v was refused, and ran", key)
		}
	}
	for _, e := range b.expired {
		if !b.excused(func(f *fault) bool { return f.mayLose }, aftermath, e.begun, e.end) {
			t.Errorf("the call %+v expired after %v, ran %d times, and no fault may lose calls", e.key, e.end.Sub(e.begun), len(b.runs[e.key]))
		}
	}
	b.checkKeyed(t)
	for s, publications := range b.publications {
		for n, p := range publications {
			if p.state == refused|seen {
				t.Errorf("publication %d of %+v was refused, and arrived", n, s)
			}
		}
	}
	for _, skip := range b.skipped {
		for n := skip.after + 1; n < skip.before; n++ {
			p := b.publications[skip.stream][n]
			// Once the fault is over, nobody publishes where others do not listen.
			excused := b.excused(func(f *fault) bool { return f.mayMiss }, 0, p.made, p.made) || b.forgotten(skip.stream, p)
			if p.state&^seen == confirmed && !skip.got[n] && !excused && !b.onItsWay(skip, n) {
				t.Errorf("publication %d of %+v was confirmed, and missed without a gap by %s%s", n, skip.stream, skip.subscriber, b.storm(p.made))
			}
		}
	}
	for _, v := range b.violations[:min(len(b.violations), 20)] {
		t.Error(v)
	}
	if n := len(b.violations); n > 20 {
		t.Errorf("and %d violations more", n-20)
	}
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(b.counts)) {
		lines = append(lines, fmt.Sprintf("%7d %s", b.counts[what], what))
	}
	t.Logf("%d sessions; the slowest ACK or NACK came after %v: %s\n%s", b.sessions, b.slowest, b.slowestWhat, strings.Join(lines, "\n"))
}
