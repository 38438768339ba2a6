package redis

import (
	"fmt"
	"time"
)

// A feedMonitor looks after the connection of a feed. It pings a silent server, and cuts
// the connection if that stays silent. We cannot use a read deadline, because it could
// expire in the middle of a message. It sends probes, cuts a connection that leads to the
// wrong server, and does at its ticks what is to be retried or told later. Its goroutine
// runs from start to stop.
type feedMonitor struct {
	feed    *feed
	quit    chan struct{}
	stopped chan struct{}
}

func newFeedMonitor(f *feed) *feedMonitor {
	return &feedMonitor{feed: f, quit: make(chan struct{}), stopped: make(chan struct{})}
}

func (w *feedMonitor) start() { go w.run() }

func (w *feedMonitor) stop() {
	close(w.quit)
	<-w.stopped
}

func (w *feedMonitor) run() {
	defer close(w.stopped)
	ticker := time.NewTicker(w.feed.hub.broker.config.replyTimeout / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-w.feed.wake:
		case <-w.quit:
			return
		}
		w.feed.prober.tick()
		if w.feed.check() {
			return // the feed's reader returns
		}
		w.feed.retry()
		w.feed.hub.tellSuspicion(w.feed)
		w.feed.tellLost()
		w.feed.checkIdle(idleCheck)
	}
}

// check cuts the connection if it is of no use any more, and pings a server that has been
// silent. It reports whether it has cut.
func (f *feed) check() bool {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if f.link == nil {
		return true
	}
	timeout := f.hub.broker.config.replyTimeout
	silence := min(time.Since(f.heard), f.link.Silence()) // a large message may be on its way
	if f.busy {
		silence = 0
	}
	switch {
	case f.link.Retired() != nil:
		f.cutBy = f.link.Retired()
	case !f.pinged.IsZero() && silence > timeout && time.Since(f.pinged) > timeout:
		f.cutBy = fmt.Errorf("no reply for %v", timeout)
	case f.pinged.IsZero() && silence > f.prober.pause()+timeout/4:
		f.ping(nil) // flush follows, in retry
	}
	if f.cutBy != nil {
		f.link.Cut()
	}
	return f.cutBy != nil
}
