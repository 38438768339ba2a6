package load

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A loop owns the connections of a run, and tells handle of each answer. It
// runs on one thread.
type loop struct {
	epoll   int
	p       protocol
	conns   []*conn
	handle  func(*conn, answer)
	now     int64 // when this turn began, in nanoseconds
	epoch   time.Time
	buf     []byte
	events  [256]unix.EpollEvent
	answers []answer
	dirty   []*conn // have something to be written

	received int // bytes
}

func newLoop(p protocol, conns []*conn) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &loop{epoll: epoll, p: p, conns: conns, epoch: time.Now(), buf: make([]byte, 1<<20)}
	for i, c := range conns {
		c.index = i
		if err := unix.SetNonblock(c.fd, true); err != nil {
			return nil, err
		}
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, c.fd, &event); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *loop) close() {
	_ = unix.Close(l.epoll)
	closeAll(l.conns)
}

// runFor runs turns for a time, or until stop says so. stop may be nil.
func (l *loop) runFor(d time.Duration, stop func() bool) error {
	l.now = int64(time.Since(l.epoch))
	end := l.now + int64(d)
	for l.now < end && (stop == nil || !stop()) {
		if err := l.turn(time.Duration(end - l.now)); err != nil {
			return err
		}
	}
	return nil
}

// drain runs turns until nothing is open, or nothing has become less for five
// seconds, and then for a moment more, in which duplicates would arrive.
func (l *loop) drain(open func() int) error {
	for left := open(); left > 0; left = open() {
		if err := l.runFor(5*time.Second, func() bool { return open() < left }); err != nil {
			return err
		}
		if open() == left {
			break
		}
	}
	return l.runFor(50*time.Millisecond, nil)
}

func (l *loop) turn(wait time.Duration) error {
	if err := l.flush(); err != nil {
		return err
	}
	n, err := unix.EpollWait(l.epoll, l.events[:], int(wait/time.Millisecond)+1)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("load: epoll: %w", err)
	}
	l.now = int64(time.Since(l.epoch))
	for i := range max(n, 0) {
		c := l.conns[l.events[i].Fd]
		if l.events[i].Events&unix.EPOLLOUT != 0 {
			l.dirty = append(l.dirty, c)
		}
		if l.events[i].Events&^unix.EPOLLOUT != 0 {
			if err := l.read(c); err != nil {
				return fmt.Errorf("connection %d: %w", c.index, err)
			}
		}
		// Each connection's requests leave as soon as its answers were seen:
		// a turn over many connections must not hold the first one back.
		if err := l.flush(); err != nil {
			return err
		}
	}
	return nil
}

// read reads what there is on c, once, and handles it.
func (l *loop) read(c *conn) error {
	kept := copy(l.buf, c.in)
	n, errno := rawRead(c.fd, l.buf[kept:])
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return nil
	case errno != 0:
		return fmt.Errorf("load: read: %w", errno)
	case n == 0:
		return fmt.Errorf("load: read: %w", io.ErrUnexpectedEOF)
	}
	l.received += n
	return l.consume(c, l.buf[:kept+n])
}

// consume handles the whole messages in b and keeps the rest in c.in.
func (l *loop) consume(c *conn, b []byte) error {
	taken, answers, err := l.p.parse(c, b, l.answers[:0])
	l.answers = answers
	if err != nil {
		return err
	}
	c.in = append(c.in[:0], b[taken:]...)
	for _, a := range answers {
		l.handle(c, a)
	}
	if len(c.out) > 0 {
		l.dirty = append(l.dirty, c)
	}
	return nil
}

// send queues a message on c; it leaves at the end of the turn.
func (l *loop) send(c *conn, t *template, id uint32) {
	if len(c.out) == 0 {
		l.dirty = append(l.dirty, c)
	}
	c.out = t.append(c.out, id)
}

func (l *loop) flush() error {
	for _, c := range l.dirty {
		if err := c.flush(); err != nil {
			return err
		}
		if err := l.waitToWrite(c, len(c.out) > 0); err != nil {
			return err
		}
	}
	l.dirty = l.dirty[:0]
	return nil
}

func (l *loop) waitToWrite(c *conn, wait bool) error {
	if c.waiting == wait {
		return nil
	}
	c.waiting = wait
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.index)}
	if wait {
		event.Events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, c.fd, &event)
}

// A tally is what a load counts while it runs.
type tally struct {
	result   Result
	times    histogram
	stopping bool // the window is over: nothing new is asked for
}

// count runs the loop for the warm-up and the window of s, of which it returns
// the result, and until what is still open then is answered, or lost.
func (l *loop) count(s Spec, t *tally, open func() int) (Result, error) {
	if err := l.measure(s, t); err != nil {
		return Result{}, err
	}
	counted := t.result
	t.stopping = true
	if err := l.drain(open); err != nil {
		return Result{}, err
	}
	counted.Lost = open()
	counted.Duplicated, counted.Disordered = t.result.Duplicated, t.result.Disordered
	counted.P50, counted.P99 = t.times.quantile(0.50), t.times.quantile(0.99)
	return counted, nil
}

// measure runs the loop for the warm-up and the window of s, and fills in what
// both processes used within the window.
func (l *loop) measure(s Spec, t *tally) error {
	// Bytes that arrived together with the answer to the handshake.
	for _, c := range l.conns {
		if len(c.in) > 0 {
			if err := l.consume(c, append([]byte(nil), c.in...)); err != nil {
				return err
			}
		}
	}
	if err := l.runFor(s.Warmup, nil); err != nil {
		return err
	}
	return measure(s, &t.result, func() error {
		before := l.received
		defer func() { t.result.Received = l.received - before }()
		t.result.Messages = 0
		t.times = histogram{}
		return l.runFor(s.Window, nil)
	})
}

// onThread keeps the calling goroutine on one thread, with no other to
// compete with. The returned function ends that.
func onThread() func() {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}
