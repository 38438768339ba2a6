package brokertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// A testCase checks one rule. Its function runs on a goroutine of its own.
type testCase struct {
	name  string
	rule  string
	needs features
	run   func(*trial)
}

// cases returns all cases; the files of the package hold them by subject.
func cases() []testCase {
	return slices.Concat(callCases, dispatchCases, closeCases, contextCases, batchCases,
		streamCases, keyedCases, keyedPartCases, topicCases, eventCases, historyCases, registryCases, presenceCases, queueCases, stressCases, outageCases)
}

const (
	defaultPatience = time.Minute
	watchdogFactor  = 3 // times the patience is what one case may take
	pollInterval    = time.Millisecond
	maxFailures     = 20 // further ones of a case are not reported
)

// A trial is one case on one engine. Its methods may be called from all
// goroutines of the case, except where they end it.
type trial struct {
	engine   Engine
	plain    bool
	patience time.Duration

	mu       sync.Mutex // guards the following
	failures []string
	over     bool // later failures do not count
	cleanups []func()
}

// examine runs a case on an engine and tells report of each failure, of
// goroutines left behind only once the cleanup functions of t have run, and not
// if the case is parallel to others.
func examine(t *testing.T, c testCase, open func(*testing.T) Engine, plain, parallel bool, report func(string)) {
	hung := false
	patience := defaultPatience
	if !parallel {
		before := goroutines()
		t.Cleanup(func() {
			if !hung {
				reportLeft(before, patience, report)
			}
		})
	}

	x := &trial{engine: open(t), plain: plain}
	if x.engine.Patience > 0 {
		patience = x.engine.Patience
	}
	x.patience = patience

	done := make(chan struct{})
	go func() {
		defer close(done)
		defer x.cleanUp()
		c.run(x)
	}()
	select {
	case <-done:
	case <-time.After(watchdogFactor * patience):
		hung = true
		x.errorf("the case hangs:\n%s", allStacks())
	}
	for _, failure := range x.end() {
		report(failure)
	}
}

// end returns the failures; later ones are dropped.
func (x *trial) end() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	return x.failures
}

// errorf records a failure.
func (x *trial) errorf(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over && len(x.failures) < maxFailures {
		x.failures = append(x.failures, fmt.Sprintf(format, args...))
	}
}

// fatalf records a failure and ends the goroutine, which must be the case's.
func (x *trial) fatalf(format string, args ...any) {
	x.errorf(format, args...)
	runtime.Goexit()
}

// check records a failure if err is not nil, on any goroutine.
func (x *trial) check(what string, err error) {
	if err != nil {
		x.errorf("%s: %v", what, err)
	}
}

// must ends the case if err is not nil.
func (x *trial) must(what string, err error) {
	if err != nil {
		x.fatalf("%s: %v", what, err)
	}
}

// cleanup runs f at the end of the case, the last one first.
func (x *trial) cleanup(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cleanups = append(x.cleanups, f)
}

func (x *trial) cleanUp() {
	x.mu.Lock()
	cleanups := x.cleanups
	x.mu.Unlock()
	for _, f := range slices.Backward(cleanups) {
		f()
	}
}

// process returns the roles of one more process.
func (x *trial) process() Roles {
	r := x.engine.Open()
	if x.plain {
		r = Plain(r)
	}
	return r
}

// within calls f with a context that ends when patience does.
func (x *trial) within(f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), x.patience)
	defer cancel()
	return f(ctx)
}

// await waits until ok returns true, or ends the case.
func (x *trial) await(what string, ok func() bool) {
	if !x.poll(ok) {
		x.fatalf("waited %v in vain until %s", x.patience, what)
	}
}

// poll waits until ok returns true and reports whether it did in time.
func (x *trial) poll(ok func() bool) bool {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for end := time.Now().Add(x.patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// receive waits for a value of c, or ends the case.
func receive[T any](x *trial, what string, c <-chan T) T {
	select {
	case v := <-c:
		return v
	case <-time.After(x.patience):
		x.fatalf("waited %v in vain until %s", x.patience, what)
		panic("unreachable")
	}
}

// repeat calls f over and over on a goroutine of its own, until stop is called
// or the case ends. stop waits for that and returns how often f was called.
func (x *trial) repeat(f func(i int)) (stop func() (times int)) {
	stopped, done := make(chan struct{}), make(chan struct{})
	times := 0
	go func() {
		defer close(done)
		for ; ; times++ {
			select {
			case <-stopped:
				return
			default:
				f(times)
			}
		}
	}()
	once := sync.OnceFunc(func() { close(stopped) })
	stop = func() int {
		once()
		<-done
		return times
	}
	x.cleanup(func() { stop() })
	return stop
}

// pass lets d go by.
func pass(d time.Duration) { <-time.After(d) }

// newID returns an ID that is used for nothing else.
func newID() (id broker.ID) {
	rand.Read(id[:])
	return id
}

// goroutines returns the stacks of all goroutines by their ids.
func goroutines() map[string]string {
	all := make(map[string]string)
	for stack := range strings.SplitSeq(allStacks(), "\n\n") {
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		all[id] = stack
	}
	return all
}

func allStacks() string {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			return strings.TrimSpace(string(buf[:n]))
		}
		buf = make([]byte, 2*len(buf))
	}
}

// reportLeft waits until all goroutines are gone that were not there before, and
// reports those that stay.
func reportLeft(before map[string]string, patience time.Duration, report func(string)) {
	var left []string
	x := trial{patience: patience}
	x.poll(func() bool {
		left = left[:0]
		for id, stack := range goroutines() {
			if _, old := before[id]; !old {
				left = append(left, stack)
			}
		}
		return len(left) == 0
	})
	if len(left) > 0 {
		report("goroutines are left after everything was closed:\n" + strings.Join(left, "\n\n"))
	}
}
