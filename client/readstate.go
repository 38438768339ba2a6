package client

import (
	"context"
	"fmt"
)

// WithState is for a subscription to what changes a state, which read reads: from a
// database, or by a call. The events that come are those that read may not have seen yet:
// it runs once the server has confirmed the subscription, and again in place of each
// [Event] with Gap set, which the reader does not get. Events wait in the buffer until read
// has returned nil. One that came while it ran may be in the state already: put a version
// into both, or have events say what is, and not what has changed.
//
// read runs on the goroutine that asks for events: in [Subscription.Next], in a loop over
// [Subscription.Events], or where the handler of [Client.SubscribeFunc] runs. So state and
// events need no lock of their own. Its context ends with that of Next, and with the
// subscription. An error of read is logged at Warn, and read is called again after a pause
// that grows as set by [WithBackoff], until it returns nil or its context ends. If Next
// returns for that, the next call of Next begins with read.
//
// If more events come meanwhile than the buffer holds ([WithBuffer]), these are dropped
// and read is called once more: it never holds up the connection.
func WithState(read func(context.Context) error) SubscribeOption {
	return subscribeFunc(func(s *Subscription) {
		if read == nil {
			s.err = fmt.Errorf("%w: WithState(nil): want a function", ErrInvalidOption)
			return
		}
		s.state = &state{
			read:  read,
			pause: backoff{min: s.c.cfg.minBackoff, max: s.c.cfg.maxBackoff},
		}
		s.state.ctx, s.state.end = context.WithCancel(context.Background())
	})
}

// state is what only a Subscription has that reads a state. An Event with Gap set stands
// in its buffer for a state that is to be read, one at most, and stays there until it is.
type state struct {
	read func(context.Context) error
	ctx  context.Context // ends with the subscription
	end  context.CancelFunc

	reading  bool // by one Next; guarded by Subscription.mu, as is the following
	outdated bool // what is being read

	pause backoff // of whoever reads
}

// mustRead reports, with mu held, whether the state is to be read before the next event.
func (s *Subscription) mustRead() bool {
	return s.state != nil && s.buffer.n > 0 && s.buffer.first().Gap
}

// startAnew has the state read at the end of the buffer, with mu held. What is behind an
// earlier such place is dropped: the state is read after it.
func (s *Subscription) startAnew(gap Event) {
	if !s.holdNoMore() {
		s.buffer.push(gap)
	}
}

// holdNoMore drops, with mu held, what waits for the state. It reports whether the state is
// to be read at all.
func (s *Subscription) holdNoMore() bool {
	if !s.buffer.cutAtGap() {
		return false
	}
	s.state.outdated = s.state.reading
	return true
}

// readState reads the state, which is first in the buffer, once; if that fails, it pauses.
// The caller has set reading. The error is that of ctx.
func (s *Subscription) readState(ctx context.Context) error {
	st := s.state
	readCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(st.ctx, cancel)()
	done := false
	defer func() { // read may panic
		s.mu.Lock()
		defer s.mu.Unlock()
		if done && !st.outdated && s.mustRead() {
			gap, _ := s.buffer.pop()
			s.pos = gap.Pos
		}
		st.reading, st.outdated = false, false
		signal(s.wake)
	}()
	err := st.read(readCtx)
	if err == nil {
		done, st.pause.attempt = true, 0
		return nil
	}
	if readCtx.Err() == nil {
		delay := st.pause.next(retryAfter(err))
		s.c.cfg.logger.Warn("cannot read the state of a channel, trying again", "channel", s.name, "delay", delay, "error", err)
		sleep(readCtx, delay)
	}
	return ctx.Err()
}

// first returns the oldest event; there must be one.
func (r *ring) first() *Event { return &r.slots[r.head] }

// cutAtGap drops what is behind the newest gap. It reports whether there is one.
func (r *ring) cutAtGap() bool {
	for n := r.n; n > 0; n-- {
		if !r.slots[(r.head+n-1)%len(r.slots)].Gap {
			continue
		}
		for ; r.n > n; r.n-- {
			r.slots[(r.head+r.n-1)%len(r.slots)] = Event{}
		}
		return true
	}
	return false
}
