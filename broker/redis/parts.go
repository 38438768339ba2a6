package redis

import (
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/oklog/ulid/v2"
)

// A partsReader receives the parts and the news for one node: a goroutine, from start to
// stop, and a connection that waits for them. They stay in the node's list until the next
// command on the same connection says that they are here. On another connection, or if the
// server has forgotten it, the reader begins again, and what it gets may have come before:
// nothing is removed that it has not got.
type partsReader struct {
	conn    *callerConn
	blocker *conn.Redialer
	wait    *resp.Command // for a token; one that is lost delays a part by blockFor at most
	keys    []string      // of parts.lua
	stopped chan struct{}

	// Owned by the goroutine.
	link  *conn.Link
	name  string    // on link; empty: it is to begin
	more  bool      // there are parts: no need to wait for a token
	parts int       // that the last reply had, to be removed by the next command
	bytes int64     // of these and of others before them that the server still counts
	last  time.Time // when they came
}

// partsRest is how soon after the last read the next one begins, so that the parts of a
// fast stream come together: each read costs about as much as the storing of a part.
const partsRest = time.Millisecond

func newPartsReader(c *callerConn) *partsReader {
	keys, lane := c.broker.keys, c.home.index
	r := &partsReader{
		conn:    c,
		blocker: c.home.newRedialer("parts"),
		wait:    resp.NewCommand("BZPOPMIN", keys.partsToken(lane, c.node), int(blockFor/time.Second)),
		keys:    []string{keys.parts(lane, c.node), keys.partsBytes(lane, c.node), keys.partsReader(lane, c.node)},
		stopped: make(chan struct{}),
	}
	r.wait.Blocks = blockFor
	return r
}

func (r *partsReader) start() { go r.run() }

// stop cuts the connection: the node is gone, and its parts are of no use.
func (r *partsReader) stop() {
	r.blocker.Cut()
	<-r.stopped
	r.blocker.Close()
}

func (r *partsReader) run() {
	defer close(r.stopped)
	for {
		link := r.blocker.Link()
		if link == nil {
			return
		}
		if link != r.link {
			r.link, r.name = link, ""
		}
		if err := r.read(); err != nil {
			r.name = ""
			r.blocker.Failed(err)
		} else {
			r.blocker.Worked()
		}
	}
}

// next returns the command for the next parts. What was removed is not told each time,
// for that costs a write.
func (r *partsReader) next() *resp.Command {
	begins, removed := 0, int64(0)
	switch {
	case r.name == "":
		begins, r.name, r.parts, r.bytes = 1, ulid.Make().String(), 0, 0
	case r.bytes > r.conn.broker.config.partsBytes/64:
		removed, r.bytes = r.bytes, 0
	}
	return partsScript.Command(r.keys, r.name, begins, r.parts, removed)
}

// read waits for parts, unless it knows of some or begins, and delivers them. It does both
// in one round trip.
func (r *partsReader) read() error {
	waits := r.name != "" && !r.more
	if rest := partsRest - time.Since(r.last); waits && rest > 0 {
		r.blocker.Pause(rest)
	}
	next := r.next()
	commands := []*resp.Command{next}
	if waits {
		commands = []*resp.Command{r.wait, next}
	}
	err := r.link.Run(commands...)
	if err == nil {
		err = next.Reply.Err()
	}
	if err != nil {
		return err
	}
	r.last = time.Now()
	r.receive(next.Reply.List)
	if waits {
		return r.wait.Reply.Err()
	}
	return nil
}

// receive handles what parts.lua returned.
func (r *partsReader) receive(reply []resp.Reply) {
	if len(reply) == 0 || reply[0].Value < 0 {
		r.name = ""
		return
	}
	values := reply[1:]
	if r.more, r.parts = reply[0].Value == 1, len(values); r.parts == 0 {
		r.bytes = 0 // the server counts none any more
	}
	batch := make([]broker.Part, 0, len(values))
	var news []broker.CallKey
	for _, v := range values {
		r.bytes += int64(len(v.Text) + partOverhead)
		if key, ok := decodeNews(v.Text); ok {
			if !slices.Contains(news, key) {
				news = append(news, key)
			}
			continue
		}
		p, err := decodePart(r.conn.node, v.Text)
		if err != nil {
			r.conn.broker.corrupt(r.keys[0], err)
			continue
		}
		batch = append(batch, p)
	}
	if r.conn.closed.Load() {
		return
	}
	if len(batch) > 0 {
		r.conn.broker.stats.partsReceived.Add(int64(len(batch)))
		r.conn.parts(batch)
	}
	if len(news) > 0 && r.conn.news != nil {
		r.conn.news(news)
	}
}
