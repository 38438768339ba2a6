package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// How many halves of the ping interval a server may be silent.
const (
	quietPing  = 2 // then we ask, in juggler.0
	quietLost0 = 4
	quietLost1 = 5 // the server sends PING after two
)

var (
	errMoved    = errors.New("moved to another connection")
	errNoAnswer = errors.New("connection given up: the server did not answer a SUB or UNSB")
)

// watch is what happens by the clock: liveness, and requests whose answer does
// not come. It ends when cn has failed and its socket is closed.
func (cn *conn) watch() {
	defer cn.awaitClose()
	ready, lost := cn.ready, quietLost1
	interval := cn.c.cfg.pingInterval
	if cn.proto == frame.Juggler0 {
		ready, lost = nil, quietLost0
	}
	tick := time.NewTicker(halfOf(interval))
	defer tick.Stop()
	quiet := 0 // ticks without anything heard
	for {
		select {
		case <-cn.ctx.Done():
			return
		case <-ready:
			ready, quiet = nil, 0
			if interval = cn.greeting().Ping; interval == 0 {
				tick.Stop() // the server promises nothing
				continue
			}
			tick.Reset(halfOf(interval))
		case <-tick.C:
			if cn.sock.heard.Swap(false) || cn.stalled.Load() {
				quiet = 0
				continue
			}
			quiet++
			switch {
			case quiet >= lost:
				cn.fail(fmt.Errorf("connection lost: the server was silent for %v", time.Duration(quiet)*interval/2), 0, "")
				return
			case quiet == quietPing && cn.proto == frame.Juggler0:
				cn.c.goroutines.Go(func() { cn.ping(interval) })
			}
		case <-cn.expiry.C:
			cn.expire()
		case <-cn.drained:
			cn.fail(errMoved, frame.CloseNormal, "moved")
			return
		}
	}
}

// awaitClose sees to it that the socket of cn, which has failed, is closed in
// time: the writer may be stuck, and the server may not answer its close frame.
func (cn *conn) awaitClose() {
	cn.mu.Lock()
	handshake := cn.code != 0
	cn.mu.Unlock()
	if handshake {
		late := time.NewTimer(cn.c.cfg.closeTimeout)
		defer late.Stop()
		select {
		case <-cn.closed:
			return
		case <-late.C:
		}
	}
	cn.sock.Close()
}

func halfOf(interval time.Duration) time.Duration { return max(interval/2, time.Millisecond) }

// ping sends a WebSocket ping; that its pong is heard is all that counts.
func (cn *conn) ping(patience time.Duration) {
	ctx, cancel := context.WithTimeout(cn.ctx, patience)
	defer cancel()
	cn.ws.Ping(ctx)
}

// expire ends the requests whose time is over and that should have been
// answered by now.
func (cn *conn) expire() {
	now := time.Now()
	var over []*request
	broken := false
	cn.mu.Lock()
	cn.expires = time.Time{}
	for id, e := range cn.pending {
		if !e.deadline.After(now) {
			broken = broken || e.topic != nil
			if e.req != nil {
				over = append(over, e.req)
			}
			if e.req == nil || e.req.attach == nil {
				cn.remove(id, e)
				continue
			}
			e.deadline = now.Add(grace) // of its RES: the server may give the call more time
			cn.giveUp(id, e)
		}
		if cn.expires.IsZero() || e.deadline.Before(cn.expires) {
			cn.expires = e.deadline
		}
	}
	if !cn.expires.IsZero() {
		cn.expiry.Reset(time.Until(cn.expires))
	}
	cn.mu.Unlock()

	for _, r := range over {
		if r.typ == frame.Call {
			r.fail(&Error{Code: CodeExpired, Message: "no outcome in the call's time"})
		} else {
			r.fail(fmt.Errorf("%w: %w: no answer in its time", context.DeadlineExceeded, ErrUnknownOutcome))
		}
	}
	if broken {
		cn.fail(errNoAnswer, frame.CloseProtocolError, "no answer to SUB or UNSB")
	}
}
