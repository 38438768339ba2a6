package redis

import (
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A heartbeatLoop sends the heartbeats of one lane, four times in a lease. Its goroutine
// runs from start to stop.
type heartbeatLoop struct {
	lane    *lane
	now     chan struct{} // has an element to send them at once
	quit    chan struct{}
	stopped chan struct{}
}

func newHeartbeatLoop(l *lane) *heartbeatLoop {
	return &heartbeatLoop{
		lane:    l,
		now:     make(chan struct{}, 1),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
}

func (p *heartbeatLoop) start() { go p.run() }

func (p *heartbeatLoop) stop() {
	close(p.quit)
	<-p.stopped
}

func (p *heartbeatLoop) run() {
	defer close(p.stopped)
	ticker := time.NewTicker(p.lane.broker.config.lease / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-p.now:
		case <-p.quit:
			return
		}
		for _, b := range p.lane.currentHeartbeats() {
			p.send(b)
		}
	}
}

func (p *heartbeatLoop) send(b *heartbeat) {
	commands, replied := b.make(false)
	waiter := newWaiter(len(commands))
	ops := make([]*op, len(commands))
	for i, c := range commands {
		// Behind large batches on a slow link it would come too late.
		ops[i] = &op{command: c, waiter: waiter, urgent: true}
	}
	if !p.lane.submitHeartbeat(b, ops) {
		return
	}
	p.await(b, waiter)
	for _, o := range ops {
		if o.err != nil {
			b.failed.Store(&o.err)
			// Others may not have been able to say that they live, either. A server
			// that is full takes what says so.
			if !resp.IsOutOfMemory(o.err) {
				p.lane.suspectStateLoss()
			}
			p.lane.refused("renew a lease", o.command.Reply)
			return
		}
	}
	b.accepted()
	replied()
}

// await waits for the commands of a heartbeat, which the writer finishes within its
// timeouts. Behind a large batch on a slow link they are too late: then the heartbeat
// goes over a connection of its own.
func (p *heartbeatLoop) await(b *heartbeat, waiter *waiter) {
	ticker := time.NewTicker(p.lane.broker.config.lease / 4)
	defer ticker.Stop()
	for {
		select {
		case <-waiter.done:
			return
		case <-ticker.C:
			p.lane.announceAside(b)
		}
	}
}
