package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/juggler-go/juggler/frame"
)

// StreamOption configures one [Stream].
type StreamOption interface{ applyStream(*request) }

type streamFunc func(*request)

func (f streamFunc) applyStream(r *request) { f(r) }

// defaultWindow is how many parts a Stream asks for, unless Window says otherwise.
const defaultWindow = 128

// Window sets how many parts of the answer may be on their way or wait in the client for
// the application to take them. The callee is never further ahead, whatever its speed; and
// the server may let it be less far. Default: 128; 1 to 1,000,000.
func Window(parts int) StreamOption {
	return streamFunc(func(r *request) {
		if parts < 1 || parts > frame.MaxParts {
			r.err = fmt.Errorf("%w: Window(%d): want 1 to %d", ErrInvalidOption, parts, frame.MaxParts)
		}
		r.async.stream.window = parts
	})
}

// Stream is a call whose answer comes in parts, and then ends with a result. Loop over
// [Stream.Parts] or [PartsAs]; [Stream.Result] alone drops the parts.
//
// A Stream that is neither looped over nor asked for its result holds its callee until the
// server ends it ([CodeLimit]) or the time of the call is over: end its context instead.
type Stream struct {
	c      *Client
	r      *request
	ctx    context.Context
	window int
	wake   chan struct{} // has a value while there may be a part to take

	mu    sync.Mutex // guards the following; it is locked after conn.mu
	parts []streamPart
	taken int // of parts; the others wait
	last  int // number of the part that was taken last
	came  int // number of the part that came last
	asked int // number of the last part that the server was asked for
	used  int // how many the application took since the client last asked
	use   use
}

// streamPart is a part, or the notice that parts before the next one are gone.
type streamPart struct {
	args json.RawMessage
	gone *PartsGoneError
}

// use is who takes the parts of a Stream. It does not change any more once it is known.
type use uint8

const (
	useUnknown use = iota
	useLoop
	useResult // which drops them
)

// errDropped is what a loop gets that begins behind Result.
var errDropped = errors.New("the parts are dropped, as Result was asked for before them")

// Stream begins a call that takes its answer in parts, and returns when it is handed to the
// connection, which it waits for. in, ctx and the order of calls are as for [Client.Start]:
// the time of ctx, or else of [WithCallTimeout], is that of the whole answer.
//
// The server sends as many parts as [Window] says, and more as the application takes them:
// who is slow slows the callee down, and nothing else on the connection. A callee or a
// server that knows no parts answers with the result alone.
//
// A call is never repeated once a part of its answer has come, even if it is [Idempotent]:
// if its connection is lost, it ends, after the parts that have come, with an error that
// says how many these are, and wraps [ErrUnknownOutcome]. One that has a [Key] goes on on the
// next connection, without a part that is missing or comes twice.
func (c *Client) Stream(ctx context.Context, uri string, in any, opts ...StreamOption) (*Stream, error) {
	r := c.newRequest(frame.Call, uri)
	s := &Stream{c: c, r: r, ctx: ctx, window: defaultWindow, wake: make(chan struct{}, 1)}
	r.async = &asyncPart{ended: c.work.end, stream: s}
	for _, o := range opts {
		o.applyStream(r)
	}
	if err := c.startCall(ctx, r, in); err != nil {
		return nil, s.wrap(err)
	}
	return s, nil
}

// Parts is an iterator over the parts of the answer, in their order and without holes; each
// is the application's own. It ends quietly where the answer does, whose result
// [Stream.Result] then returns. If the call fails, the error comes last.
//
// To leave the loop before cancels the call, at its callee too; its result is
// [CodeCancelled] then, unless it had come. So does the end of the Stream's context, which
// is not held up by parts that wait. A call with a [Key] goes on without them. There may be
// one loop at a time.
//
// One error is not the last: a [PartsGoneError], which only a call with a key can have.
func (s *Stream) Parts() iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		if !s.claim(useLoop) {
			yield(nil, s.wrap(errDropped))
			return
		}
		defer s.cancel() // does nothing to a call that has ended
		for {
			part, err := s.next(context.Background())
			if err != nil {
				if yield(nil, s.wrap(err)) && isGone(err) {
					continue
				}
				return
			}
			if part == nil || !yield(part, nil) {
				return
			}
		}
	}
}

// PartsAs is [Stream.Parts] of s with each part unmarshaled into a T. A part that is no T is
// an error, which ends the loop and cancels the call.
func PartsAs[T any](s *Stream) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for part, err := range s.Parts() {
			var v T
			if err == nil {
				if err = json.Unmarshal(part, &v); err != nil {
					err = s.wrap(fmt.Errorf("part %d: %w", s.Last(), err))
				}
			}
			if !yield(v, err) || err != nil && !isGone(err) {
				return
			}
		}
	}
}

// Result waits for the end of the answer within ctx, whose end means nothing to the call,
// and unmarshals the result into out as [Client.Call] does. If no loop over the parts has
// begun, it takes them, drops them, and none can begin any more. It may be called several
// times, and while a loop goes on.
func (s *Stream) Result(ctx context.Context, out any) error {
	if s.claim(useResult) {
		for {
			part, err := s.next(ctx)
			if part == nil && !isGone(err) {
				break
			}
		}
	}
	if err := s.r.result(ctx, out); err != nil {
		return s.wrap(err)
	}
	return nil
}

// wrap says which stream err is of.
func (s *Stream) wrap(err error) error { return fmt.Errorf("juggler: stream %s: %w", s.r.name, err) }

// claim reports whether u takes the parts, since nothing else does.
func (s *Stream) claim(u use) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.use == useUnknown {
		s.use = u
	}
	return s.use == u
}

// next takes the next part, which it waits for within ctx. It returns neither part nor error
// when the answer has ended well.
func (s *Stream) next(ctx context.Context) (json.RawMessage, error) {
	for ended := false; ; {
		if part, ok, more := s.pop(); ok {
			if more {
				s.ask()
			}
			if part.gone != nil {
				return nil, part.gone
			}
			return part.args, nil
		}
		if ended {
			return nil, s.r.err
		}
		select {
		case <-s.wake:
		case <-s.r.done:
			ended = true // behind the last part
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// pop takes what has come, and says whether to ask for more: that keeps the window open, but
// not before half of it is used.
func (s *Stream) pop() (part streamPart, ok, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken == len(s.parts) {
		return streamPart{}, false, false
	}
	part, s.parts[s.taken] = s.parts[s.taken], streamPart{}
	if s.taken++; s.taken == len(s.parts) {
		s.parts, s.taken = s.parts[:0], 0
	}
	if part.gone != nil {
		s.last = part.gone.From - 1
		return part, true, false
	}
	s.last++
	s.used++
	return part, true, s.used >= (s.window+1)/2
}

// start returns for how many parts the CALL of s asks: for as many as there is room for, as
// some of an earlier connection may wait. If there is no room, it has to be one.
func (s *Stream) start() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := s.window
	for _, part := range s.parts[s.taken:] {
		if part.gone == nil {
			parts--
		}
	}
	parts = max(parts, 1)
	s.asked, s.used = s.came+parts, 0
	return parts
}

// ask asks the server for more parts, as soon as its rates allow the message.
func (s *Stream) ask() {
	if s.r.claimed.Load() {
		return
	}
	s.r.mu.Lock()
	cn, id := s.r.conn, s.r.id
	s.r.mu.Unlock()
	if cn.pace(s.ctx, frame.More, 0, s.r.deadline) == nil {
		cn.more(id, s)
	} // else the call ends, or asks on another connection
}

// due returns for how many parts to ask now.
func (s *Stream) due() (parts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts, s.used = s.used, 0
	s.asked += parts
	return parts
}

// cancel ends the call, if it has no outcome yet, and drops the parts that wait.
func (s *Stream) cancel() {
	if s.r.claim() {
		s.c.abandon(s.r)
		s.r.err = &Error{Code: CodeCancelled, Message: "the loop over the parts was left"}
		s.r.finish()
	}
	s.drop()
}

// drop forgets the parts that nobody has taken.
func (s *Stream) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts, s.taken = nil, 0
}

// push takes part n of the answer from the server, and owns it.
func (s *Stream) push(n int, part json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case n != s.came+1:
		return fmt.Errorf("server broke the protocol: part %d of the answer came, want %d", n, s.came+1)
	case n > s.asked:
		return fmt.Errorf("server broke the protocol: part %d of the answer came, the client had asked for %d", n, s.asked)
	}
	s.came = n
	s.parts = append(s.parts, streamPart{args: part})
	signal(s.wake)
	return nil
}

// stream returns what r is the call of, or nil.
func (r *request) stream() *Stream {
	if r.async == nil {
		return nil
	}
	return r.async.stream
}

// partsCame returns how many parts of the answer have come.
func (r *request) partsCame() int {
	if s := r.stream(); s != nil {
		return s.lastCame()
	}
	return 0
}

// lastCame returns the number of the part that came last.
func (s *Stream) lastCame() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.came
}

// part handles a PART. What is wrong with it ends its call alone.
func (cn *conn) part(f *frame.Frame) {
	id := cn.parseID(f.For)
	part := append(json.RawMessage(nil), f.Args...)
	if part == nil {
		part = json.RawMessage("null")
	}
	cn.mu.Lock()
	e, ok := cn.pending[id]
	var s *Stream
	var wrong error
	if ok = ok && e.typ == frame.Call; ok && e.req != nil {
		if s = e.req.stream(); s != nil {
			wrong = s.push(f.N, part) // with mu held: once cn fails, no part comes any more
		}
	}
	cn.mu.Unlock()
	switch {
	case ok && e.req == nil: // cancelled
	case s == nil:
		cn.report("a PART without a request for it is ignored", f.For)
	case wrong != nil && e.req.claim():
		cn.report("a PART that must not come ends its call", f.For)
		cn.cancel(id)
		e.req.err = wrong
		e.req.finish()
	}
}

// more asks for more parts of s, whose call has request id, unless it goes on elsewhere.
func (cn *conn) more(id uint64, s *Stream) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.pending[id].req != s.r {
		return
	}
	f := &cn.queue.tx
	f.Reset()
	f.Type, f.For, f.Parts = frame.More, cn.appendID(cn.queue.id[:0], id), s.due()
	cn.append(f)
}
