package memory_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
)

// rig is a node and a callee of one URI that take turns on one goroutine.
type rig struct {
	t       testing.TB
	caller  broker.CallerConn
	callee  broker.CalleeConn
	calls   []broker.Call
	taken   []broker.Call
	results []broker.Result
	errs    []error
	serial  uint64
	answers int
}

func newRig(t testing.TB, batch int) *rig {
	b := newBroker(t)
	r := &rig{
		t:       t,
		calls:   make([]broker.Call, batch),
		taken:   make([]broker.Call, batch),
		results: make([]broker.Result, batch),
		errs:    make([]error, batch),
	}
	var err error
	if r.caller, err = b.OpenCaller(t.Context(), broker.ID{1}, func(rs []broker.Result) { r.answers += len(rs) }); err != nil {
		t.Fatal(err)
	}
	if r.callee, err = b.OpenCallee(t.Context(), []string{"math.add"}, nil); err != nil {
		t.Fatal(err)
	}
	return r
}

func newBroker(t testing.TB, opts ...memory.Option) *memory.Broker {
	t.Helper()
	b, err := memory.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

var args = []byte("[1,2]")

// turn makes one batch of calls, takes and answers them.
func (r *rig) turn() {
	ctx := context.Background()
	for i := range r.calls {
		r.serial++
		c := &r.calls[i]
		*c = broker.Call{URI: "math.add", Timeout: time.Minute, Args: args}
		c.ReplyTo.Node = broker.ID{1}
		binary.LittleEndian.PutUint64(c.ReplyTo.Ref[:], r.serial)
	}
	if len(r.calls) == 1 {
		r.errs[0] = r.caller.Call(ctx, &r.calls[0])
	} else {
		r.caller.(broker.BatchCaller).CallBatch(ctx, r.calls, r.errs)
	}
	for _, err := range r.errs {
		if err != nil {
			r.t.Fatal(err)
		}
	}
	n, err := r.callee.Take(ctx, r.taken)
	if err != nil || n != len(r.calls) {
		r.t.Fatal(n, err)
	}
	for i := range r.taken {
		r.results[i] = broker.Result{To: r.taken[i].ReplyTo, Args: r.taken[i].Args}
	}
	if err := r.callee.Reply(ctx, r.results); err != nil {
		r.t.Fatal(err)
	}
	if r.answers != int(r.serial) {
		r.t.Fatalf("%d answers to %d calls", r.answers, r.serial)
	}
}

// One call after the other, from Call to the delivery of its result, without
// the switch between goroutines.
func BenchmarkCallTakeReply(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			r := newRig(b, batch)
			b.ReportAllocs()
			for n := 0; n < b.N; n += batch {
				r.turn()
			}
		})
	}
}

// A call to a callee that waits in Take, on its own goroutine.
func BenchmarkCallWaitingCallee(b *testing.B) {
	br := newBroker(b)
	ctx := context.Background()
	answered := make(chan struct{}, 1)
	caller, err := br.OpenCaller(ctx, broker.ID{1}, func([]broker.Result) { answered <- struct{}{} })
	if err != nil {
		b.Fatal(err)
	}
	callee, err := br.OpenCallee(ctx, []string{"math.add"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var calls [64]broker.Call
		var results [64]broker.Result
		for {
			n, err := callee.Take(ctx, calls[:])
			if err != nil {
				return
			}
			for i := range n {
				results[i] = broker.Result{To: calls[i].ReplyTo, Args: calls[i].Args}
			}
			callee.Reply(ctx, results[:n])
		}
	}()
	c := broker.Call{URI: "math.add", Timeout: time.Minute, Args: args}
	c.ReplyTo.Node = broker.ID{1}
	b.ReportAllocs()
	for b.Loop() {
		if err := caller.Call(ctx, &c); err != nil {
			b.Fatal(err)
		}
		<-answered
		binary.LittleEndian.PutUint64(c.ReplyTo.Ref[:], binary.LittleEndian.Uint64(c.ReplyTo.Ref[:])+1)
	}
	callee.Close()
	<-ended
}

func BenchmarkPublish(b *testing.B) {
	for _, exact := range []int{1, 10_000} {
		for _, patterns := range []int{0, 10} {
			b.Run(fmt.Sprintf("exact=%d/patterns=%d", exact, patterns), func(b *testing.B) {
				br := newBroker(b)
				ctx := context.Background()
				delivered := 0
				s, err := br.OpenSubscriber(ctx, func(ds []broker.Delivery) { delivered += len(ds) })
				if err != nil {
					b.Fatal(err)
				}
				for i := range exact {
					s.Subscribe(ctx, broker.Topic{Name: fmt.Sprint("news.", i)})
				}
				for i := range patterns {
					s.Subscribe(ctx, broker.Topic{Name: fmt.Sprint("news.*.", i), Pattern: true})
				}
				e := &broker.Event{Channel: "news.0", Args: []byte(`{"title":"Go"}`)}
				b.ReportAllocs()
				for b.Loop() {
					if err := br.Publish(ctx, e); err != nil {
						b.Fatal(err)
					}
				}
				if delivered == 0 {
					b.Fatal("nothing delivered")
				}
			})
		}
	}
}

// Publications in batches, to a channel that is kept or not, with and without a subscriber.
func BenchmarkPublishBatch(b *testing.B) {
	for _, kept := range []bool{false, true} {
		for _, size := range []int{1, 16} {
			for _, listeners := range []int{0, 1} {
				b.Run(fmt.Sprintf("kept=%v/batch=%d/listeners=%d", kept, size, listeners), func(b *testing.B) {
					br, err := memory.New(memory.WithHistory(broker.HistoryRule{Channels: "kept.*", Events: 100, For: time.Hour}))
					if err != nil {
						b.Fatal(err)
					}
					defer br.Close()
					ctx := context.Background()
					channel := "plain.7"
					if kept {
						channel = "kept.7"
					}
					s, err := br.OpenSubscriber(ctx, func([]broker.Delivery) {})
					if err != nil {
						b.Fatal(err)
					}
					if listeners > 0 {
						s.Subscribe(ctx, broker.Topic{Name: channel})
					}
					events, done := make([]broker.Publication, size), make([]broker.Published, size)
					plain, errs := make([]broker.Event, size), make([]error, size)
					for i := range events {
						events[i].Event = broker.Event{Channel: channel, Args: make([]byte, 128)}
						plain[i] = events[i].Event
					}
					b.ReportAllocs()
					b.ResetTimer()
					for n := 0; n < b.N; n += size {
						if kept {
							br.PublishKept(ctx, events, done)
						} else {
							br.PublishBatch(ctx, plain, errs)
						}
					}
				})
			}
		}
	}
}

// Nodes that call, a callee that takes and workers that answer, all at once,
// as under calleekit.
func BenchmarkConcurrentCalls(b *testing.B) {
	br := newBroker(b)
	ctx := context.Background()
	callee, err := br.OpenCallee(ctx, []string{"math.add"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var calls [64]broker.Call
		results := make([]broker.Result, 1)
		for {
			n, err := callee.Take(ctx, calls[:])
			if err != nil {
				return
			}
			for _, call := range calls[:n] {
				results[0] = broker.Result{To: call.ReplyTo, Args: call.Args}
				callee.Reply(ctx, results)
			}
		}
	}()
	var nodes atomic.Uint32
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		node := broker.ID{byte(nodes.Add(1))}
		const inFlight = 16
		slots := make(chan struct{}, inFlight)
		caller, err := br.OpenCaller(ctx, node, func(results []broker.Result) {
			for range results {
				<-slots
			}
		})
		if err != nil {
			b.Error(err)
			return
		}
		c := broker.Call{URI: "math.add", Timeout: time.Minute, Args: args}
		c.ReplyTo.Node = node
		for i := uint64(0); pb.Next(); i++ {
			slots <- struct{}{}
			binary.LittleEndian.PutUint64(c.ReplyTo.Ref[:], i)
			if err := caller.Call(ctx, &c); err != nil {
				b.Error(err)
				return
			}
		}
		for range inFlight {
			slots <- struct{}{}
		}
		caller.Close()
	})
	callee.Close()
	<-ended
}

func BenchmarkConcurrentPublish(b *testing.B) {
	br := newBroker(b)
	ctx := context.Background()
	s, err := br.OpenSubscriber(ctx, func([]broker.Delivery) {})
	if err != nil {
		b.Fatal(err)
	}
	s.Subscribe(ctx, broker.Topic{Name: "news.go"})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		e := &broker.Event{Channel: "news.go", Args: args}
		for pb.Next() {
			if err := br.Publish(ctx, e); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkSubscribe adds and removes one topic beside a thousand.
func BenchmarkSubscribe(b *testing.B) {
	for name, topic := range map[string]broker.Topic{"exact": {Name: "news.go"}, "pattern": {Name: "news.*", Pattern: true}} {
		b.Run(name, func(b *testing.B) {
			br := newBroker(b)
			ctx := context.Background()
			s, err := br.OpenSubscriber(ctx, func([]broker.Delivery) {})
			if err != nil {
				b.Fatal(err)
			}
			for i := range 1000 {
				s.Subscribe(ctx, broker.Topic{Name: fmt.Sprint("news.", i)})
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Subscribe(ctx, topic); err != nil {
					b.Fatal(err)
				}
				if err := s.Unsubscribe(ctx, topic); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
