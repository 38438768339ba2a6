package juggler_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
)

func benchServer(b *testing.B, opts ...juggler.Option) string {
	b.Helper()
	br, err := memory.New()
	if err != nil {
		b.Fatal(err)
	}
	h, err := juggler.New(append([]juggler.Option{juggler.WithBroker(br)}, opts...)...)
	if err != nil {
		b.Fatal(err)
	}
	c, err := calleekit.New(br)
	if err != nil {
		b.Fatal(err)
	}
	c.Handle("echo", echo)
	if err := c.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	l := serveTCP(b, h)
	b.Cleanup(func() {
		h.Shutdown(context.Background())
		c.Close()
		br.Close()
	})
	return l
}

func BenchmarkCall(b *testing.B) {
	for _, inFlight := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(inFlight, "InFlight"), func(b *testing.B) {
			c := dialRaw(b, benchServer(b))
			messages := make([]string, inFlight)
			for i := range messages {
				messages[i] = fmt.Sprintf(`{"type":"CALL","id":"%d","uri":"echo","args":{"text":"0123456789"}}`, i)
			}
			out := maskedText(messages...)
			b.ReportAllocs()
			for range (b.N + inFlight - 1) / inFlight {
				if _, err := c.conn.Write(out); err != nil {
					b.Fatal(err)
				}
				c.read(b, 2*inFlight)
			}
		})
	}
}
