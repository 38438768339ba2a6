package juggler

import (
	"iter"
	"slices"
	"sync"

	"github.com/juggler-go/juggler/broker"
)

// NumSessions returns how many sessions the node has, those included whose
// handshake or close is under way.
func (h *Handler) NumSessions() int { return int(h.sessions.Load()) }

// Session returns the session of this node with the given id.
func (h *Handler) Session(id string) (Session, bool) {
	parsed, ok := parseID(id)
	if !ok {
		return Session{}, false
	}
	number, slot := sessionPlace(parsed)
	if int(number) >= maxShards {
		return Session{}, false
	}
	sh := h.shards[number].Load()
	if sh == nil {
		return Session{}, false
	}
	s := sh.lookUp(slot, parsed)
	return Session{s}, s != nil
}

// Sessions returns the sessions of this node. It may be used while sessions begin and
// end: those that do meanwhile may be left out, or have ended when the loop gets them.
func (h *Handler) Sessions() iter.Seq[Session] {
	return func(yield func(Session) bool) {
		for i := range h.shards {
			if sh := h.shards[i].Load(); sh != nil && !sh.eachSession(yield) {
				return
			}
		}
	}
}

// eachSession calls yield for sessions of the shard until it returns false.
func (sh *shard) eachSession(yield func(Session) bool) bool {
	for at := 0; ; {
		var some [256]*session // the lock is not held for long, and not while user code runs
		sh.slotsMu.RLock()
		n := copy(some[:], sh.slots[min(at, len(sh.slots)):])
		sh.slotsMu.RUnlock()
		if n == 0 {
			return true
		}
		at += n
		for _, s := range some[:n] {
			if s != nil && !yield(Session{s}) {
				return false
			}
		}
	}
}

// Topics returns what the session is subscribed to, by its client or the server, as it is
// now, in no order. An
// UNSB that is on its way still counts, a SUB does not yet.
func (s Session) Topics() iter.Seq[broker.Topic] {
	mu := &s.s.shard.subsMu
	mu.Lock()
	defer mu.Unlock()
	topics := make([]broker.Topic, len(s.s.subs))
	for i, sub := range s.s.subs {
		topics[i] = sub.topic.node.name
	}
	return slices.Values(topics)
}

// SessionsOf returns the sessions of a user on this node, as they are now.
func (h *Handler) SessionsOf(user string) iter.Seq[Session] {
	return slices.Values(h.users.of(user))
}

// Disconnect closes the session with the given id, as [Session.Disconnect]
// does, and reports whether it is there.
func (h *Handler) Disconnect(id string, code uint16, reason string) bool {
	s, ok := h.Session(id)
	if ok {
		s.Disconnect(code, reason)
	}
	return ok
}

// DisconnectUser closes the sessions of a user on this node, as
// [Session.Disconnect] does, and returns how many there are.
func (h *Handler) DisconnectUser(user string, code uint16, reason string) int {
	sessions := h.users.of(user)
	for _, s := range sessions {
		s.Disconnect(code, reason)
	}
	return len(sessions)
}

// userIndex finds sessions by user: a list through the sessions themselves
// for each user.
type userIndex struct {
	mu sync.Mutex // guards m, and of the sessions userPrev, userNext, left
	m  map[string]*session
}

// identify changes who s is and files it under its user. Any goroutine may
// call it. A session that has left stays who it was: nobody would remove it. It returns
// who s was.
func (u *userIndex) identify(s *session, id *identity) (was *identity) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s.left {
		return id
	}
	was = s.identity.Swap(id)
	if old, user := userOf(was), userOf(id); user != old {
		u.remove(s, old)
		u.add(s, user)
	}
	return was
}

// leave removes s for good.
func (u *userIndex) leave(s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.left = true
	u.remove(s, userOf(s.identity.Load()))
}

func (u *userIndex) add(s *session, user string) {
	if user == "" {
		return
	}
	s.userNext = u.m[user]
	if s.userNext != nil {
		s.userNext.userPrev = s
	}
	u.m[user] = s
}

func (u *userIndex) remove(s *session, user string) {
	switch {
	case user == "":
		return
	case s.userPrev != nil:
		s.userPrev.userNext = s.userNext
	case s.userNext != nil:
		u.m[user] = s.userNext
	default:
		delete(u.m, user)
	}
	if s.userNext != nil {
		s.userNext.userPrev = s.userPrev
	}
	s.userPrev, s.userNext = nil, nil
}

func (u *userIndex) of(user string) []Session {
	u.mu.Lock()
	defer u.mu.Unlock()
	var sessions []Session
	for s := u.m[user]; s != nil && user != ""; s = s.userNext {
		sessions = append(sessions, Session{s})
	}
	return sessions
}

// number returns how many users have a session.
func (u *userIndex) number() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.m)
}

func userOf(id *identity) string {
	if id == nil {
		return ""
	}
	return id.user
}
