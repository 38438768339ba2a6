package redis

import (
	"fmt"
	"time"
)

// A watch looks after the connection of a feed. It pings a silent server and cuts
// the connection when that stays silent: a read deadline could strike in the
// middle of a message. It sends probes, cuts a connection that leads elsewhere, and
// has its beat for what is to be tried or told later. Its goroutine runs from start
// to stop.
type watch struct {
	feed    *feed
	quit    chan struct{}
	stopped chan struct{}
}

func newWatch(f *feed) *watch {
	return &watch{feed: f, quit: make(chan struct{}), stopped: make(chan struct{})}
}

func (w *watch) start() { go w.run() }

func (w *watch) stop() {
	close(w.quit)
	<-w.stopped
}

func (w *watch) run() {
	defer close(w.stopped)
	ticker := time.NewTicker(w.feed.hub.broker.config.replyTimeout / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-w.feed.nudge:
		case <-w.quit:
			return
		}
		w.feed.prober.tick()
		if w.feed.judge() {
			return // the feed's reader returns
		}
		w.feed.retry()
		w.feed.hub.tellDoubt(w.feed)
		w.feed.tellLost()
	}
}

// judge cuts the connection if it is of no use any more, and pings the server if
// that has been silent. It reports whether it has cut.
func (f *feed) judge() bool {
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
