package juggler

import (
	"container/list"
	"sync"
)

// lobby holds the sessions that have not signed in yet, until they do or are gone. When
// there are too many the oldest has to go, so that a client that signs in at once finds
// room, whoever else does not.
type lobby struct {
	mu     sync.Mutex // guards all, and the unsigned of each party
	all    list.List  // of *session, the oldest first
	most   int        // in all
	mostOf int        // of one address
}

// lobbyPlace is where the lobby holds a session.
type lobbyPlace struct{ inAll, inParty *list.Element }

// enter adds s, which came from address (nil: not known), and returns a session that has
// to go, or nil.
func (l *lobby) enter(s *session, address *party) (place *lobbyPlace, oldest *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	place = &lobbyPlace{inAll: l.all.PushBack(s)}
	if address != nil {
		place.inParty = address.unsigned.PushBack(s)
	}
	switch {
	case address != nil && address.unsigned.Len() > l.mostOf:
		return place, address.unsigned.Front().Value.(*session)
	case l.all.Len() > l.most:
		return place, l.all.Front().Value.(*session)
	}
	return place, nil
}

// oldest returns the session that has been in the lobby for the longest time, or nil.
func (l *lobby) oldest() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.all.Front(); e != nil {
		return e.Value.(*session)
	}
	return nil
}

// leave removes a session, if it is there.
func (l *lobby) leave(place *lobbyPlace, address *party) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Remove(place.inAll)
	if place.inParty != nil {
		address.unsigned.Remove(place.inParty)
	}
}

// enterLobby is called when a session begins that has to sign in.
func (s *session) enterLobby() {
	x, l := s.makeExtra(), &s.shard.h.lobby
	var oldest *session
	x.lobby, oldest = l.enter(s, x.address)
	if oldest != nil {
		oldest.shard.command(oldest.turnAway)
	}
}

// leaveLobby is called when the session has signed in, or is gone.
func (s *session) leaveLobby() {
	if x := s.extra; x != nil && x.lobby != nil {
		s.shard.h.lobby.leave(x.lobby, x.address)
		x.lobby = nil
	}
}

// turnAway ends a session that takes too long to sign in while others come.
func (s *session) turnAway() {
	if s.extra == nil || s.extra.lobby == nil {
		return // it has signed in meanwhile, or is gone
	}
	s.leaveLobby()
	if s.state < closing {
		s.state = closing
		s.queue.stop()
	}
	s.CloseNow(s.protocol.CloseCode(CloseOverloaded), "others are waiting to sign in")
}
