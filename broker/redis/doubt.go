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
}

// raiseDoubt notes that the server may have forgotten something until now.
func (l *lane) raiseDoubt() {
	l.doubt.until.Store(int64(time.Since(l.broker.made) + l.broker.config.lease))
}

func (l *lane) inDoubt() bool {
	return int64(time.Since(l.broker.made)) < l.doubt.until.Load()
}
