package redis

import (
	"errors"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// results receives the results of one node: a goroutine, from start to stop,
// and a connection that waits for the node's list.
type results struct {
	conn    *callerConn
	blocker *conn.Redialer
	stopped chan struct{}
}

func newResults(c *callerConn) *results {
	return &results{
		conn:    c,
		blocker: c.home.newRedialer("results"),
		stopped: make(chan struct{}),
	}
}

func (r *results) start() { go r.run() }

// stop cuts the connection: what is popped just then is lost, as is what comes
// later, for the node is gone.
func (r *results) stop() {
	r.blocker.Cut()
	<-r.stopped
	r.blocker.Close()
}

func (r *results) run() {
	defer close(r.stopped)
	key := r.conn.broker.keys.results(r.conn.home.index, r.conn.node)
	// One round trip for one result as well as for hundreds. A timeout of the
	// first command does not hide the reply of the second.
	first, more := resp.NewCommand("BRPOP", key, int(blockFor/time.Second)), collectScript.Command([]string{key})
	first.Blocks = blockFor
	for {
		link := r.blocker.Link()
		if link == nil {
			return
		}
		err := link.Run(first, more)
		if err == nil {
			err = errors.Join(first.Reply.Err(), more.Reply.Err())
		}
		values := more.Reply.List
		if list := first.Reply.List; len(list) == 2 { // the key, the value
			values = append([]resp.Reply{list[1]}, values...)
		}
		r.deliver(key, values)
		if err == nil {
			r.blocker.Worked()
		} else {
			r.blocker.Failed(err)
		}
	}
}

func (r *results) deliver(key string, values []resp.Reply) {
	batch := make([]broker.Result, 0, len(values))
	for _, v := range values {
		result, err := decodeResult(r.conn.node, v.Text)
		if err != nil {
			r.conn.broker.corrupt(key, err)
			continue
		}
		batch = append(batch, result)
	}
	if len(batch) > 0 && !r.conn.closed.Load() {
		r.conn.broker.stats.received.Add(int64(len(batch)))
		r.conn.deliver(batch)
	}
}
