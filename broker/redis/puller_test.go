package redis_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/redistest"
)

// A Take may have room for more calls than a script can return: take.lua then
// failed after it had popped them, and all were lost.
func TestTakeMany(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBroker(t, calm(withAddr(server.Addr), redis.WithCalleeDiscovery(false))...)
	node := broker.ID{'m', 'a', 'n', 'y'}
	caller, err := b.OpenCaller(t.Context(), node, func([]broker.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	const many = 9000
	calls, errs := make([]broker.Call, many), make([]error, many)
	for i := range calls {
		calls[i] = broker.Call{URI: "u", ReplyTo: broker.Address{Node: node}, Timeout: time.Minute}
		binary.BigEndian.PutUint32(calls[i].ReplyTo.Ref[:], uint32(i))
	}
	caller.(broker.BatchCaller).CallBatch(t.Context(), calls, errs)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	callee, err := b.OpenCallee(t.Context(), []string{"u"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]broker.Call, many)
	for n := 0; n < many; {
		more, err := callee.Take(t.Context(), got[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += more
	}
	for i := range got {
		if got[i].ReplyTo != calls[i].ReplyTo {
			t.Fatalf("call %d is %x", i, got[i].ReplyTo.Ref)
		}
	}
}
