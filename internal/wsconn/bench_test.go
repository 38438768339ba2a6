package wsconn_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/juggler-go/juggler/internal/wsconn"
)

// BenchmarkEcho measures a message there and back, with 100 connections and
// so many messages in flight on each. Client and server share the machine.
func BenchmarkEcho(b *testing.B) {
	for _, inFlight := range []int{1, 64} {
		for _, path := range []struct {
			name string
			wrap func(net.Conn) net.Conn
		}{
			{"loop", func(nc net.Conn) net.Conn { return nc }},
			{"portable", func(nc net.Conn) net.Conn { return wrapped{nc} }},
		} {
			b.Run(path.name+"/"+map[int]string{1: "1inflight", 64: "64inflight"}[inFlight], func(b *testing.B) {
				cfg := config()
				cfg.CheckUTF8 = false
				srv := newServer(b, path.wrap, cfg)
				benchmarkEcho(b, srv, 100, inFlight)
			})
		}
	}
}

func benchmarkEcho(b *testing.B, srv *server, conns, inFlight int) {
	msg := strings.Repeat("m", 64)
	batch := bytes.Repeat(text(msg), inFlight)
	reply := len(wsconn.AppendText(nil, []byte(msg))) * inFlight
	peers := make([]*peer, conns)
	for i := range peers {
		_, peers[i] = srv.connect()
	}
	rounds := b.N/(conns*inFlight) + 1
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for _, p := range peers {
		all.Go(func() {
			buf := make([]byte, reply)
			for range rounds {
				if _, err := p.Write(batch); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(p.Conn, buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(rounds*conns*inFlight)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkAppendText frames what a fan-out frames once.
func BenchmarkAppendText(b *testing.B) {
	for _, size := range []int{128, 64 << 10} {
		b.Run(map[int]string{128: "128B", 64 << 10: "64KiB"}[size], func(b *testing.B) {
			payload := bytes.Repeat([]byte("m"), size)
			var buf []byte
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				buf = wsconn.AppendText(buf[:0], payload)
			}
		})
	}
}
