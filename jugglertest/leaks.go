package jugglertest

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A label marks the goroutines of one test. All servers of the test share it:
// a goroutine that the test starts may be of any of them.
type label struct {
	value   string
	servers int // that have not ended
}

var labels = struct {
	mu     sync.Mutex // guards the following
	number uint64
	tests  map[testing.TB]*label
}{tests: make(map[testing.TB]*label)}

const labelKey = "jugglertest"

// labelGoroutines marks the test's goroutine, and so all that are started
// from it from now on, directly or not. After the last server of the test was
// closed, none of them may be left.
func labelGoroutines(t testing.TB) {
	labels.mu.Lock()
	defer labels.mu.Unlock()
	l := labels.tests[t]
	if l == nil {
		labels.number++
		l = &label{value: strconv.FormatUint(labels.number, 10)}
		labels.tests[t] = l
	}
	l.servers++
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(labelKey, l.value)))
	t.Cleanup(func() { l.serverEnded(t) })
}

func (l *label) serverEnded(t testing.TB) {
	labels.mu.Lock()
	l.servers--
	last := l.servers == 0
	if last {
		delete(labels.tests, t)
	}
	labels.mu.Unlock()
	if last {
		l.checkLeaks(t)
	}
}

// checkLeaks fails the test if a goroutine of it is left.
func (l *label) checkLeaks(t testing.TB) {
	pprof.SetGoroutineLabels(context.Background()) // the test's own
	left := l.goroutines()
	for pause := time.Millisecond; left != nil && pause < waitTime/4; pause *= 2 {
		time.Sleep(pause)
		left = l.goroutines()
	}
	if left == nil {
		return
	}
	t.Errorf("jugglertest: goroutines are left:\n%s", left)
}

// goroutines returns the stacks of the goroutines with the label, as the
// goroutine profile prints them, or nil.
func (l *label) goroutines() []byte {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return []byte(err.Error())
	}
	text := fmt.Appendf(nil, "%q:%q", labelKey, l.value)
	var left []byte
	for stack := range bytes.SplitSeq(profile.Bytes(), []byte("\n\n")) {
		if bytes.Contains(stack, text) {
			left = append(append(left, stack...), '\n', '\n')
		}
	}
	return left
}
