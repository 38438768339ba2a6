package juggler

import (
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/keyed"
)

// A Request is a CALL, SUB, UNSB or PUB of a session on its way through
// middleware and authorizer. It and its slices are valid until the function
// it was passed to returns. One goroutine at a time may use it.
type Request struct {
	s        *session
	typ      frame.Type
	pattern  bool
	mayMatch bool      // the authorizer has allowed the pattern
	allowed  *identity // whom the authorizer has allowed a SUB
	uri      string    // of a CALL
	channel  string    // of the others
	id       []byte    // of a CANCEL: the id of the call
	args     []byte
	headers  []byte
	token    []byte // of an AUTH
	key      []byte // of a CALL or a PUB
	again    bool   // a PUB that may have been made before
	stop     bool   // a CANCEL ends the call for all
	timeout  time.Duration

	call     *pendingCall   // of a CALL; belongs to the turn
	watch    callWatch      // of a CALL
	replyTo  broker.Address // of a CALL
	window   broker.Window  // of a CALL whose answer may come in parts
	acquired bool           // a SUB holds its topic
	by       wantedBy       // who wants the topic of a SUB, or wanted that of an UNSB
	replays  bool           // a SUB only replays what the server has subscribed the session to
	changed  bool           // a SUB has added its topic, or an UNSB removed it

	wantsHere bool          // a SUB asks who is there, of a channel that has a rule
	asked     bool          // notices of who is there come for it
	rights    uint32        // that of the queue when the request came into it
	pubSeq    uint32        // numbers the PUBs of a queue
	history   *wanted       // of a SUB: what it asks of kept events, and gets
	keyed     *keyed.Waiter // of a CALL with a key
	joinOnly  bool          // it does not make the call

	unclear  bool    // the broker cannot say whether it took it
	accepted bool    // the broker took it
	err      error   // why it did not, or was not asked
	signIn   *signIn // of an AUTH

	chained bool // it has come to the end of the chain

	received time.Time           // set if it is handled by the session's worker
	done     []func(error) error // of non-blocking middleware, to be told what became of it

	// What the broker gets: in here, so that it need not be allocated.
	brokerCall  broker.Call
	brokerEvent broker.Event
	brokerKey   string // empty: it minds none
}

// Session returns whose request it is.
func (r *Request) Session() Session { return Session{r.s} }

// Type returns frame.Call, frame.Sub, frame.Unsb or frame.Pub.
func (r *Request) Type() frame.Type { return r.typ }

// URI returns what a CALL calls. The string may be kept.
func (r *Request) URI() string { return r.uri }

// Channel returns the channel, or pattern, of a SUB, UNSB or PUB. The string
// may be kept.
func (r *Request) Channel() string { return r.channel }

// Pattern reports whether Channel is a pattern.
func (r *Request) Pattern() bool { return r.pattern }

// AllowPattern allows the SUB of a pattern, if the authorizer returns nil as well. Call
// it in an authorizer that has made sure of every channel which the pattern can match:
// "news*" matches "newsroom" too, and "*" is all there is. A pattern for which nobody
// calls it is refused with code 403, so that an authorizer that compares names of
// channels cannot pass a pattern that looks like one of them. The package rules does all
// this. It means nothing for other requests.
func (r *Request) AllowPattern() { r.mayMatch = true }

// Timeout returns the time that a CALL has, at least 1 ms; 0 for other requests.
func (r *Request) Timeout() time.Duration { return r.timeout }

// Args returns the JSON of a CALL or PUB, never empty: null if the client sent
// none. It is not to be changed; see [Request.SetArgs].
func (r *Request) Args() []byte { return r.args }

// SetArgs replaces the args of a CALL or PUB by args, which must be one JSON
// value in UTF-8: what is not breaks the messages that carry it. The slice must
// stay as it is until the request is handled.
func (r *Request) SetArgs(args []byte) { r.args = args }

// Key returns the key of a CALL or a PUB, or "". Clients set it, so that they may send the
// same once more where they do not know what became of the first. That of a PUB counts on
// channels whose events the broker keeps ([broker.History]), and belongs to the session's
// user: two users cannot have one key. That of a CALL belongs to its URI and the session's
// scope ([WithKeyScope]); the CALL joins another one that was made with it, if there is one.
// Middleware that changes the args of a request with a key makes the same of them each time,
// else the client gets code 409.
func (r *Request) Key() string { return string(r.key) }

// Header returns a header of a CALL or PUB, or "". Of one that the client sent
// twice the last counts, here as for callees and subscribers.
func (r *Request) Header(name string) string {
	value, _ := frame.Header(r.headers, name)
	return value
}

// SetHeader sets a header of a CALL or PUB, in place of what the client may have sent
// under that name, in any case of letters: what it says can be trusted by callees and
// subscribers.
func (r *Request) SetHeader(name, value string) {
	room := make([]byte, 0, len(r.headers)+len(name)+len(value)+len(`{"":"",}`))
	r.headers = frame.SetHeader(room, r.headers, name, value)
}

// DeleteHeader takes a header off a CALL or PUB, in any case of letters. Callees that
// trust one which [Request.SetHeader] sets need it where there is nothing to set.
func (r *Request) DeleteHeader(name string) {
	if len(r.headers) > 0 {
		r.headers = frame.DeleteHeader(nil, r.headers, name)
	}
}

// OnCallEnd has f told how a CALL ended, as [WithCallObserver] does for all, and after
// those: f can know what it was at the beginning, such as the span of a trace. Of other
// requests, which end with the chain, and of a CALL that never gets to middleware, f
// hears nothing. Several functions are called in the order in which they were passed.
func (r *Request) OnCallEnd(f func(CallEnd)) {
	h, w := r.s.shard.h, &r.watch
	if w.began == 0 {
		w.began = h.clock()
		if !r.onTurn() {
			w.began = r.received.Sub(h.epoch)
		}
	}
	if first := w.onEnd; first != nil {
		second := f
		f = func(e CallEnd) {
			defer second(e) // also if the first one panics
			first(e)
		}
	}
	w.onEnd = f
}

// fillIn fills in what the broker gets of a CALL or PUB.
func (r *Request) fillIn() error {
	if r.typ == frame.Call {
		return r.makeCall()
	}
	return r.makeEvent()
}
