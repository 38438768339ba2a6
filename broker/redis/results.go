package redis

import (
	"errors"

	"github.com/juggler-go/juggler/broker"
)

// resultBatch is how many results are popped at once.
const resultBatch = 512

// results receives the results of one node: a goroutine, from start to stop,
// and a connection that waits for the node's list.
type results struct {
	conn    *callerConn
	blocker *blocker
	stopped chan struct{}
}

func newResults(c *callerConn) *results {
	return &results{
		conn:    c,
		blocker: newBlocker(c.home, "results"),
		stopped: make(chan struct{}),
	}
}

func (r *results) start() { go r.run() }

// stop cuts the connection: what is popped just then is lost, as is what comes
// later, for the node is gone.
func (r *results) stop() {
	r.blocker.cut()
	<-r.stopped
	r.blocker.close()
}

func (r *results) run() {
	defer close(r.stopped)
	key := r.conn.broker.keys.results(r.conn.home.index, r.conn.node)
	for {
		link := r.blocker.connected()
		if link == nil {
			return
		}
		// One round trip for one result as well as for hundreds. A timeout of
		// the first command does not hide the reply of the second.
		first := plain("BRPOP", key, blockFor.Seconds())
		more := plain("RPOP", key, resultBatch)
		err := link.run(first, more)
		if err == nil {
			err = errors.Join(realError(first), realError(more))
		}
		values := append(popped(first), popped(more)...)
		r.deliver(key, values)
		if err == nil {
			r.blocker.worked()
		} else {
			r.blocker.failed(err)
		}
	}
}

// realError is the error of a command other than that there is nothing.
func realError(c *command) error {
	if err := c.cmd.Err(); isServerError(err) {
		return err
	}
	return nil
}

// popped returns the values that a BRPOP or RPOP with a count has popped.
func popped(c *command) []any {
	values, _ := c.cmd.Val().([]any)
	if len(values) == 2 && c.args[0] == "BRPOP" {
		return values[1:]
	}
	return values
}

func (r *results) deliver(key string, values []any) {
	if len(values) == 0 {
		return
	}
	batch := make([]broker.Result, 0, len(values))
	for _, v := range values {
		value, _ := v.(string)
		result, err := decodeResult(r.conn.node, value)
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
