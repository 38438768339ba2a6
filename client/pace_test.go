package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/rate"
)

// What is spent stays below what the server allows, in any window.
func TestPaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p paces
		if p.spend(frame.Pub, 1<<20) != 0 {
			t.Error("without rates something waits")
		}
		p.start(&frame.HelloRates{Messages: frame.Rate{PerSecond: 100, Burst: 40}, Calls: frame.Rate{PerSecond: 10, Burst: 8}})
		for _, tt := range []struct {
			typ        frame.Type
			size       int
			most, next int // at once, and in the second after that
		}{
			{frame.Pub, 0, 30, 94},
			{frame.Call, 0, 6, 10},
			{frame.Pub, 2 * rate.MessageUnit, 10, 31},
		} {
			time.Sleep(time.Minute)
			n := 0
			for ; p.spend(tt.typ, tt.size) == 0; n++ {
			}
			if n != tt.most {
				t.Errorf("%v of %d bytes: %d at once, want %d", tt.typ, tt.size, n, tt.most)
			}
			n = 0
			for end := time.Now().Add(time.Second); ; n++ {
				for wait := p.spend(tt.typ, tt.size); wait > 0; wait = p.spend(tt.typ, tt.size) {
					time.Sleep(wait)
				}
				if time.Now().After(end) {
					break
				}
			}
			if n < tt.next-1 || n > tt.next {
				t.Errorf("%v of %d bytes: %d in a second, want %d", tt.typ, tt.size, n, tt.next)
			}
		}
	})
}

// Whatever the sizes of messages, a server that counts them refuses none.
func TestPacesOfLargeMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, r := range []frame.Rate{{PerSecond: 100, Burst: 40}, {PerSecond: 5, Burst: 10}, {PerSecond: 1000, Burst: 1}} {
			var p paces
			p.start(&frame.HelloRates{Messages: r})
			var server rate.Account
			for range 300 {
				size := rand.IntN(100 << 10)
				for wait := p.spend(frame.Pub, size); wait > 0; wait = p.spend(frame.Pub, size) {
					time.Sleep(wait)
				}
				now := int64(time.Since(p.began)) + 1
				if over := server.Spend(rate.New(r.PerSecond, r.Burst), now, 1+(size+100)/rate.MessageUnit); over > 0 {
					t.Fatalf("%+v: %d bytes come %v too early", r, size, over)
				}
			}
		}
	})
}

// A request that has to wait gives up with its context, its time or its connection.
func TestPaceGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		paced := func() *conn {
			cn := &conn{}
			cn.ctx, cn.end = context.WithCancel(t.Context())
			cn.paces.start(&frame.HelloRates{Messages: frame.Rate{PerSecond: 1, Burst: 1}})
			if err := cn.pace(t.Context(), frame.Pub, 0, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			return cn
		}
		soon, late := time.Now().Add(time.Second/2), time.Now().Add(time.Hour)
		cn := paced()
		if err := cn.pace(t.Context(), frame.Pub, 0, soon); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deadline: %v", err)
		}
		cn = paced()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := cn.pace(ctx, frame.Pub, 0, late); !errors.Is(err, context.Canceled) {
			t.Errorf("context: %v", err)
		}
		cn = paced()
		cn.end()
		if err := cn.pace(t.Context(), frame.Pub, 0, late); err != errGone {
			t.Errorf("connection: %v", err)
		}
		cn = paced()
		if err := cn.pace(t.Context(), frame.Pub, 0, late); err != nil {
			t.Errorf("in time: %v", err)
		}
	})
}
