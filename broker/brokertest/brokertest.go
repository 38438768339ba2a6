// Package brokertest is the conformance suite of the broker contract. A broker
// proves itself with a test of a few lines:
//
//	func TestBroker(t *testing.T) {
//		brokertest.Run(t, func(t *testing.T) brokertest.Engine {
//			b := mybroker.New(t.TempDir())
//			t.Cleanup(func() { b.Close() })
//			return brokertest.Engine{Open: func() brokertest.Roles {
//				return brokertest.Roles{Caller: b, Callee: b, PubSub: b}
//			}}
//		})
//	}
//
// Each case checks one rule of package broker, and a failure prints it. Run
// one alone with go test -run 'TestBroker/whole/cancel_queued'. A case that
// hangs is ended with the stacks of all goroutines, and a case that leaves
// goroutines behind fails. Cases run one after the other, or with
// [Engine.Parallel] beside each other.
//
// The suite waits for what must happen, up to [Engine.Patience], and assumes
// of nothing that it happens at once, so that engines behind a network pass.
package brokertest

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// Roles are what one process has of an engine. A nil role is not tested, which
// the output says. Calls need Caller and Callee both.
type Roles struct {
	Caller broker.Caller
	Callee broker.Callee
	PubSub broker.PubSub
}

// An Engine is what is tested: for each case a fresh and empty one.
type Engine struct {
	// Open returns the roles for one more process. Two nodes and a callee of
	// a case come from three calls, and must meet. It may return the same
	// roles each time if the engine is for a single process. The suite closes
	// the connections that it opens; the function that made the Engine closes
	// the engine itself, with t.Cleanup.
	Open func() Roles

	// Grace is for how long calls are queued after the last callee of a URI
	// has closed. 0 means that they are refused at once, less than 0 that the
	// engine has no callee discovery. The suite waits it out: make it short,
	// half a second or so.
	Grace time.Duration

	// QueueCapacity is how many calls to one URI can wait. 0 means that the
	// bound is not tested. The suite fills it: make it small, but not below 64.
	QueueCapacity int

	// NoPatterns says that the engine has exact topics only.
	NoPatterns bool

	// WholeOnly leaves out plain/…, which takes as long again: for an engine that differs
	// from another, which is tested in both ways, in what has nothing to do with them.
	WholeOnly bool

	// Parallel has cases run at the same time, as many as go test's -parallel says: they
	// wait for most of their time. Engines must then not affect each other. Goroutines
	// that are left behind fail whole or plain, and only -run tells of which case they are.
	Parallel bool

	// Outage cuts the engine off from what is behind it: connections that
	// exist break and new ones fail, until the function that it returns ends
	// that. nil: the engine has nothing that it can lose.
	Outage func() (restore func())

	// History is a rule that the engine has, of channels that begin in a way and of 16 to
	// 64 events: {Channels: "brokertest.kept.*", Events: 16, For: time.Hour}. Without it
	// broker.History is not tested.
	History broker.HistoryRule

	// Rollback makes the engine lose the newest events of a channel, as one does of whose
	// servers a replica without them takes over. nil: that cannot be brought about.
	Rollback func(channel string, newest int)

	// Unkept calls publish, with args of its choice, under conditions in which the engine
	// can publish but not keep an event. nil: there are none.
	Unkept func(publish func(args []byte))

	// Patience is how long the suite waits for something that must happen; 0
	// means a minute, for machines that are busy with other work. A case that
	// takes three times as long is ended.
	Patience time.Duration

	// Except names cases that the engine is known to fail, e.g. "cancel queued"
	// for whole/cancel_queued and plain/cancel_queued, each with the reason,
	// which may not be empty. They are not run, and the output lists them.
	Except map[string]string
}

// Run tests the engines that open makes, one for each case. An engine with
// optional interfaces (broker.Immediate and the like) is tested as it is, in
// the cases whole/…, and once more with these hidden by [Plain], in plain/…, unless
// WholeOnly is set.
func Run(t *testing.T, open func(t *testing.T) Engine) {
	known := look(t, open)
	if t.Failed() {
		return
	}
	if known != nil {
		listLacks(t, known.has|blocking, known.except)
	}
	runMode(t, "whole", open, known, false)
	if known == nil || known.has&optional != 0 && !known.wholeOnly {
		runMode(t, "plain", open, known, true)
	}
}

// traits are what decides which cases an engine is tested with.
type traits struct {
	has       features
	except    map[string]string
	wholeOnly bool
	parallel  bool
}

// look finds the traits of the engines that open makes, on one of its own. It
// returns nil if go test was told to run other subtests only.
func look(t *testing.T, open func(t *testing.T) Engine) *traits {
	var found *traits
	t.Run("probe", func(t *testing.T) {
		e := open(t)
		found = &traits{probe(t, e), e.Except, e.WholeOnly, e.Parallel}
	})
	return found
}

// allow reports whether the engine is tested with c.
func (tr *traits) allow(c testCase, plain bool) bool {
	has := tr.has
	if plain {
		has = has&^optional | blocking
	}
	return c.needs&^has == 0 && tr.except[c.name] == ""
}

// runMode runs all cases. Where the traits are not known, since -run names
// cases alone, each case has to look for itself.
func runMode(t *testing.T, mode string, open func(t *testing.T) Engine, known *traits, plain bool) {
	t.Run(mode, func(t *testing.T) {
		parallel := known != nil && known.parallel
		if parallel {
			before := goroutines()
			t.Cleanup(func() {
				if !t.Failed() { // a case that hangs leaves goroutines
					reportLeft(before, defaultPatience, func(failure string) { t.Error(failure) })
				}
			})
		}
		for _, c := range cases() {
			if known != nil && !known.allow(c, plain) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				if parallel {
					t.Parallel()
				}
				if known == nil {
					found := look(t, open)
					switch {
					case t.Failed():
						return
					case found == nil || !found.allow(c, plain):
						t.Log("the engine is not tested with this")
						return
					}
				}
				examine(t, c, open, plain, parallel, func(failure string) {
					t.Helper()
					t.Errorf("%s\n\tThe rule: %s", failure, c.rule)
				})
			})
		}
	})
}

// listLacks logs what is not tested, and refuses exceptions without a case.
func listLacks(t *testing.T, has features, except map[string]string) {
	exists := make(map[string]bool)
	untested := make(map[features][]string)
	for _, c := range cases() {
		exists[c.name] = true
		if lacks := c.needs &^ has; lacks != 0 {
			first := lacks & -lacks
			untested[first] = append(untested[first], c.name)
		}
	}
	for _, f := range slices.Sorted(maps.Keys(untested)) {
		t.Logf("the engine has no %s, so these are not tested: %s", featureNames[f], strings.Join(untested[f], "; "))
	}
	for _, name := range slices.Sorted(maps.Keys(except)) {
		if !exists[name] {
			t.Errorf("Engine.Except names the case %q, which does not exist", name)
		}
		t.Logf("%s is not tested: %s", name, except[name])
	}
}

// features are the parts of an engine that cases need.
type features uint

const (
	rpc features = 1 << iota
	pubSub
	discovery
	grace
	capacity
	patterns
	outage
	immediateCaller
	immediatePubSub
	batchCaller
	batchPublisher
	ender
	immediateSubscriber
	history
	rollback
	unkept
	blocking
	streams
	keyedCalls
	registry
	presence
	queues

	optional = immediateCaller | immediatePubSub | immediateSubscriber | batchCaller | batchPublisher | ender | history | streams | keyedCalls | registry | presence | queues
)

var featureNames = map[features]string{
	rpc:                 "Caller and Callee",
	pubSub:              "PubSub",
	discovery:           "callee discovery (Grace is less than 0)",
	grace:               "grace (Grace is not more than 0)",
	capacity:            "bound of queues to test (QueueCapacity is 0)",
	patterns:            "patterns (NoPatterns is set)",
	outage:              "way to be cut off (Outage is nil)",
	immediateCaller:     "Immediate CallerConn",
	immediatePubSub:     "Immediate PubSub",
	immediateSubscriber: "Immediate SubscriberConn",
	batchCaller:         "BatchCaller",
	batchPublisher:      "BatchPublisher",
	ender:               "Ender",
	history:             "History with a rule (Engine.History)",
	rollback:            "way to lose events (Rollback is nil)",
	streams:             "StreamCaller and StreamCallee",
	keyedCalls:          "KeyedCaller",
	registry:            "Registry",
	presence:            "Presence",
	queues:              "QueueReader",
	unkept:              "event that cannot be kept (Unkept is nil)",
	blocking:            "SubscriberConn whose deliver may block (it is Immediate)",
}

// probe finds out what e has.
func probe(t *testing.T, e Engine) features {
	if e.Open == nil {
		t.Fatal("Engine.Open is nil")
	}
	var has features
	set := func(f features, ok bool) {
		if ok {
			has |= f
		}
	}
	set(discovery, e.Grace >= 0)
	set(grace, e.Grace > 0)
	set(capacity, e.QueueCapacity > 0)
	set(patterns, !e.NoPatterns)
	set(outage, e.Outage != nil)
	set(rollback, e.Rollback != nil)
	set(unkept, e.Unkept != nil)

	r := e.Open()
	if r.Caller != nil && r.Callee != nil {
		conn, err := r.Caller.OpenCaller(t.Context(), newID(), func([]broker.Result) {})
		if err != nil {
			t.Fatalf("OpenCaller: %v", err)
		}
		defer conn.Close()
		set(rpc, true)
		set(streams, is[broker.StreamCaller](r.Caller) && is[broker.StreamCallee](r.Callee))
		set(keyedCalls, has&streams != 0 && is[broker.KeyedCaller](r.Caller))
		set(queues, is[broker.QueueReader](r.Caller))
		set(immediateCaller, is[broker.Immediate](conn))
		set(batchCaller, is[broker.BatchCaller](conn))
		if e, ok := conn.(broker.Ender); ok {
			set(ender, e.Ended() != nil)
		}
	}
	if r.PubSub != nil {
		conn, err := r.PubSub.OpenSubscriber(t.Context(), func([]broker.Delivery) {})
		if err != nil {
			t.Fatalf("OpenSubscriber: %v", err)
		}
		defer conn.Close()
		set(pubSub, true)
		set(immediatePubSub, is[broker.Immediate](r.PubSub))
		set(immediateSubscriber, is[broker.Immediate](conn))
		set(blocking, has&immediateSubscriber == 0)
		set(batchPublisher, is[broker.BatchPublisher](r.PubSub))
		set(presence, is[broker.Presence](r.PubSub))
		set(registry, is[broker.Registry](r.PubSub))
		set(history, e.History.Events > 0 && is[broker.History](r.PubSub) && is[broker.HistorySubscriber](conn))
	}
	if has&(rpc|pubSub) == 0 {
		t.Fatal("Engine.Open returned no role to test")
	}
	return has
}

func is[T any](v any) bool {
	_, ok := v.(T)
	return ok
}
