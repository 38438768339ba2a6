package load

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A recoverer is a protocol in which a client that comes back says where it
// was, and is sent what it has missed.
type recoverer interface {
	protocol

	// subscribingAfter is what subscribes to channel; after position, if that
	// is not "".
	subscribingAfter(channel, position string) []byte

	// position returns where the answer to a subscription says that the
	// channel stood, or "".
	position(message []byte) string

	// recovery reads one message of the server's.
	recovery(message []byte, r *recovery) error
}

// A recovery is what a client has been told since it subscribed.
type recovery struct {
	answered  bool
	recovered bool     // says the server
	events    []uint32 // their ids
}

// missing is the events that clients have missed: on s.Channels channels,
// s.Missed each.
type missing struct {
	spec     Spec
	p        recoverer
	channels []missed
}

// missed is what a client asks for that has missed the events of one channel.
type missed struct{ subscribe []byte }

// miss has a client subscribe to each channel, notes where it is, and then has
// it publish, on another node if there is one.
func miss(s Spec, p recoverer) (*missing, error) {
	m := &missing{spec: s, p: p, channels: make([]missed, max(1, s.Channels))}
	addr := s.Addr
	if s.Other != "" {
		addr = s.Other
	}
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	return m, inParallel(len(m.channels), func(i int) error {
		c, err := dial(to, i, p.open)
		if err != nil {
			return err
		}
		defer c.reset()
		return m.prepare(c, i)
	})
}

// prepare publishes what is missed on channel i.
func (m *missing) prepare(c *conn, i int) error {
	channel := KeptPrefix + channelName(i)
	if err := c.writeAll(appendFrame(nil, opText, m.p.subscribingAfter(channel, ""))); err != nil {
		return err
	}
	var told recovery
	var position string
	err := m.read(c, &told, func(message []byte) bool {
		if told.answered {
			position = m.p.position(message)
		}
		return told.answered
	})
	if err != nil {
		return err
	}
	if position == "" {
		return fmt.Errorf("load: a subscription to %s has no position", channel)
	}
	m.channels[i].subscribe = appendFrame(nil, opText, m.p.subscribingAfter(channel, position))
	publication := m.p.publication(channel)
	var out []byte
	for number := range m.spec.Missed {
		out = publication.append(out, makeID(0, uint32(number)))
	}
	if err := c.writeAll(out); err != nil {
		return err
	}
	return m.read(c, &told, func([]byte) bool { return len(told.events) == m.spec.Missed })
}

// come subscribes c, ready for requests, after what it has seen of channel i.
func (m *missing) come(c *conn, i int) error {
	return c.writeAll(m.channels[i%len(m.channels)].subscribe)
}

// recover reads what c has missed, and returns what was wrong with it.
func (m *missing) recover(c *conn, r *recovery) (faults, error) {
	*r = recovery{events: r.events[:0]}
	err := m.read(c, r, func([]byte) bool { return r.answered && (!r.recovered || len(r.events) >= m.spec.Missed) })
	return r.faults(m.spec.Missed), err
}

// faults is what went wrong with recoveries.
type faults struct{ lost, duplicated, disordered int }

// faults compares r with events 0 to missed-1 in order. What was not recovered
// is lost.
func (r *recovery) faults(missed int) (f faults) {
	if !r.recovered {
		f.lost++
	}
	next := uint32(0)
	for _, id := range r.events {
		switch _, number, ok := splitID(id); {
		case !ok || number < next:
			f.duplicated++
		case number > next:
			f.disordered++
			next = number + 1
		default:
			next++
		}
	}
	f.lost += max(0, missed-int(next))
	return f
}

// read reads messages on the blocking connection into r until done, told of
// each of them, says so.
func (m *missing) read(c *conn, r *recovery, done func(message []byte) bool) error {
	for {
		for taken := 0; ; {
			message, n, err := nextMessage(c, c.in[taken:])
			if err == nil && message != nil {
				err = m.p.recovery(message, r)
			}
			if err != nil {
				return err
			}
			taken += n
			over := message != nil && done(message)
			if over || n == 0 {
				c.in = c.in[:copy(c.in, c.in[taken:])]
			}
			if over {
				return nil
			}
			if n == 0 {
				break
			}
		}
		if err := c.fill(); err != nil {
			return fmt.Errorf("load: %d of %d events have come: %w", len(r.events), m.spec.Missed, err)
		}
	}
}

// runRecover has clients come back, each until it has all that it missed, and
// drops them, again and again, s.Conns of them at a time.
func runRecover(s Spec, p recoverer) (r Result, err error) {
	to, err := netip.ParseAddrPort(s.Addr)
	if err != nil {
		return r, err
	}
	m, err := miss(s, p)
	if err != nil {
		return r, err
	}
	var count atomic.Int64
	var stop atomic.Bool
	errs, wrong := make([]error, s.Conns), make([]faults, s.Conns)
	var wait sync.WaitGroup
	for i := range s.Conns {
		wait.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			told, buf := recovery{}, make([]byte, 0, recoverBuffer)
			for n := i; !stop.Load() && errs[i] == nil; n += s.Conns {
				errs[i] = m.once(to, n, buf, &told, &wrong[i])
				count.Add(1)
			}
		})
	}
	err = measureCount(s, &r, &count)
	stop.Store(true)
	wait.Wait()
	r.add(wrong...)
	return r, errors.Join(append(errs, err)...)
}

// recoverBuffer is room for what a client reads at once.
const recoverBuffer = 64 << 10

// once has one client come back and go. It reads into buf.
func (m *missing) once(to netip.AddrPort, n int, buf []byte, told *recovery, sum *faults) error {
	c, err := dial(to, n%m.spec.Conns, m.p.open)
	if err != nil {
		return err
	}
	defer c.reset()
	c.in = append(buf, c.in...)
	if err := m.come(c, n); err != nil {
		return err
	}
	f, err := m.recover(c, told)
	sum.lost += f.lost
	sum.duplicated += f.duplicated
	sum.disordered += f.disordered
	return err
}

// runReturn has s.Conns clients, connected already, subscribe all at once. The
// window is as long as it takes until each has what it missed.
func runReturn(s Spec, p recoverer) (r Result, err error) {
	m, err := miss(s, p)
	if err != nil {
		return r, err
	}
	conns, err := dialAll(s.Addr, s.Conns, p.open)
	if err != nil {
		return r, err
	}
	defer closeAll(conns)
	time.Sleep(s.Warmup)
	wrong := make([]faults, s.Conns)
	err = measure(s, &r, func() error {
		return inParallel(len(conns), func(i int) error { return m.come(conns[i], i) }, func(i int) (err error) {
			var told recovery
			wrong[i], err = m.recover(conns[i], &told)
			return err
		})
	})
	r.Messages = s.Conns
	r.add(wrong...)
	return r, err
}

// parallel is on how many goroutines inParallel works.
const parallel = 8

// inParallel does each step for 0 to n-1: i on goroutine i%parallel.
func inParallel(n int, steps ...func(int) error) error {
	var wait sync.WaitGroup
	errs := make([]error, parallel)
	for g := range parallel {
		wait.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for _, step := range steps {
				for i := g; i < n && errs[g] == nil; i += parallel {
					errs[g] = step(i)
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (r *Result) add(wrong ...faults) {
	for _, f := range wrong {
		r.Lost += f.lost
		r.Duplicated += f.duplicated
		r.Disordered += f.disordered
	}
}
