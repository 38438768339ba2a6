package juggler

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/wheel"
)

// stream is what a pending call has whose client takes the answer in parts. The client
// says how many parts it takes, and the node how much may wait for it here: what it has
// granted the callee of both is the window, so a callee is as fast as its client reads.
type stream struct {
	p     *pendingCall
	timer wheel.Timer[stream] // of the earliest of the deadlines

	asked   uint32        // parts that the client takes in total
	written broker.Window // what was queued for the client
	came    broker.Window // what came without a hole
	waiting []waitingPart // what came and is not written, by number
	size    int           // of waiting, in bytes
	blocked bool          // it waits for the client to read: see streams.blocked
	before  uint32        // parts that the client does not want, as it has them or they are gone

	result   *earlyResult // it waits for parts
	parts    uint32       // that it comes behind
	answered bool         // it came

	callee  broker.ID
	granted broker.Window
	known   broker.Window // of granted, what the callee has by its parts
	pause   time.Duration // before the grant is made once more, if the callee waits for it

	hole, stall, again int64 // the deadlines; 0: none
}

// waitingPart is a part that cannot be written yet.
type waitingPart struct {
	n    uint32
	args []byte
}

const (
	// maxHole is how long a missing part is waited for: the broker delivers parts in order,
	// unless it has lost one.
	maxHole = 2 * time.Second

	// A grant that the callee does not seem to have is made again, after pauses that grow
	// if it has used all that it knows of. If not it may be busy, or its last part was lost
	// with the grant.
	firstGrantPause   = 250 * time.Millisecond
	longestGrantPause = 4 * time.Second
	busyGrantPause    = 10 * time.Second
)

// newStream makes the stream of p, whose client takes so many parts at first.
func (sh *shard) newStream(p *pendingCall, parts int) *stream {
	if sh.streams == nil {
		sh.streams = new(streams)
	}
	st := &stream{p: p, asked: uint32(parts)}
	st.timer.Owner = st
	st.granted = st.window()
	st.known = st.granted
	sh.h.stats.streams.Add(1)
	return st
}

// skip has the parts begin behind number n, before any has come.
func (st *stream) skip(n uint32) {
	st.before = n
	st.asked = uint32(min(uint64(st.asked)+uint64(n), math.MaxUint32))
	st.written.Parts, st.came.Parts = n, n
	st.granted = st.window()
	st.known = st.granted
}

// shard returns whose stream it is, while the session is there.
func (st *stream) shard() *shard { return st.p.s.shard }

// over reports whether the call has its outcome.
func (st *stream) over() bool { return st.p.stream != st }

// window returns what may be granted now.
func (st *stream) window() broker.Window {
	cfg := st.shard().h.cfg
	parts := uint64(st.written.Parts) + uint64(cfg.streamWindow)
	return broker.Window{
		Parts: uint32(min(parts, uint64(st.asked))),
		Bytes: st.written.Bytes + uint64(cfg.streamWindowBytes),
	}
}

// more handles MORE. It has no answer, so one for a call that is unknown or over is ignored.
func (s *session) more(f *frame.Frame) {
	if p := s.shard.calls.find(s, f.For); p != nil && p.stream != nil {
		st := p.stream
		st.asked = uint32(min(uint64(st.asked)+uint64(f.Parts), math.MaxUint32))
		st.goOn()
	}
}

// part handles a part that has come.
func (t *callTable) part(it *partItem) {
	p := t.bySlot(it.slot, it.gen)
	if p == nil || p.stream == nil {
		t.sh.streams.late(t.sh, it)
		return
	}
	if p.state != callOver && p.s.state < closing {
		p.stream.take(it)
	}
}

// take takes a part, which may have come before.
func (st *stream) take(it *partItem) {
	st.callee = it.from
	st.known = st.known.Union(it.window)
	i := len(st.waiting)
	for i > 0 && st.waiting[i-1].n > it.n {
		i--
	}
	if it.n <= st.came.Parts || i > 0 && st.waiting[i-1].n == it.n {
		return
	}
	if problem := st.unfit(it, i == len(st.waiting)); problem != nil {
		st.refuse(problem)
		return
	}
	st.again, st.pause = 0, 0
	if it.n == st.came.Parts+1 && len(st.waiting) == 0 && st.isNext() && st.write(it.args) {
		st.came = st.written
		st.hole = 0
	} else if !st.over() {
		st.waiting = slices.Insert(st.waiting, i, waitingPart{it.n, append([]byte(nil), it.args...)})
		st.keep(len(it.args))
		st.countCame()
	}
	st.goOn()
}

// unfit says why a part cannot be sent to the client, or returns nil. A callee that keeps
// to its window sends the last of all that have come only if those before left room.
func (st *stream) unfit(it *partItem, last bool) error {
	h := st.shard().h
	switch all := st.written.Bytes + uint64(st.size); {
	case it.n > st.granted.Parts, last && all >= st.granted.Bytes:
		return fmt.Errorf("its callee sends more than it may: part %d behind %d bytes, of %d parts and %d bytes", it.n, all, st.granted.Parts, st.granted.Bytes)
	case len(it.args) > h.maxPayload():
		return partTooLarge(len(it.args), h.maxPayload())
	case !frame.ValidJSON(it.args):
		return errPartNotJSON
	}
	return nil
}

// countCame counts what has come without a hole.
func (st *stream) countCame() {
	for _, w := range st.waiting[st.came.Parts-st.written.Parts:] {
		if w.n != st.came.Parts+1 {
			return
		}
		st.came.Parts++
		st.came.Bytes += uint64(len(w.args))
		st.hole = 0
	}
}

// missing reports whether parts have to be there that have not come.
func (st *stream) missing() bool {
	return len(st.waiting) > int(st.came.Parts-st.written.Parts) || st.result != nil && st.came.Parts < st.parts
}

// keep counts n bytes more, or less, of parts that wait.
func (st *stream) keep(n int) {
	st.size += n
	st.shard().group.Keep(n)
}

// isNext reports whether a part may be written now without one that waits longer.
func (st *stream) isNext() bool {
	return st.p.state == callAcked && !st.blocked && len(st.shard().streams.blocked[st.p.s]) == 0
}

// write writes the next part. It returns false if the client has to read before, or if the
// part cannot be sent, which ends the call.
func (st *stream) write(args []byte) bool {
	s := st.p.s
	if s.HalfFull() {
		return false
	}
	h := s.shard.h
	b := s.encode(&frame.Frame{Type: frame.Part, For: st.p.id(), N: int(st.written.Parts) + 1, Args: args})
	if !h.fits(len(b)) {
		st.refuse(partTooLarge(len(b), h.cfg.maxQueue-frameHeader))
		return false
	}
	if s.Queued()+len(b)+frameHeader > h.cfg.maxQueue {
		return false
	}
	s.write(b, bytesOf(st.p.uri))
	st.written.Parts++
	st.written.Bytes += uint64(len(args))
	h.stats.parts.Add(1)
	return true
}

// goOn does what is possible now: it writes parts that wait, ends the call behind the last
// one, and grants the callee more.
func (st *stream) goOn() {
	if st.over() || st.p.state == callOver || st.p.s.state >= closing {
		return
	}
	if st.p.state == callAcked && !st.flush() {
		return
	}
	st.grant()
	st.watch()
}

// flush writes what waits, and the result behind it. It returns false if the call is over.
func (st *stream) flush() bool {
	n := 0
	for len(st.waiting) > n && st.waiting[n].n == st.written.Parts+1 {
		if !st.isNext() || !st.write(st.waiting[n].args) {
			if st.over() {
				return false
			}
			st.shard().streams.block(st)
			break
		}
		n++
	}
	for _, w := range st.waiting[:n] {
		st.keep(-len(w.args))
	}
	if st.waiting = slices.Delete(st.waiting, 0, n); len(st.waiting) == 0 {
		st.waiting = nil
	}
	if r := st.result; r != nil && st.written.Parts >= st.parts {
		st.p.finish(r.args, r.err, r.ran)
		return false
	}
	return true
}

// end takes the result, which waits for the parts before it.
func (st *stream) end(r *resultItem) {
	if st.answered {
		st.shard().h.stats.lateResults.Add(1)
		return
	}
	st.answered, st.parts = true, r.parts
	if st.p.state == callAcked && st.written.Parts >= r.parts {
		st.p.finish(r.args, r.err, r.ran)
		return
	}
	st.result = &earlyResult{append([]byte(nil), r.args...), r.err, r.ran}
	st.goOn()
}

// grant grants the callee more, if it can use it: when half of the window is free again.
// Before its first part comes it has enough.
func (st *stream) grant() {
	w := st.window()
	if st.p.state != callAcked || st.answered || st.came.Parts == 0 || !w.Takes(st.came) {
		return
	}
	moreParts, moreBytes := w.Parts-st.granted.Parts, w.Bytes-st.granted.Bytes
	if 2*moreParts >= w.Parts-st.written.Parts || 2*moreBytes >= w.Bytes-st.written.Bytes {
		st.granted = w
		st.tell()
	}
}

// tell tells the callee what it is granted, at the end of the turn.
func (st *stream) tell() {
	sh := st.shard()
	if st.p.keyed {
		st.known = st.granted
		sh.grantKeyed(st.p)
		return
	}
	sh.streams.grants = append(sh.streams.grants, broker.Grant{To: st.p.address(sh), Callee: st.callee, Window: st.granted})
}

// unheard reports whether the callee may not know what it was granted.
func (st *stream) unheard() bool {
	return !st.answered && st.granted.Takes(st.came) && st.known.Union(st.granted) != st.known
}

// grantPause returns how long the callee has to show that it knows what it was granted.
func (st *stream) grantPause() time.Duration {
	if st.known.Takes(st.came) {
		return busyGrantPause
	}
	pause := max(st.pause, firstGrantPause)
	st.pause = min(2*pause, longestGrantPause)
	return pause
}

// watch sets the deadlines.
func (st *stream) watch() {
	sh := st.shard()
	set := func(deadline *int64, on bool, after time.Duration) {
		if !on {
			*deadline = 0
		} else if *deadline == 0 {
			*deadline = sh.group.After(after)
		}
	}
	set(&st.hole, st.missing(), maxHole)
	set(&st.stall, st.p.state == callAcked && !st.answered && st.written.Parts >= st.asked, sh.h.cfg.streamStall)
	if !st.unheard() {
		st.again = 0
	} else if st.again == 0 {
		st.again = sh.group.After(st.grantPause())
	}

	next := int64(math.MaxInt64)
	for _, at := range []int64{st.hole, st.stall, st.again} {
		if at != 0 {
			next = min(next, at)
		}
	}
	switch {
	case next == math.MaxInt64:
		sh.streams.wheel.Remove(&st.timer)
	case !st.timer.Active() || next < st.timer.At(): // too early does no harm
		sh.streams.wheel.Set(&st.timer, next)
	}
}

// due is called when the timer of st fires.
func (st *stream) due() {
	if st.p.state == callOver {
		return
	}
	sh := st.shard()
	now := sh.group.Now()
	if sh.group.StoodStill(st.timer.At()) {
		st.hole, st.stall = 0, 0 // what was waited for may be here, and is read first
	}
	switch {
	case st.hole != 0 && st.hole <= now:
		sh.h.stats.streamsBroken.Add(1)
		sh.h.log.Warn("a part of an answer is missing, which ends the call", "uri", st.p.uri, "session", idText(st.p.s.id))
		st.fail(errPartLost)
		return
	case st.stall != 0 && st.stall <= now:
		sh.h.stats.streamsStalled.Add(1)
		st.fail(errNotAsked)
		return
	case st.again != 0 && st.again <= now:
		st.again = 0
		st.tell()
	}
	st.watch()
}

// Why an answer in parts has ended before its result.
var (
	errPartLost    = &Error{Code: CodeCalleeLost, Message: "a part of the answer was lost"}
	errNotAsked    = &Error{Code: CodeLimit, Message: "the client has asked for no more parts in time"}
	errPartNotJSON = errors.New("it is not JSON")
)

func partTooLarge(size, limit int) *Error {
	return Errorf(CodeTooLarge, "a part has %d bytes, and at most %d may wait for a client", size, limit)
}

// refuse ends the call, since a part of its answer cannot be sent.
func (st *stream) refuse(problem error) {
	h := st.shard().h
	h.log.Error("a part of an answer cannot be sent, which ends the call", "uri", st.p.uri, "error", problem)
	e, _ := h.publicError(problem, false)
	st.fail(e)
}

// fail ends the call, and has the callee stop.
func (st *stream) fail(e *Error) {
	p := st.p
	if p.state == callSent {
		p.state, p.over = callOver, e
		return
	}
	p.cancelAtBroker()
	p.fail(e)
}

// drop ends st with its call, or with its session.
func (st *stream) drop() {
	sh := st.shard()
	sh.streams.wheel.Remove(&st.timer)
	sh.streams.unblock(st)
	st.keep(-st.size)
	if !st.answered && st.p.state != callSent && !st.p.keyed { // else nobody has it
		sh.streams.endedEarly(sh, st)
	}
	sh.h.stats.streams.Add(-1)
	st.p.stream = nil
}
