package load

import "fmt"

// Functions of the callee that answers in one of two ways for as long as the call lasts.
const (
	StreamParts  = "stream-parts"  // parts of the answer
	StreamEvents = "stream-events" // publications on the channel that the call names
)

// StreamWindow is how many parts a client takes at a time.
const StreamWindow = 128

// streams counts what long answers bring: one on each connection, in parts, or as events
// on a channel of its own.
type streams struct {
	*loop
	tally
	more []byte
}

// streamer is what a protocol has for them.
type streamer interface {
	protocol

	// stream is a call to uri, whose function makes texts of the load's payload, and
	// publishes them on channel if it does not send parts.
	stream(uri, channel string, parts bool) []byte

	// more takes as many parts more.
	more(parts int) []byte
}

func runStreams(s Spec, p streamer) (Result, error) {
	defer onThread()()
	conns, err := dialAll(s.Addr, s.Conns, func(c *conn) error {
		if err := p.open(c); err != nil {
			return err
		}
		if s.Parts {
			return nil
		}
		return p.subscribe(c, channelName(c.index))
	})
	if err != nil {
		return Result{}, err
	}
	l, err := newLoop(p, conns)
	if err != nil {
		return Result{}, err
	}
	defer l.close()
	r := &streams{loop: l}
	uri := StreamEvents
	if s.Parts {
		uri = StreamParts
		r.more = appendFrame(nil, opText, p.more(StreamWindow/2))
	}
	l.handle = r.came
	for _, c := range conns {
		c.out = appendFrame(c.out, opText, p.stream(uri, channelName(c.index), s.Parts))
		l.dirty = append(l.dirty, c)
	}
	return l.count(s, &r.tally, func() int { return 0 })
}

func (r *streams) came(c *conn, a answer) {
	if a.kind == ready { // the ACK
		return
	}
	_, number, ok := splitID(a.id)
	if !ok || a.kind != event {
		r.result.Duplicated++
		return
	}
	if number != c.expects {
		r.result.Disordered++
	}
	c.expects = (number + 1) % idSlot
	r.result.Messages++
	if r.more != nil && (number+1)%(StreamWindow/2) == 0 {
		c.out = append(c.out, r.more...)
	}
}

// StreamText is the text of the given length that the function sends as number n.
func StreamText(n, length int) string {
	return fmt.Sprintf("%d%s", makeID(0, uint32(n%idSlot)), filler(max(0, length-idDigits)))
}
