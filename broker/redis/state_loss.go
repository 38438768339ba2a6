package redis

import (
	"sync/atomic"
	"time"
)

// A stateLoss says whether the server of a lane may have lost its data: it was restarted
// or flushed, or could not be used for so long that leases of living callees have
// expired. Living callees and nodes announce themselves again within a lease. Until that
// is over no callee is taken for dead, and no URI for one without callees.
type stateLoss struct {
	until atomic.Int64 // ns since the broker was made; 0: there was never any
	since atomic.Int64 // since when the server has been watched, as it said last; 0: unknown
}

// suspectStateLoss notes that the server may have lost data until now.
func (l *lane) suspectStateLoss() {
	l.stateLoss.until.Store(int64(time.Since(l.broker.made) + l.broker.config.lease))
}

func (l *lane) mayHaveLostState() bool {
	return int64(time.Since(l.broker.made)) < l.stateLoss.until.Load()
}

// watched notes since when nodes have looked after the lane without a break, as the
// server says, in ms of its clock; 0: it does not know. If that differs from before, the
// server has lost data, or no node could reach it for a while.
func (l *lane) watched(since int64) {
	before := l.stateLoss.since.Load()
	if before != 0 && since != before {
		l.suspectStateLoss()
	}
	if since != 0 {
		l.stateLoss.since.Store(since)
	}
}
