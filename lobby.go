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
	all    list.List  // of *lobbyPlace, the oldest first
	most   int        // in all
	mostOf int        // of one address
}

// lobbyPlace is where the lobby holds a session.
type lobbyPlace struct {
	s              *session
	address        *party // that the session came from; nil: not known
	inAll, inParty *list.Element
}

// enter adds s, and returns a session that has to go, or nil. It is not in the lobby any
// more: the next one that enters has another go.
func (l *lobby) enter(s *session, address *party) (place *lobbyPlace, oldest *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	place = &lobbyPlace{s: s, address: address}
	place.inAll = l.all.PushBack(place)
	if address != nil {
		place.inParty = address.unsigned.PushBack(place)
	}
	switch {
	case address != nil && address.unsigned.Len() > l.mostOf:
		return place, l.removeFirst(&address.unsigned)
	case l.all.Len() > l.most:
		return place, l.removeFirst(&l.all)
	}
	return place, nil
}

// removeOldest removes the session that has been in the lobby for the longest time, and
// returns it, or nil.
func (l *lobby) removeOldest() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.removeFirst(&l.all)
}

// removeFirst removes the first session of a list from the lobby. mu is held.
func (l *lobby) removeFirst(of *list.List) *session {
	first := of.Front()
	if first == nil {
		return nil
	}
	place := first.Value.(*lobbyPlace)
	l.remove(place)
	return place.s
}

// remove removes a session, if it is there. mu is held.
func (l *lobby) remove(place *lobbyPlace) {
	l.all.Remove(place.inAll)
	if place.inParty != nil {
		place.address.unsigned.Remove(place.inParty)
	}
}

// leave removes a session, if it is there.
func (l *lobby) leave(place *lobbyPlace) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(place)
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
		s.shard.h.lobby.leave(x.lobby)
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
