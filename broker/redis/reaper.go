package redis

import (
	"context"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// A reaper reports the calls of one node whose callee died: a goroutine, from
// start to stop, that looks four times in a lease. Each node looks for its own
// calls only, so a loss is reported without a detour over the server, and a
// dead node's calls trouble nobody.
type reaper struct {
	conn    *callerConn
	ctx     context.Context // ends with stop
	cancel  context.CancelFunc
	stopped chan struct{}
}

func newReaper(c *callerConn) *reaper {
	r := &reaper{conn: c, stopped: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(background)
	return r
}

func (r *reaper) start() { go r.run() }

func (r *reaper) stop() {
	r.cancel()
	<-r.stopped
}

func (r *reaper) run() {
	defer close(r.stopped)
	ticker := time.NewTicker(r.conn.broker.config.lease / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-r.ctx.Done():
			return
		}
		for i := range r.conn.used {
			if r.conn.used[i].Load() {
				r.reap(i)
			}
		}
	}
}

// reap reports first and deletes then: a loss may be reported twice, but is
// not forgotten when the connection is lost in between.
func (r *reaper) reap(index int) {
	l := r.conn.broker.lane(index)
	keys := r.conn.broker.keys
	found, err := l.writer.do(r.ctx, reapScript.run(
		[]string{keys.callees(index)}, r.conn.node[:], keys.key(index, "taken", "")+":"))
	if err != nil {
		l.refused("to look for calls of dead callees", found)
		return // the next round tries again
	}
	for rest := found.list; len(rest) >= 2; {
		callee, count := string(rest[0].text), rest[1].value
		if int(count) > len(rest)-2 {
			return
		}
		addresses := rest[2 : 2+count]
		r.report(callee, addresses)
		rest = rest[2+count:]
		forget := plain("SREM", keys.taken(index, callee))
		for _, a := range addresses {
			forget.bytes(a.text)
		}
		l.writer.do(r.ctx, forget) //nolint:errcheck // done again in the next round
	}
}

func (r *reaper) report(callee string, addresses []reply) {
	batch := make([]broker.Result, 0, len(addresses))
	for _, v := range addresses {
		if a, ok := parseAddress(v.text); ok {
			batch = append(batch, broker.Result{To: a, Err: broker.ErrCalleeLost})
		}
	}
	if r.ctx.Err() != nil || len(batch) == 0 {
		return
	}
	r.conn.broker.config.logger.Warn("redis: a callee is gone", "callee", callee, "calls", len(batch))
	r.conn.broker.stats.lost.Add(int64(len(batch)))
	r.conn.deliver(batch)
}
