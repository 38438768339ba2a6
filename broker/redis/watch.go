package redis

import (
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// A watch pings the silent server of a feed, and cuts the connection when it
// stays silent: a read deadline could strike in the middle of a message. It also
// beats for what is to be tried again. Its goroutine runs from start to stop.
type watch struct {
	feed    *feed
	pubsub  *goredis.PubSub
	quit    chan struct{}
	stopped chan struct{}
}

func newWatch(f *feed, ps *goredis.PubSub) *watch {
	return &watch{feed: f, pubsub: ps, quit: make(chan struct{}), stopped: make(chan struct{})}
}

func (w *watch) start() { go w.run() }

func (w *watch) stop() {
	close(w.quit)
	<-w.stopped
}

// patience is how long a feed bears silence. A ping goes out after a quarter
// of the reply timeout, which its answer then has.
func (f *feed) patience() time.Duration {
	timeout := f.hub.broker.config.replyTimeout
	return timeout + timeout/4
}

func (w *watch) run() {
	defer close(w.stopped)
	pause := w.feed.hub.broker.config.replyTimeout / 4
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-w.quit:
			return
		}
		silence, l := w.feed.silence()
		switch {
		case silence > w.feed.patience():
			l.cut() // the feed's reader returns
			return
		case silence > pause:
			w.pubsub.Ping(background) //nolint:errcheck // silence tells
		}
		w.feed.retry()
	}
}

// silence returns how long the server has been silent, 0 while the feed itself
// keeps it waiting, and the connection.
func (f *feed) silence() (time.Duration, *link) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if f.busy || f.link == nil {
		return 0, nil
	}
	silence := time.Since(f.heard)
	f.silent = silence > f.patience()
	return silence, f.link
}
