package jugglertest

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strconv"
	"sync/atomic"
	"time"
)

// servers numbers the servers of a test binary, for their labels.
var servers atomic.Uint64

const labelKey = "jugglertest"

// labelGoroutines marks the test's goroutine, and so all that are started
// from it from now on, directly or not.
func (s *Server) labelGoroutines() {
	s.label = strconv.FormatUint(servers.Add(1), 10)
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(labelKey, s.label)))
}

// checkLeaks fails the test if a goroutine of the server is left.
func (s *Server) checkLeaks() {
	pprof.SetGoroutineLabels(context.Background()) // the test's own
	var left []byte
	for end := time.Now().Add(waitTime / 4); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if left = s.goroutines(); left == nil {
			return
		}
	}
	s.t.Errorf("jugglertest: goroutines are left:\n%s", left)
}

// goroutines returns the stacks of the goroutines with the server's label, as
// the goroutine profile prints them, or nil.
func (s *Server) goroutines() []byte {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return []byte(err.Error())
	}
	label := fmt.Appendf(nil, "%q:%q", labelKey, s.label)
	var left []byte
	for stack := range bytes.SplitSeq(profile.Bytes(), []byte("\n\n")) {
		if bytes.Contains(stack, label) {
			left = append(append(left, stack...), '\n', '\n')
		}
	}
	return left
}
