package client_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/juggler-go/juggler/client"
)

// BenchmarkCall measures echo calls through one client, server and callee in
// the same process.
func BenchmarkCall(b *testing.B) {
	for _, inFlight := range []int{1, 64} {
		b.Run(fmt.Sprintf("inFlight=%d", inFlight), func(b *testing.B) {
			cl := newCluster(b)
			cl.start()
			c := cl.client()
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range inFlight {
				wg.Go(func() {
					in, out := json.RawMessage(`{"n":1}`), json.RawMessage{}
					for n := i; n < b.N; n += inFlight {
						if err := c.Call(b.Context(), "test.echo", in, &out); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkEvent measures deliveries to one subscription.
func BenchmarkEvent(b *testing.B) {
	const outstanding = 256 // more might make the server take us for slow
	cl := newCluster(b)
	n := cl.start()
	c := cl.client()
	sub, err := c.Subscribe(b.Context(), "ch", client.WithBuffer(outstanding))
	if err != nil {
		b.Fatal(err)
	}
	args := json.RawMessage(`{"n":1}`)
	window := make(chan struct{}, outstanding)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			window <- struct{}{}
			if err := n.h.Publish(b.Context(), "ch", args, nil); err != nil {
				b.Error(err)
			}
		}
	}()
	for range b.N {
		if e, err := sub.Next(b.Context()); err != nil || e.Gap {
			b.Fatal(e, err)
		}
		<-window
	}
}
