package broker

import "context"

// An answer may come in parts before its Result: see [StreamCaller] and [StreamCallee].

// A Window is how much of an answer its caller takes. Both are totals since the call
// began, so the greater of two is the later one.
type Window struct {
	Parts uint32 // how many parts
	Bytes uint64 // how many bytes their Args have together; the part that reaches it is still taken
}

// IsZero reports whether w is none: the caller takes no parts.
func (w Window) IsZero() bool { return w == Window{} }

// Takes reports whether w has room for one part more behind those of sent: their number
// and bytes.
func (w Window) Takes(sent Window) bool { return sent.Parts < w.Parts && sent.Bytes < w.Bytes }

// Union returns the least window that takes what w and v take.
func (w Window) Union(v Window) Window {
	return Window{max(w.Parts, v.Parts), max(w.Bytes, v.Bytes)}
}

// A Part is a piece of the answer to a call. Its callee sends it before the Result.
type Part struct {
	To   Address
	N    uint32 // from 1 on, without holes
	Args []byte // any JSON value

	// Window is the greatest that the callee knew when it sent the part. A caller that has
	// granted more sees by it whether its grants arrive.
	Window Window

	// From is what a [Grant] names the callee by. The engine sets it.
	From ID
}

// A Grant is a greater Window for a call.
type Grant struct {
	To     Address
	Callee ID // [Part].From; the engine may leave it out where it tells the callee
	Window Window
}

// StreamCaller is an optional interface of a Caller that takes answers in parts.
type StreamCaller interface {
	// OpenStreamCaller is OpenCaller for a node whose calls may have a Window. parts gets
	// the parts of their answers, in batches, from any goroutine; those of one call in
	// their order, none left out, and some perhaps twice. A [Result] may overtake parts,
	// whose number it says. Where the engine loses data parts may be missing. Parts of
	// calls that are over may come, too.
	OpenStreamCaller(ctx context.Context, node ID, deliver func([]Result), parts func([]Part)) (StreamCallerConn, error)
}

// StreamCallerConn is the connection of one node to a StreamCaller.
type StreamCallerConn interface {
	CallerConn

	// Grant tells the callees that the caller takes more. It is a best effort, as Cancel
	// is: who has granted more and sees, by the Window of later parts or because none
	// come, that it has not arrived grants the same again. One for a call that is unknown
	// or over is ignored. It waits no longer than Cancel.
	Grant(ctx context.Context, grants []Grant) error
}

// StreamCallee is an optional interface of a Callee that answers in parts.
type StreamCallee interface {
	// OpenStreamCallee is OpenCallee for a callee that may send parts. granted is told of
	// greater windows of calls that were taken here; it does not wait. cancelled, which is
	// not nil, is told besides, soon, of calls with a Window whose caller is gone; those that
	// are still queued may never be taken. A call with a Key outlives its callers: if it has a
	// Window, that takes all parts.
	OpenStreamCallee(ctx context.Context, uris []string, cancelled func([]Address), granted func([]Grant)) (StreamCalleeConn, error)
}

// StreamCalleeConn is the connection of one callee to a StreamCallee.
type StreamCalleeConn interface {
	CalleeConn

	// SendPart stores p, a part of the answer to a call that was taken here, has a Window
	// and is not answered. The parts of one call are sent one after the other, each with a
	// number greater by 1, and within the Window. nil means that p is stored and will be
	// delivered, unless the engine loses it. The errors:
	//
	//   - [ErrQueueFull]: there is no room now, certainly not stored. The same part may be
	//     sent later.
	//   - [ErrUnavailable]: certainly not stored; the same part may be sent later.
	//   - [ErrUnknownOutcome]: it may be stored. The same part may be sent again, for the
	//     caller takes each number once.
	//   - [ErrCallOver]: no part will be taken any more: the call is answered, cancelled,
	//     past its time, or was never taken here, or its caller is gone.
	//   - [ErrClosed], and the error of ctx.
	//
	// A Result that follows says in Parts how many there are.
	SendPart(ctx context.Context, p *Part) error
}
