package juggler

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/handshake"
	"github.com/juggler-go/juggler/internal/wheel"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// session is one client connection. Its fields belong to the shard's turn
// unless their comment says otherwise. Every byte counts here: an idle
// session with a subscription has to stay within 600 bytes, all included.
type session struct {
	wsconn.Conn // its Tag is the session's slot in the shard

	shard    *shard // never changes
	id       broker.ID
	identity atomic.Pointer[Identity] // nil: anonymous, or not signed in

	subs  []subscription
	calls *pendingCall // a list, the newest first
	queue *workQueue   // nil until user code or a broker that waits is involved

	deadlines *sessionDeadlines // nil without credentials that expire or are due

	// The neighbours among the sessions of the same user; guarded by the
	// userIndex.
	userPrev, userNext *session

	numCalls  int32
	protocol  frame.Protocol     // never changes
	allowed   handshake.Messages // never changes
	state     sessionState
	draining  bool // GOAWAY was sent
	leaving   bool // the grace after GOAWAY is over: its calls may end, no request begins
	authLater bool // the last AUTH was refused for a reason that passes
	left      bool // belongs to no user any more; guarded by the userIndex
}

type sessionState uint8

const (
	unsigned sessionState = iota // may send only AUTH
	live
	closing // close frame is on its way, nothing is handled any more
	gone    // the connection is closed
)

// sessionDeadlines are those of a session whose credentials end or are due,
// or that is asked to leave.
type sessionDeadlines struct {
	timer wheel.Timer[session]
}

// Session is a client's connection, as user code sees it. It is a small
// value: pass it on and keep it as you like, also after the session ended.
// Its methods may be called concurrently. The zero Session is none, and its
// methods panic; only Handler makes others.
type Session struct{ s *session }

// ID returns the session's id, a ULID in text, as HELLO told the client.
func (s Session) ID() string { return idText(s.s.id) }

// User returns the user of the session's identity, or "".
func (s Session) User() string {
	if id := s.s.identity.Load(); id != nil {
		return id.User
	}
	return ""
}

// Authenticated reports whether an authenticator gave the session an identity.
func (s Session) Authenticated() bool { return s.s.identity.Load() != nil }

// Attribute returns an attribute of the session's identity.
func (s Session) Attribute(name string) (value string, ok bool) {
	return s.s.identity.Load().attribute(name)
}

// Protocol returns the protocol that the client speaks.
func (s Session) Protocol() frame.Protocol { return s.s.protocol }

// Disconnect closes the session with a close code (RFC 6455, section 7.4) and
// a reason of at most 123 bytes; docs/protocol.md says after which codes
// clients come back. It does not wait. A session that ended is left alone. A
// code that may not be sent makes it panic: want 1000 to 1003, 1007 to 1014,
// or 3000 to 4999.
func (s Session) Disconnect(code uint16, reason string) {
	if !wsconn.ValidCloseCode(code) {
		panic(fmt.Sprintf("juggler: Disconnect: close code %d may not be sent", code))
	}
	sess := s.s
	sess.shard.command(func() { sess.end(code, reason) })
}

// openSession makes a session of an upgraded connection, on the turn of g.
func (h *Handler) openSession(g *wsconn.Group, q *handshake.Request, id *Identity, upgrade []byte) {
	sh := g.Handler().(*shard)
	s := &session{shard: sh, protocol: q.Protocol, allowed: q.Allowed, state: live}
	sh.place(s)
	g.Attach(&s.Conn, upgrade)
	s.begin(id)
}

// begin sends HELLO and starts the timers of the session.
func (s *session) begin(id *Identity) {
	h := s.shard.h
	h.stats.connected.Add(1)
	if id != nil {
		h.users.identify(s, id)
	} else if h.cfg.signIn != nil {
		s.state = unsigned
		s.due(h.cfg.signInTimeout)
	}
	if s.protocol == frame.Juggler1 {
		f := frame.Frame{Type: frame.Hello, Hello: frame.HelloBody{
			Session:          s.id,
			Node:             h.node,
			Ping:             h.cfg.ping,
			Expires:          s.watchExpiry(),
			MaxMessage:       h.cfg.maxMessage,
			MaxSubscriptions: h.cfg.maxSubscriptions,
			MaxCalls:         h.cfg.maxCalls,
			MaxCallTimeout:   h.cfg.maxCallTimeout,
		}}
		s.send(&f)
	} else {
		s.watchExpiry()
	}
	if f := h.cfg.hooks.OnConnect; f != nil {
		s.enqueueHook(func(ctx context.Context) { f(ctx, Session{s}) })
	}
	if h.closing.Load() { // admitted before Shutdown, opened after it looked
		s.end(CloseGoingAway, "going away")
	}
}

// renewed sets the deadline to the end of the credentials that the client has just sent,
// and returns how far away that is. A draining session keeps its own deadline.
func (s *session) renewed() time.Duration {
	if s.draining {
		return 0
	}
	if s.deadlines != nil {
		s.shard.deadlines.Remove(&s.deadlines.timer)
	}
	return s.watchExpiry()
}

// watchExpiry times the end of the session's credentials and returns how far
// away it is, 0 if it never comes.
func (s *session) watchExpiry() time.Duration {
	id := s.identity.Load()
	if id == nil || id.Expires.IsZero() {
		return 0
	}
	left := max(time.Until(id.Expires), time.Millisecond)
	s.due(left)
	return left
}

// due sets the session's one deadline: for signing in, renewing, or leaving.
func (s *session) due(d time.Duration) {
	if s.deadlines == nil {
		s.deadlines = &sessionDeadlines{}
		s.deadlines.timer.Owner = s
	}
	s.shard.deadlines.Set(&s.deadlines.timer, s.shard.group.After(d))
}

// overdue is called when the deadline set by due has come.
func (s *session) overdue() {
	switch {
	case s.state >= closing:
	case s.draining:
		s.leave()
	case s.shard.group.StoodStill(s.deadlines.timer.At()):
		s.due(time.Second) // an AUTH may have come in time, and is read first
	case s.state == unsigned && (s.queue.busy() || s.authLater):
		s.end(CloseOverloaded, "signing in takes too long")
	case s.state == unsigned:
		s.end(CloseUnauthenticated, "no AUTH in time")
	default:
		s.end(CloseExpired, "credentials expired")
	}
}

// end starts the close handshake. Nothing of the session is handled any more.
func (s *session) end(code uint16, reason string) {
	if s.state >= closing {
		return
	}
	s.state = closing
	s.queue.stop()
	s.Close(s.protocol.CloseCode(code), reason)
}

// closed is called once, when the connection is gone.
func (s *session) closed(e *wsconn.CloseError) {
	sh, h := s.shard, s.shard.h
	s.state = gone
	sh.vacate(s)
	s.dropCalls()
	s.tellSubscriptionsEnd()
	s.dropSubscriptions()
	if s.deadlines != nil {
		sh.deadlines.Remove(&s.deadlines.timer)
	}
	h.users.leave(s)
	if f := h.cfg.hooks.OnDisconnect; f != nil {
		d := Disconnect{Code: int(e.Code), Reason: e.Reason, ByClient: e.Remote, Err: e.Err}
		s.enqueueHook(func(context.Context) { f(h.ctx, Session{s}, d) })
	}
	s.queue.stop() // last, since a hook may have made the queue
	h.stats.closed(e)
	h.logClose(s, e)
	h.release()
}
