package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// Over TLS the generator has a goroutine for each connection: it costs more
// than the epoll loop, and the same for whatever it loads.

// dialTLS opens n connections over TLS, some at a time.
func dialTLS(addr string, n int, open func(*conn) error) ([]*conn, error) {
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	conns := make([]*conn, n)
	errs := make([]error, n)
	var wait sync.WaitGroup
	const dialers = 8
	for d := range dialers {
		wait.Go(func() {
			for i := d; i < n && errs[d] == nil; i += dialers {
				// An address of its own for every 20,000, as dial has.
				from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/20_000))}
				dialer := &tls.Dialer{NetDialer: &net.Dialer{LocalAddr: from}, Config: config}
				nc, err := dialer.Dial("tcp", addr)
				if err != nil {
					errs[d] = fmt.Errorf("load: connection %d: %w", i, err)
					return
				}
				conns[i] = &conn{tls: nc.(*tls.Conn), host: addr, index: i}
				errs[d] = open(conns[i])
			}
		})
	}
	wait.Wait()
	return conns, errors.Join(errs...)
}

// runRequestsTLS does what runRequests does, over TLS, with one request in
// flight on each connection.
func runRequestsTLS(s Spec, p protocol) (r Result, err error) {
	if s.InFlight != 1 {
		return r, fmt.Errorf("load: %d in flight over TLS: only 1 is implemented", s.InFlight)
	}
	conns, err := dialTLS(s.Addr, s.Conns, p.open)
	if err != nil {
		return r, err
	}
	var count, wrong atomic.Int64
	var stop atomic.Bool
	errs := make([]error, len(conns))
	var wait sync.WaitGroup
	for i, c := range conns {
		c.request = p.request(c)
		wait.Go(func() {
			defer c.tls.Close()
			for number := uint32(0); !stop.Load() && errs[i] == nil; number++ {
				var ok bool
				ok, errs[i] = c.roundTrip(p, makeID(0, number))
				if !ok {
					wrong.Add(1)
				}
				count.Add(1)
			}
		})
	}
	err = measureCount(s, &r, &count)
	stop.Store(true)
	wait.Wait()
	r.Duplicated = int(wrong.Load())
	return r, errors.Join(append(errs, err)...)
}

// roundTrip sends one request and waits for its outcome. ok is false if
// anything but that arrived.
func (c *conn) roundTrip(p protocol, id uint32) (ok bool, err error) {
	c.out = c.request.append(c.out, id)
	if err := c.writeAll(c.out); err != nil {
		return false, err
	}
	c.out = c.out[:0]
	ok = true
	var answers []answer
	for {
		n, got, err := p.parse(c, c.in, answers[:0])
		if err != nil {
			return false, err
		}
		c.in = c.in[:copy(c.in, c.in[n:])]
		answers = got
		for _, a := range answers {
			if a.id != id {
				ok = false
			}
			if a.kind == done {
				return ok, nil
			}
		}
		if err := c.fill(); err != nil {
			return false, err
		}
	}
}
