//go:build long

package systemtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// A session speaks juggler.1 frame by frame, so that it sees what a client of
// ours would hide: an answer too many, a result before its ACK.
type session struct {
	soak  *soak
	books *books
	id    uint32
	conn  *websocket.Conn

	mu       sync.Mutex // guards the following
	serial   uint32
	requests map[uint32]*request // without ACK or NACK, and calls without RES
	outcomes map[uint32]string   // of the others
	topics   map[broker.Topic]*subscription
	ending   bool

	read chan struct{} // closed when nothing is read any more
}

type request struct {
	kind      frame.Type
	begun     time.Time
	acked     bool
	cancelled bool
	uri       string // of a CALL
	timeout   time.Duration
	window    int          // of the parts of its answer; 0: it wants none
	parts     int          // that have come
	number    uint32       // of a CALL with a key; 0: it has none
	join      bool         // it does not make the call
	topic     broker.Topic // of SUB and UNSB
	stream    stream       // of PUB
	n         int
}

// A subscription is what a session knows of a topic once it has asked for it.
type subscription struct {
	acked   bool   // subscribed to at least once
	live    bool   // now, with nothing under way
	since   uint64 // by the books' count, so that what was published before is known
	events  int
	streams map[stream]*position
}

// A position is where in a stream a subscription is.
type position struct {
	last  int          // the highest that has come
	got   map[int]bool // all that have
	gap   bool         // something may have been missed since
	ended time.Time    // when nothing more was noted here; zero: not before the session ended
}

// end ends all positions of a subscription. The session's mu is held.
func (sub *subscription) end() {
	for _, p := range sub.streams {
		p.ended = time.Now()
	}
}

// openSession connects to a node, which no fault concerns: at worst its first
// session finds Redis out of reach.
func openSession(soak *soak, n *node) *session {
	conn, response, err := websocket.Dial(soak.t.Context(), n.url, &websocket.DialOptions{Subprotocols: []string{"juggler.1"}})
	for err != nil {
		if response == nil || response.StatusCode != http.StatusServiceUnavailable {
			panic(err)
		}
		soak.books.count("sessions refused with 503")
		soak.pause(50 * time.Millisecond)
		conn, response, err = websocket.Dial(soak.t.Context(), n.url, &websocket.DialOptions{Subprotocols: []string{"juggler.1"}})
	}
	s := &session{
		soak:     soak,
		books:    soak.books,
		id:       soak.books.newSession(),
		conn:     conn,
		requests: map[uint32]*request{},
		outcomes: map[uint32]string{},
		topics:   map[broker.Topic]*subscription{},
		read:     make(chan struct{}),
	}
	go s.receive() // ends with the connection
	return s
}

// end closes the connection, as a client that just goes away.
func (s *session) end() {
	s.mu.Lock()
	s.ending = true
	for _, sub := range s.topics {
		sub.end()
	}
	s.mu.Unlock()
	s.conn.CloseNow()
	<-s.read
}

// send sends a request, unless the connection is gone.
func (s *session) send(f *frame.Frame, r *request) uint32 {
	s.mu.Lock()
	s.serial++
	serial := s.serial
	r.kind, r.begun = f.Type, time.Now()
	f.ID = strconv.AppendUint(nil, uint64(serial), 10)
	switch f.Type {
	case frame.Call:
		f.Args = encode(r.args(s.id, serial))
	case frame.Pub:
		r.n = s.books.publish(r.stream)
		f.Args = encode(eventArgs{r.stream, r.n, serial})
	}
	s.requests[serial] = r
	s.mu.Unlock()
	s.write(f)
	return serial
}

func (s *session) write(f *frame.Frame) {
	ctx, cancel := context.WithTimeout(s.soak.t.Context(), patience)
	defer cancel()
	err := s.conn.Write(ctx, websocket.MessageText, frame.Juggler1.Append(nil, f))
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending { // what answers the server may come too late
		s.books.violated("session %d: write: %v", s.id, err)
	}
}

// maxPending is less than the server allows.
const maxPending = 100

func (s *session) isBusy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests) >= maxPending
}

// call makes a call that takes so many parts of its answer at a time.
func (s *session) call(uri string, timeout time.Duration, window int) uint32 {
	if s.isBusy() {
		return 0
	}
	return s.send(&frame.Frame{Type: frame.Call, URI: []byte(uri), Timeout: timeout, Parts: window},
		&request{uri: uri, timeout: timeout, window: window})
}

// cancel cancels a call without outcome, if there is one.
func (s *session) cancel(any uint32) {
	s.mu.Lock()
	found, stop := uint32(0), false
	for serial, r := range s.requests {
		if r.kind == frame.Call && (found == 0 || serial%7 == any%7) {
			found = serial
		}
	}
	if found != 0 {
		r := s.requests[found]
		r.cancelled = true
		if stop = r.number != 0 && any%2 == 0; stop {
			s.books.stop(r.number)
		}
	}
	s.mu.Unlock()
	if found != 0 {
		s.write(&frame.Frame{Type: frame.Cancel, For: strconv.AppendUint(nil, uint64(found), 10), Stop: stop})
	}
}

func (s *session) publish(channel string) uint32 {
	return s.send(&frame.Frame{Type: frame.Pub, Channel: []byte(channel)}, &request{stream: stream{s.id, channel}})
}

// subscribe sends SUB or UNSB.
func (s *session) subscribe(t broker.Topic, kind frame.Type) {
	s.mu.Lock()
	if s.topics[t] == nil {
		s.topics[t] = &subscription{}
	}
	s.topics[t].live = false
	s.mu.Unlock()
	s.send(&frame.Frame{Type: kind, Channel: []byte(t.Name), Pattern: t.Pattern}, &request{topic: t})
}

// until waits until ok returns true, and calls it a broken promise if it never
// does.
func (s *session) until(what string, ok func() bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			s.books.violated("session %d: waited %v in vain until %s", s.id, patience, what)
			return
		}
	}
}

// drain waits until all requests have their outcome.
func (s *session) drain() {
	s.until("every request has its outcome", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.requests) == 0
	})
}

// outcome waits for that of a request: "ACK" and "RES" if it went well.
func (s *session) outcome(serial uint32) string {
	outcome := ""
	s.until("a request has its outcome", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		outcome = s.outcomes[serial]
		return s.requests[serial] == nil
	})
	return outcome
}

// topicsNow returns the topics that the session is subscribed to.
func (s *session) topicsNow() []broker.Topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	var topics []broker.Topic
	for t, sub := range s.topics {
		if sub.live {
			topics = append(topics, t)
		}
	}
	return topics
}

func (s *session) eventsOf(t broker.Topic) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics[t].events
}

// receive handles what the server sends until the connection ends.
func (s *session) receive() {
	defer close(s.read)
	for {
		_, message, err := s.conn.Read(context.Background())
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.ending {
				s.books.violated("session %d was ended: %v", s.id, err)
			}
			return
		}
		var f frame.Frame
		if err := frame.Juggler1.DecodeAnswer(message, &f); err != nil {
			s.books.violated("session %d: %q: %v", s.id, message, err)
			continue
		}
		switch f.Type {
		case frame.Hello:
		case frame.Ping:
			s.write(&frame.Frame{Type: frame.Pong})
		case frame.Evnt:
			s.event(&f)
		case frame.Gap:
			s.gap(broker.Topic{Name: string(f.Channel), Pattern: f.Pattern})
		case frame.Part:
			s.part(&f)
		case frame.Ack, frame.Nack, frame.Res:
			s.answer(&f)
		default:
			s.books.violated("session %d got %q", s.id, message)
		}
	}
}

// part checks that it comes between ACK and RES of its call, behind the part before it,
// and asks for another one.
func (s *session) part(f *frame.Frame) {
	s.mu.Lock()
	n, err := strconv.ParseUint(string(f.For), 10, 32)
	serial := uint32(n)
	r := s.requests[serial]
	if err != nil || r == nil || !r.acked || r.window == 0 {
		s.books.violated("session %d: a part for %s, which takes none", s.id, f.For)
		s.mu.Unlock()
		return
	}
	s.books.count("parts")
	r.parts++
	if want := encode(partArgs{r.parts, encode(callKey{s.id, serial})}); f.N != r.parts || string(f.Args) != string(want) {
		s.books.violated("session %d: part %d of call %d is %s, want %d, %s", s.id, f.N, serial, f.Args, r.parts, want)
	}
	s.mu.Unlock()
	s.write(&frame.Frame{Type: frame.More, For: f.For, Parts: 1})
}

// answer handles ACK, NACK and RES.
func (s *session) answer(f *frame.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := strconv.ParseUint(string(f.For), 10, 32)
	serial := uint32(n)
	r := s.requests[serial]
	switch {
	case err != nil || r == nil:
		s.books.violated("session %d: %v for %s, which has its outcome", s.id, f.Type, f.For)
		return
	case r.acked != (f.Type == frame.Res):
		s.books.violated("session %d: %v for %s, acknowledged: %v", s.id, f.Type, f.For, r.acked)
	}
	what := r.kind.String() + " " + f.Type.String()
	if f.Err.Code != 0 {
		what += " " + strconv.Itoa(f.Err.Code)
	}
	s.books.count(what)
	if f.Type != frame.Res {
		s.books.answered(what, time.Since(r.begun))
	}
	if r.kind == frame.Call && f.Type == frame.Ack {
		if r.acked = true; (r.number != 0) != (f.State != frame.NoState) {
			s.books.violated("session %d: the ACK of call %d, with key: %v, says %v", s.id, serial, r.number != 0, f.State)
		}
		return
	}
	delete(s.requests, serial)
	s.outcomes[serial] = what[len(r.kind.String())+1:]
	switch r.kind {
	case frame.Call:
		s.callOutcome(serial, r, f)
	case frame.Pub:
		s.pubOutcome(serial, r, f)
	default:
		s.subOutcome(r, f)
	}
}

// What players give calls at least whose callee answers at once, so that there is a
// reason if they expire, and what an answer may be late.
const (
	longCall = 4 * time.Second
	lateness = 10 * time.Second
)

// callOutcome checks that of a call. mu is held.
func (s *session) callOutcome(serial uint32, r *request, f *frame.Frame) {
	if r.number != 0 {
		s.keyedOutcome(serial, r, f)
		return
	}
	if took := time.Since(r.begun); took > r.timeout+lateness {
		s.books.violated("session %d: call %d of %s had %v, and ended after %v", s.id, serial, r.uri, r.timeout, took)
	}
	if quick := r.uri == "echo" || r.uri == "child.echo" || r.uri == "fail"; f.Err.Code == 408 && quick && r.timeout >= longCall {
		s.books.expire(expiry{callKey{s.id, serial}, r.begun, time.Now()})
	}
	allowed := false
	switch code := f.Err.Code; {
	case f.Type == frame.Nack:
		s.books.refusedCall(callKey{s.id, serial})
		allowed = code == 404 || code == 408 || code == 503
	case code == 0:
		allowed = r.uri != "fail" && r.uri != "hold" && r.uri != "nobody" && string(f.Args) == string(encode(callKey{s.id, serial})) &&
			(r.window == 0 || r.parts == soakParts)
	case code == 499:
		allowed = r.cancelled
	case code == 422:
		allowed = r.uri == "fail"
	default:
		allowed = code == 404 || code == 408 || code == 502
	}
	if !allowed {
		s.books.violated("session %d: call %d of %s ended in %v %d %s %s", s.id, serial, r.uri, f.Type, f.Err.Code, f.Err.Message, f.Args)
	}
}

// pubOutcome notes that of a publication. mu is held.
func (s *session) pubOutcome(serial uint32, r *request, f *frame.Frame) {
	state := confirmed
	switch {
	case f.Err.Code == 500:
		state = unknown
	case f.Err.Code == 503:
		state = refused
	case f.Type != frame.Ack:
		s.books.violated("session %d: publication %d was answered with %d %s", s.id, serial, f.Err.Code, f.Err.Message)
	}
	s.books.published(r.stream, r.n, state)
}

// subOutcome begins or ends a subscription. mu is held.
func (s *session) subOutcome(r *request, f *frame.Frame) {
	sub := s.topics[r.topic]
	if f.Type == frame.Nack {
		if f.Err.Code != 503 {
			s.books.violated("session %d: %v %+v was answered with %d %s", s.id, r.kind, r.topic, f.Err.Code, f.Err.Message)
		}
		return
	}
	sub.live = r.kind == frame.Sub
	sub.end()
	if sub.live {
		sub.acked, sub.since = true, s.books.now()
		sub.streams = map[stream]*position{}
	}
}

// event checks that it comes once and in order, after its subscription's ACK
// and its own.
func (s *session) event(f *frame.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.books.count("events")
	var e eventArgs
	if err := json.Unmarshal(f.Args, &e); err != nil || e.Channel != string(f.Channel) {
		s.books.violated("session %d: an event on %s with %q", s.id, f.Channel, f.Args)
		return
	}
	at := s.books.arrived(e.stream, e.N)
	if e.Session == s.id && s.requests[e.Serial] != nil {
		s.books.violated("session %d: its publication %d arrived before its ACK", s.id, e.Serial)
	}
	topic := broker.Topic{Name: e.Channel}
	if len(f.Matched) > 0 {
		topic = broker.Topic{Name: string(f.Matched), Pattern: true}
	}
	sub := s.topics[topic]
	if sub == nil || !sub.acked {
		s.books.violated("session %d: an event for %+v before its ACK", s.id, topic)
		return
	}
	sub.events++
	p := sub.streams[e.stream]
	switch {
	case p == nil:
		p = &position{got: map[int]bool{}}
		sub.streams[e.stream] = p
	case p.got[e.N]:
		s.books.violated("session %d: for %+v %+v came %d once more", s.id, topic, e.stream, e.N)
	case e.N < p.last:
		s.books.overtaken(e.stream, e.N, p.last, fmt.Sprintf("session %d with %+v", s.id, topic))
	case e.N > p.last+1 && !p.gap && sub.live:
		s.books.skip(skip{e.stream, p, p.last, e.N, fmt.Sprintf("session %d with %+v", s.id, topic)})
	}
	p.got[e.N] = true
	// What was published before the ACK may come late, from a subscription
	// that was ended meanwhile, and more may be missing behind it.
	p.last, p.gap = max(p.last, e.N), at <= sub.since
}

// gap notes that events of a topic may have been missed.
func (s *session) gap(t broker.Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.books.count("gaps")
	sub := s.topics[t]
	if sub == nil || !sub.acked {
		s.books.violated("session %d: a gap of %+v before its ACK", s.id, t)
		return
	}
	for _, p := range sub.streams {
		p.gap = true
	}
}
