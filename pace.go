package juggler

import (
	"container/list"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/handshake"
	"github.com/juggler-go/juggler/internal/rate"
	"github.com/juggler-go/juggler/internal/wheel"
)

// pace is how much a session has sent of what its rates, and those of its user and its
// address, allow. A session has one while that is not paid off. It belongs to the turn.
type pace struct {
	own  [numOfSession]rate.Account
	user *party

	timer  wheel.Timer[session] // for paceDue
	paused bool                 // the session is not read
	pauses int32                // since all messages were paid off
}

// restAfter is how long a session keeps a pace without looking whether all is paid off.
const restAfter = 100 * time.Millisecond

// maxPauses is how often a session is not read for a while because it sends too many
// messages, before it is closed.
const maxPauses = 50

// party is a user or an address, whose sessions share rates.
type party struct {
	key     partyKey
	holders int // guarded by the mu of the parties

	unsigned list.List // of sessions in the lobby, the oldest first; guarded by its mu

	spent [numCounted]rate.SharedAccount
}

// partyKey is either a user or an address.
type partyKey struct {
	user    string
	address netip.Addr
}

// settled reports whether nothing is left to remember of p.
func (p *party) settled(now int64) bool {
	for i := range p.spent {
		if !p.spent[i].Settled(now) {
			return false
		}
	}
	return true
}

// parties are those that somebody holds, and those that are ahead of their rates: who
// comes back begins where it went.
type parties struct {
	mu    sync.Mutex
	m     map[partyKey]*party
	sweep int // the size at which m is looked through for those that may go
}

// leastSweep is how many parties are kept without looking for those that may go.
const leastSweep = 1024

// hold returns the party of a key, to be released, and how many hold it.
func (t *parties) hold(key partyKey, now int64) (p *party, holders int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p = t.m[key]
	if p == nil {
		t.clean(now)
		p = &party{key: key}
		t.m[key] = p
	}
	p.holders++
	return p, p.holders
}

// clean forgets those that may go, each time that the number has doubled.
func (t *parties) clean(now int64) {
	if len(t.m) < max(t.sweep, leastSweep) {
		return
	}
	for key, p := range t.m {
		if p.holders == 0 && p.settled(now) {
			delete(t.m, key)
		}
	}
	t.sweep = 2 * len(t.m)
}

// release gives back what hold returned, nil for none.
func (t *parties) release(p *party, now int64) {
	if p == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.holders--; p.holders == 0 && p.settled(now) {
		delete(t.m, p.key)
	}
}

// paceNow is the time for accounts, in ns. The turn has it without asking the clock.
func (h *Handler) paceNow() int64 { return int64(h.clock()) + 1 }

func (sh *shard) paceNow() int64 { return sh.group.Now() * int64(time.Millisecond) }

// holdAddress returns the party of the client that sends r, to be released, and how many
// sessions of it there are with this one; nil if its address is not known or has no bounds.
func (h *Handler) holdAddress(r *http.Request) (p *party, sessions int) {
	if !h.cfg.addressBounds.some && h.cfg.maxAddressSessions == 0 {
		return nil, 0
	}
	addr := h.cfg.proxies.Client(r)
	if !addr.IsValid() {
		return nil, 0
	}
	return h.parties.hold(partyKey{address: handshake.Network(addr)}, h.paceNow())
}

// releaseParty gives a party back, nil for none.
func (h *Handler) releaseParty(p *party) { h.parties.release(p, h.paceNow()) }

// address returns the party that the session came from, nil if it is not known.
func (s *session) address() *party {
	if s.extra == nil {
		return nil
	}
	return s.extra.address
}

// holdUser notes who the session's user is, for its rates.
func (s *session) holdUser(p *pace) {
	h := s.shard.h
	h.releaseParty(p.user)
	p.user = nil
	if user := (Session{s}).User(); user != "" && h.cfg.userBounds.some {
		p.user, _ = h.parties.hold(partyKey{user: user}, s.shard.paceNow())
	}
}

// paced returns the session's pace.
func (s *session) paced() *pace {
	x := s.makeExtra()
	if x.pace == nil {
		x.pace = &pace{}
		x.pace.timer.Owner = s
		s.shard.paces.Set(&x.pace.timer, s.shard.group.After(restAfter))
		s.holdUser(x.pace)
	}
	return x.pace
}

// paceDue is called when the timer of the session's pace fires: the session is read again,
// and without a pace if all is paid off.
func (s *session) paceDue() {
	p, sh := s.extra.pace, s.shard
	if p.paused {
		p.paused = false
		s.readAgain()
	}
	for _, account := range p.own {
		if !account.Settled(sh.paceNow()) {
			sh.paces.Set(&p.timer, sh.group.After(restAfter))
			return
		}
	}
	s.forgetPace()
	s.dropExtra()
}

// forgetExtra gives back what a session that is gone holds.
func (s *session) forgetExtra() {
	if s.extra == nil {
		return
	}
	if s.extra.pace != nil {
		s.forgetPace()
	}
	s.leaveLobby()
	s.shard.h.releaseParty(s.extra.address)
	s.extra = nil
}

func (s *session) forgetPace() {
	s.shard.paces.Remove(&s.extra.pace.timer)
	s.shard.h.releaseParty(s.extra.pace.user)
	s.extra.pace = nil
}

// count counts n units of c, and returns what refuses them or nil. It ends a session
// that goes on in spite of refusals.
func (s *session) count(c counted, n int) error {
	cfg := s.shard.h.cfg
	if !cfg.paced {
		return nil
	}
	p, now := s.paced(), s.shard.paceNow()
	if own := cfg.sessionBounds.of[c]; own.Bounded() {
		if p.own[c].Settled(now) && c == countedMessages {
			p.pauses = 0
		}
		if over := p.own[c].Spend(own, now, n); over > 0 {
			return s.tooOften(p, c, own, over)
		}
	}
	if e := p.user.count(&cfg.userBounds, c, now, n); e != nil {
		return e
	}
	if e := s.extra.address.count(&cfg.addressBounds, c, now, n); e != nil {
		return e
	}
	return nil
}

// tooOften refuses what is over the session's own rate. If that is the one of messages the
// session is not read until half a burst is paid off: what it sends meanwhile costs
// nothing. One that goes on is closed.
func (s *session) tooOften(p *pace, c counted, own rate.Rate, over time.Duration) error {
	goesOn := own.TwiceAhead(over)
	if c == countedMessages {
		over += own.Half()
		s.pauseFor(p, over)
		p.pauses++
		goesOn = p.pauses > maxPauses
	}
	if goesOn {
		s.end(CloseOverloaded, s.shard.h.cfg.sessionRates.list()[c].exceeded())
	}
	return tooOften(countedNames[c], s.shard.h.cfg.sessionBounds.who, over)
}

// pauseFor stops reading for d.
func (s *session) pauseFor(p *pace, d time.Duration) {
	p.paused = true
	s.shard.paces.Set(&p.timer, s.shard.group.After(d))
	s.Pause()
}

// readAgain resumes reading if nothing is against it.
func (s *session) readAgain() {
	slowed := s.extra != nil && s.extra.pace != nil && s.extra.pace.paused
	if s.state < closing && !slowed && (s.queue == nil || !s.queue.full) {
		s.Resume()
	}
}

// count counts n units of c. A nil p has no bounds.
func (p *party) count(b *bounds, c counted, now int64, n int) *Error {
	if p == nil || !b.of[c].Bounded() {
		return nil
	}
	if wait := p.spent[c].Spend(b.of[c], now, n); wait > 0 {
		return tooOften(countedNames[c], b.who, wait)
	}
	return nil
}

// countMessage counts a message of n bytes, before anything of it is looked at.
func (s *session) countMessage(n int) error { return s.count(countedMessages, 1+n/rate.MessageUnit) }

// countRequest counts a request as what it is.
func (s *session) countRequest(t frame.Type) error {
	if c, ok := countedAs(t); ok {
		return s.count(c, 1)
	}
	return nil
}
