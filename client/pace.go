package client

import (
	"context"
	"time"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/rate"
)

// paces are what the server allows a session to send (HELLO), and what was sent of it.
// The zero paces allow everything.
type paces struct {
	began   time.Time
	allowed map[frame.Type]rate.Rate // of the requests that have a rate of their own
	spent   map[frame.Type]*rate.SharedAccount

	messages     rate.Rate
	sentMessages rate.SharedAccount
}

// start takes over what HELLO says.
func (p *paces) start(r *frame.HelloRates) {
	p.began = time.Now()
	p.messages = within(r.Messages)
	p.allowed = map[frame.Type]rate.Rate{frame.Call: within(r.Calls), frame.Pub: within(r.Publications), frame.Sub: within(r.Subscriptions)}
	p.spent = map[frame.Type]*rate.SharedAccount{frame.Call: {}, frame.Pub: {}, frame.Sub: {}}
}

// within returns a rate a little below r: what is sent one after the other may arrive
// at once, and messages that nobody asked for, such as PONG, count, too.
func within(r frame.Rate) rate.Rate {
	if r.PerSecond == 0 {
		return rate.Rate{}
	}
	return rate.New(max(r.PerSecond-r.PerSecond/16, 1), max(r.Burst-r.Burst/4, 1)).CountingUpTo(r.Burst)
}

// envelope is how many bytes of a message, at most, are neither names, args nor headers.
const envelope = 128

// spend counts a request with so many bytes of names and payload, if that is allowed now,
// and returns 0; else how long to wait.
func (p *paces) spend(typ frame.Type, size int) (wait time.Duration) {
	now := int64(time.Since(p.began)) + 1
	units := 1 + (size+envelope)/rate.MessageUnit
	if p.messages.Bounded() {
		if wait = p.sentMessages.Wait(p.messages, now, units); wait > 0 {
			return wait
		}
	}
	if of := p.allowed[typ]; of.Bounded() {
		if wait = p.spent[typ].Spend(of, now, 1); wait > 0 {
			return wait
		}
	}
	if p.messages.Bounded() {
		p.sentMessages.Spend(p.messages, now, units)
	}
	return 0
}

// pace waits until the server allows a request with so many bytes of names and payload,
// within ctx and a deadline.
func (cn *conn) pace(ctx context.Context, typ frame.Type, size int, deadline time.Time) error {
	for {
		cn.mu.Lock()
		wait := cn.paces.spend(typ, size)
		cn.mu.Unlock()
		if wait == 0 {
			return nil
		}
		turn := time.NewTimer(wait)
		late := time.NewTimer(time.Until(deadline))
		select {
		case <-turn.C:
		case <-ctx.Done():
		case <-cn.ctx.Done():
		case <-late.C:
		}
		turn.Stop()
		late.Stop()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case cn.ctx.Err() != nil:
			return errGone
		case !time.Now().Before(deadline):
			return context.DeadlineExceeded
		}
	}
}
