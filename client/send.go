package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler/frame"
)

// queue is what waits for the writer. Everything in it is guarded by conn.mu.
type queue struct {
	work   sync.Cond // there is something to write, or the conn is closing
	out    []byte    // encoded messages
	ends   []int     // where each of them ends
	sentID uint64    // requests up to this id may have been written
	tx     frame.Frame
	id     [frame.UUIDLen]byte
}

// drop forgets what was not handed to the writer and wakes it.
func (q *queue) drop() {
	q.out, q.ends = nil, nil
	q.work.Signal()
}

// submit queues r. It waits within ctx and the deadline of r while there is no
// room: in the queue, or among the calls that the server allows a session, or while the
// server's rates do not allow r yet.
// errGone means that r was not queued because the connection has failed, or
// there is another one for it.
func (cn *conn) submit(ctx context.Context, r *request) error {
	if err := cn.pace(ctx, r.typ, len(r.name)+len(r.args)+len(r.headersFor(cn.proto))+len(r.key), r.deadline); err != nil {
		return err
	}
	cn.mu.Lock()
	behind := r.typ == frame.Call && len(cn.waiting) > 0
	for !cn.refuses(r) && (behind || !cn.hasRoom(r.typ)) {
		behind = false
		turn := make(chan struct{})
		cn.waiting = append(cn.waiting, turn)
		cn.mu.Unlock()
		err := cn.await(ctx, r, turn)
		cn.mu.Lock()
		if err != nil {
			cn.giveUpTurn(turn)
			cn.mu.Unlock()
			return err
		}
	}
	defer cn.mu.Unlock()
	if cn.refuses(r) {
		return errGone
	}
	err := cn.put(r)
	if cn.hasRoom(frame.Call) {
		cn.wakeNext() // r took less than the room it was woken for
	}
	return err
}

func (cn *conn) hasRoom(typ frame.Type) bool {
	if len(cn.queue.out) >= cn.c.cfg.writeBuffer {
		return false
	}
	return typ != frame.Call || cn.mayCall()
}

// mayCall reports whether the server allows one more call.
func (cn *conn) mayCall() bool {
	return cn.hello.MaxCalls <= 0 || cn.calls < cn.hello.MaxCalls
}

// await waits for the turn of r, with mu not held.
func (cn *conn) await(ctx context.Context, r *request, turn chan struct{}) error {
	late := time.NewTimer(time.Until(r.deadline))
	defer late.Stop()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return context.DeadlineExceeded
	}
}

// giveUpTurn takes turn out of the line, or passes it on if it has come.
func (cn *conn) giveUpTurn(turn chan struct{}) {
	if i := slices.Index(cn.waiting, turn); i >= 0 {
		cn.waiting = slices.Delete(cn.waiting, i, i+1)
		return
	}
	cn.wakeNext()
}

// wakeNext gives the first in line its turn.
func (cn *conn) wakeNext() {
	if len(cn.waiting) > 0 {
		close(cn.waiting[0])
		cn.waiting = cn.waiting[1:]
	}
}

// grace is for how much longer than the server's own time the client waits for its
// answer, so that this wins where there is one.
const grace = 5 * time.Second

// put encodes r into the queue, with mu held. It does nothing if the caller of r
// has given up: its arguments may not be read any more then.
func (cn *conn) put(r *request) error {
	r.mu.Lock()
	defer r.mu.Unlock() // not before all is encoded: abandon waits for it
	if r.claimed.Load() {
		return nil
	}
	left := time.Until(r.deadline)
	if left <= 0 {
		return context.DeadlineExceeded
	}
	if cn.proto == frame.Juggler0 && (r.headers != nil || r.typ == frame.Auth) {
		return fmt.Errorf("%w by juggler.0: headers and AUTH", ErrUnsupported)
	}
	f := &cn.queue.tx
	f.Reset()
	f.Type, f.Args, f.Headers = r.typ, r.args, r.headersFor(cn.proto)
	deadline := r.deadline
	switch r.typ {
	case frame.Call:
		f.URI = r.name
		if err := cn.addCallKey(f, r); err != nil {
			return err
		}
		if s := r.stream(); s != nil {
			f.Parts = s.start()
		}
		f.Timeout = cn.timeout(r, left)
		if cn.proto == frame.Juggler1 {
			deadline = deadline.Add(grace)
		}
	case frame.Pub:
		f.Channel = r.name
		if err := cn.addKey(f, r); err != nil {
			return err
		}
	case frame.Auth:
		f.Token = r.name
	}
	id := cn.lastID + 1
	f.ID = cn.appendID(cn.queue.id[:0], id)
	if err := cn.append(f); err != nil {
		return err
	}
	r.conn, r.id = cn, id
	cn.expect(id, entry{typ: r.typ, req: r, deadline: deadline})
	return nil
}

// timeout returns the time that a call asks for, which has this left: no more than
// the server gives, unless WithTimeout says more. The server then refuses it.
func (cn *conn) timeout(r *request, left time.Duration) time.Duration {
	if limit := cn.hello.MaxCallTimeout; limit > 0 && r.timeout == 0 {
		return min(left, limit)
	}
	return left
}

// append encodes f into the queue, with mu held, unless it is larger than the
// server takes: that would cost the connection.
func (cn *conn) append(f *frame.Frame) *Error {
	q := &cn.queue
	at := len(q.out)
	q.out = cn.proto.Append(q.out, f)
	size := len(q.out) - at
	if limit := cn.hello.MaxMessage; limit > 0 && size > limit {
		q.out = q.out[:at]
		return &Error{
			Code:    CodeTooLarge,
			Message: fmt.Sprintf("message of %d bytes, the server takes %d", size, limit),
			Refused: true,
		}
	}
	q.ends = append(q.ends, len(q.out))
	if at == 0 {
		q.work.Signal()
	}
	return nil
}

// expect notes that request id was queued and awaits its answer, with mu held.
func (cn *conn) expect(id uint64, e entry) {
	cn.lastID = id
	cn.pending[id] = e
	if e.typ == frame.Call {
		cn.calls++
	}
	if cn.expires.IsZero() || e.deadline.Before(cn.expires) {
		cn.expires = e.deadline
		cn.expiry.Reset(time.Until(e.deadline))
	}
}

// request queues SUB or UNSB for t, and reports whether it did: not if cn has
// failed. It returns an error if the server would not take the message.
func (cn *conn) request(typ frame.Type, t *topic) (queued bool, err *Error) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.putTopic(entry{typ: typ, topic: t})
}

// leave is request for a topic that moves to another connection: behind the answer nothing
// comes for it.
func (cn *conn) leave(typ frame.Type, t *topic) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.putTopic(entry{typ: typ, topic: t, leaves: true})
}

// putTopic queues the SUB or UNSB of e, with mu held.
func (cn *conn) putTopic(e entry) (queued bool, err *Error) {
	if cn.closing {
		return false, nil
	}
	f, t := &cn.queue.tx, e.topic
	f.Reset()
	id := cn.lastID + 1
	f.Type, f.ID = e.typ, cn.appendID(cn.queue.id[:0], id)
	f.Channel, f.Pattern = []byte(t.name), t.pattern
	if f.Own = t.own; e.typ == frame.Sub && !e.leaves {
		t.ask(f, cn.proto)
		t.askHere(cn, f)
	}
	if err := cn.append(f); err != nil {
		return false, err
	}
	e.deadline = time.Now().Add(cn.c.cfg.callTimeout)
	cn.expect(id, e)
	return true, nil
}

// cancel tells the server that the result of request id is not wanted any more.
func (cn *conn) cancel(id uint64) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if e, ok := cn.pending[id]; ok && !cn.closing {
		cn.giveUp(id, e)
	}
}

// giveUp lets the result of e, which has request id, come for nobody; mu is held.
func (cn *conn) giveUp(id uint64, e entry) {
	// The entry stays: its answer comes, and until then it counts against
	// the session's limit of calls.
	e.req = nil
	cn.pending[id] = e
	if e.typ == frame.Call && cn.proto == frame.Juggler1 {
		cn.appendCancel(id, false)
	}
}

// appendCancel queues the CANCEL of call id, with stop for all who have joined it; mu is held.
func (cn *conn) appendCancel(id uint64, stop bool) {
	f := &cn.queue.tx
	f.Reset()
	f.Type, f.For, f.Stop = frame.Cancel, cn.appendID(cn.queue.id[:0], id), stop
	cn.append(f)
}

// pong answers PING.
func (cn *conn) pong() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if !cn.closing {
		f := &cn.queue.tx
		f.Reset()
		f.Type = frame.Pong
		cn.append(f)
	}
}

// idVariant marks the second half of an id in juggler.0 (RFC 9562).
const idVariant = 1 << 63

// appendID appends the text of request id: its number in juggler.1, a UUID of
// our prefix and its number in juggler.0.
func (cn *conn) appendID(dst []byte, id uint64) []byte {
	if cn.proto == frame.Juggler1 {
		return strconv.AppendUint(dst, id, 10)
	}
	var uuid [16]byte
	copy(uuid[:], cn.prefix[:])
	binary.BigEndian.PutUint64(uuid[8:], id|idVariant)
	return frame.AppendUUID(dst, uuid)
}

// parseID reads what appendID wrote; 0 is no id of ours.
func (cn *conn) parseID(text []byte) uint64 {
	if cn.proto == frame.Juggler0 {
		uuid, ok := frame.ParseUUID(text)
		if !ok || [8]byte(uuid[:8]) != cn.prefix {
			return 0
		}
		return binary.BigEndian.Uint64(uuid[8:]) &^ idVariant
	}
	const digits = 19 // always less than 2^64
	if len(text) > digits {
		return 0
	}
	var id uint64
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0
		}
		id = id*10 + uint64(c-'0')
	}
	return id
}

// write is the writer: it takes all that is queued and passes it to the socket
// as few writes. It ends when cn has failed, after closing the socket.
func (cn *conn) write() {
	defer close(cn.closed)
	stuck := time.AfterFunc(time.Hour, func() {
		cn.fail(errors.New("connection lost: the network took nothing for the write timeout"), 0, "")
		cn.sock.Close()
	})
	stuck.Stop()
	var batch []byte
	var ends []int
	for {
		q := &cn.queue
		cn.mu.Lock()
		for len(q.ends) == 0 && !cn.closing {
			q.work.Wait()
			if !cn.closing {
				// Goroutines that are about to submit join this batch.
				cn.mu.Unlock()
				runtime.Gosched()
				cn.mu.Lock()
			}
		}
		if cn.closing {
			code, reason := cn.code, cn.reason
			cn.mu.Unlock()
			cn.shut(code, reason)
			return
		}
		batch, q.out = q.out, batch[:0]
		ends, q.ends = q.ends, ends[:0]
		q.sentID = cn.lastID
		for range cn.waiting {
			cn.wakeNext()
		}
		cn.mu.Unlock()

		if err := cn.writeAll(batch, ends, stuck); err != nil {
			cn.writeFailed(err)
		}
		if cap(batch) > 2*maxHeld {
			batch = nil
		}
	}
}

// writeAll writes the messages of batch.
func (cn *conn) writeAll(batch []byte, ends []int, stuck *time.Timer) error {
	if len(ends) > 1 {
		cn.sock.hold()
	}
	begin := 0
	var err error
	for _, end := range ends {
		stuck.Reset(cn.c.cfg.writeTimeout)
		if err = cn.ws.Write(context.Background(), websocket.MessageText, batch[begin:end]); err != nil {
			break
		}
		begin = end
	}
	if len(ends) > 1 {
		if e := cn.sock.release(); err == nil {
			err = e
		}
	}
	stuck.Stop()
	return err
}

// writeFailed leaves it to the reader to find out why, as it may have the
// server's close frame still to read.
func (cn *conn) writeFailed(err error) {
	late := time.NewTimer(cn.c.cfg.closeTimeout)
	defer late.Stop()
	select {
	case <-cn.ctx.Done():
	case <-late.C:
		cn.fail(fmt.Errorf("connection lost: %w", rootCause(err)), 0, "")
	}
}

// shut closes the WebSocket, with a closing handshake if there is a code.
func (cn *conn) shut(code int, reason string) {
	if code != 0 {
		cn.ws.Close(websocket.StatusCode(code), reason) // awaitClose bounds it
	}
	cn.sock.Close()
	cn.ws.CloseNow()
}

// rootCause unwraps err to the innermost error, without the layers in which
// the WebSocket library wraps it.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
