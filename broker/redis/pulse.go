package redis

import (
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A pulse runs the beats of one lane, four times in a lease. Its goroutine
// runs from start to stop.
type pulse struct {
	lane    *lane
	now     chan struct{} // has an element to beat at once
	quit    chan struct{}
	stopped chan struct{}
}

func newPulse(l *lane) *pulse {
	return &pulse{
		lane:    l,
		now:     make(chan struct{}, 1),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
}

func (p *pulse) start() { go p.run() }

func (p *pulse) stop() {
	close(p.quit)
	<-p.stopped
}

func (p *pulse) run() {
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
		for _, b := range p.lane.currentBeats() {
			p.beat(b)
		}
	}
}

func (p *pulse) beat(b *beat) {
	commands, replied := b.make(false)
	waiter := newWaiter(len(commands))
	ops := make([]*op, len(commands))
	for i, c := range commands {
		// Behind large batches on a slow link it would come too late.
		ops[i] = &op{command: c, waiter: waiter, urgent: true}
	}
	if !p.lane.submitBeat(b, ops) {
		return
	}
	p.await(b, waiter)
	for _, o := range ops {
		if o.err != nil {
			b.failed.Store(&o.err)
			// Others may not have been able to say that they live, either. A server
			// that is full takes what says so.
			if !resp.IsOutOfMemory(o.err) {
				p.lane.raiseDoubt()
			}
			p.lane.refused("renew a lease", o.command.Reply)
			return
		}
	}
	b.accepted()
	replied()
}

// await waits for the commands of a beat, which the writer finishes within its
// timeouts. Behind what is large, on a slow link, they are too late: then the
// beat makes detours.
func (p *pulse) await(b *beat, waiter *waiter) {
	ticker := time.NewTicker(p.lane.broker.config.lease / 4)
	defer ticker.Stop()
	for {
		select {
		case <-waiter.done:
			return
		case <-ticker.C:
			p.lane.detour(b)
		}
	}
}
