package wsconn

// delayFor is how many ms a write is delayed at most.
const delayFor = 5

// delayedWrites are the writes of a group that wait a little for more to write, as the
// delayed ACK of TCP does (RFC 1122, section 4.2.3.2): whatever is queued next for the
// connection leaves in the same write. For a server a write costs more than all else
// that it does for a message, and it costs the peer a read. Nothing overtakes a
// delayed message, which is in the connection's queue.
//
// As Nagle's algorithm does (RFC 896), a delay trades time for fewer writes. It only
// pays where more soon follows, and credit counts how often lately it did. Without
// credit only one write in probeEvery is delayed, to find out.
type delayedWrites struct {
	queue  []delayedWrite // by the time at which the delay is over
	head   int            // of queue: what is before it is over
	credit int
	probes uint
}

// A delayedWrite has the queue of a connection written at the time at, unless
// something else has had it written before.
type delayedWrite struct {
	c  *Conn
	at int64
}

const (
	maxCredit  = 32
	probeEvery = 16
)

// pays reports whether the next write should be delayed.
func (d *delayedWrites) pays() bool {
	d.probes++
	return d.credit > 0 || d.probes%probeEvery == 0
}

// delayWrite delays the write of what is queued for c.
func (c *Conn) delayWrite() {
	if c.out.delayedTo != 0 || c.out.busy || c.flags&flagFull != 0 {
		return // another write is delayed, or being made, and takes it along
	}
	d := &c.g.delayed
	c.out.delayedTo = c.g.now + delayFor
	d.queue = append(d.queue, delayedWrite{c, c.out.delayedTo})
}

// endDelay is called when the queue of c was written. A delay that was not over has
// paid.
func (c *Conn) endDelay() {
	if c.out.delayedTo != 0 {
		c.out.delayedTo = 0
		c.g.delayed.credit = min(c.g.delayed.credit+1, maxCredit)
	}
}

// delayed reports whether the queue of the connection still waits for w.
func (w *delayedWrite) delayed() bool { return w.c.out != nil && w.c.out.delayedTo == w.at }

// expire has the queues written whose delay is over.
func (d *delayedWrites) expire(now int64) {
	for ; d.head < len(d.queue); d.head++ {
		w := &d.queue[d.head]
		if w.delayed() {
			if now < w.at {
				break
			}
			w.c.out.delayedTo = 0
			w.c.markDirty()
			d.credit = max(d.credit-2, 0)
		}
		w.c = nil
	}
	if d.head > len(d.queue)/2 {
		n := copy(d.queue, d.queue[d.head:])
		clear(d.queue[n:])
		d.queue, d.head = d.queue[:n], 0
	}
}

// next returns when the next delay is over, 0 for never.
func (d *delayedWrites) next() int64 {
	if d.head == len(d.queue) {
		return 0
	}
	return d.queue[d.head].at
}
