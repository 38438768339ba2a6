package redis

import (
	"sync/atomic"
	"time"
)

// A doubt says whether it may be relied on what the server of a lane does not know.
// It may have forgotten: it was restarted, flushed, or was of no use for so long
// that leases are over of those who live. Then who lives says so within a lease.
// Until that is over nobody is called dead, and no URI is without callees.
type doubt struct {
	until atomic.Int64 // ns since the broker was made; 0: there was never any
	since atomic.Int64 // since when the server has been watched, as it said last; 0: unknown
}

// raiseDoubt notes that the server may have forgotten something until now.
func (l *lane) raiseDoubt() {
	l.doubt.until.Store(int64(time.Since(l.broker.made) + l.broker.config.lease))
}

func (l *lane) inDoubt() bool {
	return int64(time.Since(l.broker.made)) < l.doubt.until.Load()
}

// watched notes since when the server says that it has been watched without a
// break, in ms of its clock; 0: it does not know. When it says something else than
// before, it has forgotten, or nobody could reach it for a while.
func (l *lane) watched(since int64) {
	before := l.doubt.since.Load()
	if before != 0 && since != before {
		l.raiseDoubt()
	}
	if since != 0 {
		l.doubt.since.Store(since)
	}
}
