package wsconn

// lingerFor is how many ms a message waits for company at most.
const lingerFor = 5

// lingers are the messages of a group that wait for company: whatever is
// queued next for their connection takes them along. A write costs a server
// more than all else that it does for a message, and the peer a read. Nothing
// overtakes them, as they are in the connection's queue.
//
// Waiting has to be worth it: credit counts how often lately a message was
// taken along in time. Without any, only some still wait, in order to find out.
type lingers struct {
	queue  []linger // by the time at which they are over
	head   int      // of queue: what is before it is over
	credit int
	probes uint
}

// linger says that the queue of a connection is written at the time at, if it
// still waits for that.
type linger struct {
	c  *Conn
	at int64
}

const (
	maxCredit  = 32
	probeEvery = 16
)

// worthIt reports whether the next message should wait.
func (l *lingers) worthIt() bool {
	l.probes++
	return l.credit > 0 || l.probes%probeEvery == 0
}

// linger has what is queued for c wait.
func (c *Conn) linger() {
	if c.out.linger != 0 || c.out.busy || c.flags&flagFull != 0 {
		return // it leaves with what waits, or is being written, already
	}
	l := &c.g.lingers
	c.out.linger = c.g.now + lingerFor
	l.queue = append(l.queue, linger{c, c.out.linger})
}

// joined is called when the queue of c was written.
func (c *Conn) joined() {
	if c.out.linger != 0 {
		c.out.linger = 0
		c.g.lingers.credit = min(c.g.lingers.credit+1, maxCredit)
	}
}

// waits reports whether the queue of the connection still waits.
func (w *linger) waits() bool { return w.c.out != nil && w.c.out.linger == w.at }

// end has the queues written whose time is over.
func (l *lingers) end(now int64) {
	for ; l.head < len(l.queue); l.head++ {
		w := &l.queue[l.head]
		if w.waits() {
			if now < w.at {
				break
			}
			w.c.out.linger = 0
			w.c.markDirty()
			l.credit = max(l.credit-2, 0)
		}
		w.c = nil
	}
	if l.head > len(l.queue)/2 {
		n := copy(l.queue, l.queue[l.head:])
		clear(l.queue[n:])
		l.queue, l.head = l.queue[:n], 0
	}
}

// next returns when the next message has waited long enough, 0 for never.
func (l *lingers) next() int64 {
	if l.head == len(l.queue) {
		return 0
	}
	return l.queue[l.head].at
}
