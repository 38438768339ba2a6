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
	identity atomic.Pointer[identity] // nil: anonymous, or not signed in

	subs  []subscription
	calls *pendingCall // a list, the newest first
	queue *workQueue   // nil until user code or a broker that waits is involved

	extra *sessionExtra // nil: it has nothing of it

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

	refusedAuths uint8 // AUTHs in a row that were refused for good
	left         bool  // belongs to no user any more; guarded by the userIndex

	ip4 [4]byte // never changes; zero: see keepAddr
}

type sessionState uint8

const (
	unsigned sessionState = iota // may send only AUTH
	live
	closing // close frame is on its way, nothing is handled any more
	gone    // the connection is closed
)

// sessionExtra is what a session has at times only, or with some options.
type sessionExtra struct {
	deadlines *sessionDeadlines // nil without credentials that expire or are due
	pace      *pace             // nil without rates, and while the session is quiet
	address   *party            // never changes; nil if addresses have no rates, or this is not known
	lobby     *lobbyPlace       // nil once it has signed in
}

// makeExtra returns the session's extra.
func (s *session) makeExtra() *sessionExtra {
	if s.extra == nil {
		s.extra = &sessionExtra{}
	}
	return s.extra
}

// dropExtra drops an extra without anything in it.
func (s *session) dropExtra() {
	if *s.extra == (sessionExtra{}) {
		s.extra = nil
	}
}

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
		return id.user
	}
	return ""
}

// Authenticated reports whether an authenticator gave the session an identity.
func (s Session) Authenticated() bool { return s.s.identity.Load() != nil }

// Attribute returns an attribute of the session's identity, the first of that name.
func (s Session) Attribute(name string) (value string, ok bool) {
	return s.s.identity.Load().attribute(name)
}

// HasAttribute reports whether the session's identity has an attribute of that name and
// value, of which a name may have several.
func (s Session) HasAttribute(name, value string) bool {
	return s.s.identity.Load().has(name, value)
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
func (h *Handler) openSession(g *wsconn.Group, n *newcomer) {
	sh := g.Handler().(*shard)
	s := &session{shard: sh, protocol: n.request.Protocol, allowed: n.request.Allowed, state: live}
	if n.address != nil {
		s.makeExtra().address = n.address
	}
	sh.place(s, n.addr)
	sh.keep(s, n.headers, n.values)
	g.Attach(&s.Conn, n.upgrade)
	if n.request.Batches {
		s.JoinRaw()
	}
	if n.request.Window > 0 {
		s.Deflate(n.request.Window)
		h.stats.deflating.Add(1)
	}
	s.begin(n.identity, n.channels)
}

// begin sends HELLO and starts the timers of the session.
func (s *session) begin(id *identity, channels []broker.Topic) {
	h := s.shard.h
	h.stats.connected.Add(1)
	if id != nil {
		h.users.identify(s, id)
		h.endIfRevoked(s)
	} else if h.cfg.signIn != nil {
		s.state = unsigned
		s.due(h.cfg.signInTimeout)
		s.enterLobby()
	}
	if s.protocol == frame.Juggler1 {
		f := frame.Frame{Type: frame.Hello, Hello: frame.HelloBody{
			Session:          s.id,
			Node:             h.node,
			Ping:             h.cfg.ping,
			Expires:          s.watchExpiry(),
			Keys:             s.mayUseKeys(),
			Keyed:            s.mayKeyCalls(),
			Here:             h.here != nil,
			MaxMessage:       h.cfg.maxMessage,
			MaxSubscriptions: h.cfg.maxSubscriptions,
			MaxCalls:         h.cfg.maxCalls,
			MaxCallsPerURI:   h.cfg.maxCallsPerURI,
			MaxCallTimeout:   h.cfg.maxCallTimeout,
			Rates:            h.cfg.sessionRates.hello(),
		}}
		s.send(&f)
	} else {
		s.watchExpiry()
	}
	joined := s.beginChannels(channels)
	if f := h.cfg.hooks.OnConnect; f != nil {
		s.enqueueHook(func(ctx context.Context) { f(ctx, Session{s}) })
	}
	for _, r := range joined {
		s.notify(r)
	}
	if h.closing.Load() { // admitted before Shutdown, opened after it looked
		s.end(CloseGoingAway, "going away")
	}
}

// signedIn is called when an AUTH has succeeded. It returns what renewed does.
func (s *session) signedIn() time.Duration {
	s.state, s.refusedAuths = live, 0
	s.leaveLobby()
	s.hereAsWho()
	if s.extra != nil && s.extra.pace != nil {
		s.holdUser(s.extra.pace)
	}
	return s.renewed()
}

// renewed sets the deadline to the end of the credentials that the client has just sent,
// and returns how far away that is. A draining session keeps its own deadline.
func (s *session) renewed() time.Duration {
	if s.draining {
		return 0
	}
	s.noDeadline()
	return s.watchExpiry()
}

// watchExpiry times the end of the session's credentials and returns how far
// away it is, 0 if it never comes.
func (s *session) watchExpiry() time.Duration {
	id := s.identity.Load()
	if id == nil || id.expires == 0 {
		return 0
	}
	left := max(time.Until(time.UnixMicro(id.expires)), time.Millisecond)
	s.due(left)
	return left
}

// due sets the session's one deadline: for signing in, renewing, or leaving.
func (s *session) due(d time.Duration) {
	x := s.makeExtra()
	if x.deadlines == nil {
		x.deadlines = &sessionDeadlines{}
		x.deadlines.timer.Owner = s
	}
	s.shard.deadlines.Set(&x.deadlines.timer, s.shard.group.After(d))
}

// noDeadline takes back what due set.
func (s *session) noDeadline() {
	if s.extra != nil && s.extra.deadlines != nil {
		s.shard.deadlines.Remove(&s.extra.deadlines.timer)
	}
}

// overdue is called when the deadline set by due has come.
func (s *session) overdue() {
	switch {
	case s.state >= closing:
	case s.draining:
		s.leave()
	case s.shard.group.StoodStill(s.extra.deadlines.timer.At()):
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
	if s.Deflating() {
		h.stats.deflating.Add(-1)
	}
	addr := (Session{s}).RemoteAddr()
	sh.vacate(s)
	if f := h.follower.Load(); f != nil { // one who comes later finds that it is gone
		f.closed(s, e)
	}
	s.dropCalls()
	s.tellSubscriptionsEnd()
	s.dropSubscriptions()
	s.noDeadline()
	s.forgetExtra()
	h.users.leave(s)
	h.userSessions.leave((Session{s}).User())
	if f := h.cfg.hooks.OnDisconnect; f != nil {
		d := Disconnect{Code: int(e.Code), Reason: e.Reason, ByClient: e.Remote, Err: e.Err, RemoteAddr: addr}
		s.enqueueHook(func(context.Context) {
			defer sh.forgetKept(s)
			f(h.ctx, Session{s}, d)
		})
	} else {
		sh.forgetKept(s)
	}
	s.queue.stop() // last, since a hook may have made the queue
	h.stats.closed(e)
	h.logClose(s, addr, e)
	h.release()
}
