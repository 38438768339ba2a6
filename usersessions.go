package juggler

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// WithMaxUserSessions sets how many sessions a user ([Identity].User) may have on this node
// at a time; more are refused as those beyond [WithMaxAddressSessions] are, an AUTH with NACK
// 429. A session whose client is gone without a word counts until it is closed, which takes
// up to twice the time of [WithPing], so leave room for clients that come back. Default, and
// 0: no limit; 0 to 1,000,000.
func WithMaxUserSessions(n int) Option {
	return optionFunc(func(c *config) { c.maxUserSessions = n })
}

// WithMaxUserSessionsEverywhere is [WithMaxUserSessions] for the sessions of a user on all
// nodes together, which have to have the same limit. It needs a broker that is a
// [broker.Presence], and asks it at each sign-in of a user; where it cannot be asked the
// session is refused with 503. Sessions that begin at the same instant may be more than the
// limit. Those of a node that died count until its lease is over. Default, and 0: no limit;
// 0 to 1,000,000.
func WithMaxUserSessionsEverywhere(n int) Option {
	return optionFunc(func(c *config) { c.maxUserSessionsEverywhere = n })
}

// WithMaxAddressSessions sets how many sessions the clients of one address (of IPv6, a /64)
// may have on this node at a time, handshakes under way included. More are refused with
// status 429, or close code 1013, with a time after which to try again. It concerns clients
// whose address is known; see [WithTrustedProxies]. Many may share one address, so do not
// make it small. Default, and 0: no limit; 0 to 16,777,216.
func WithMaxAddressSessions(n int) Option {
	return optionFunc(func(c *config) { c.maxAddressSessions = n })
}

// userSessions counts the sessions of users, for those limits. Without a limit it does
// nothing.
type userSessions struct {
	most           int // on this node; 0: no limit
	mostEverywhere int
	timeout        time.Duration // of the broker

	presence   broker.Presence
	everywhere broker.PresenceConn // nil: not opened yet, or not needed

	mu sync.Mutex // guards n, and the order of what everywhere is told
	n  map[string]int
}

func (u *userSessions) init(cfg *config) {
	u.most, u.mostEverywhere, u.timeout = cfg.maxUserSessions, cfg.maxUserSessionsEverywhere, cfg.brokerTimeout
	u.n = make(map[string]int)
	if u.mostEverywhere > 0 {
		u.presence = cfg.pubsub.(broker.Presence) // checkRoles has seen that it is one
	}
}

// limited reports whether sessions of users are counted.
func (u *userSessions) limited() bool { return u.most > 0 || u.mostEverywhere > 0 }

// open opens what tells of the sessions on all nodes, before there is one.
func (u *userSessions) open(ctx context.Context) (err error) {
	if u.presence != nil {
		u.everywhere, err = u.presence.OpenPresence(ctx, broker.NewID(), func([]broker.HereChange) {})
	}
	return err
}

// close ends what open began.
func (u *userSessions) close() error {
	if u.everywhere == nil {
		return nil
	}
	return u.everywhere.Close()
}

// enter counts a session of a user, or says why there may not be another one. Without an
// error leave has to follow.
func (u *userSessions) enter(ctx context.Context, user string) *refusal {
	if user == "" || !u.limited() {
		return nil
	}
	here, ok := u.add(user)
	if !ok {
		return tooManySessions(u.most, "of this user", RefusedUserSessions)
	}
	if u.mostEverywhere == 0 {
		return nil
	}
	others, err := u.elsewhere(ctx, user)
	switch {
	case err != nil:
		u.leave(user)
		return refused(RefusedBroker, &Error{Code: CodeUnavailable, Message: "the broker is unavailable", RetryAfter: retryAfter(err)})
	case max(others, here-1) >= u.mostEverywhere:
		u.leave(user)
		return tooManySessions(u.mostEverywhere, "of this user on all nodes", RefusedUserSessions)
	}
	u.tell(user)
	return nil
}

// add counts a session of a user on this node, unless there are enough.
func (u *userSessions) add(user string) (n int, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.most > 0 && u.n[user] >= u.most {
		return 0, false
	}
	u.n[user]++
	return u.n[user], true
}

// elsewhere returns how many sessions all nodes have told of.
func (u *userSessions) elsewhere(ctx context.Context, user string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	here, err := u.everywhere.ReadHere(ctx, userChannel(user), 1)
	if err != nil || len(here.Members) == 0 {
		return 0, err
	}
	return here.Members[0].Sessions, nil
}

// userChannel is the channel in which a user is with all sessions that count.
func userChannel(user string) string { return broker.OwnChannel("juggler/sessions:" + user) }

// tell has all nodes know how many sessions of a user are here.
func (u *userSessions) tell(user string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.put(user)
}

// put is tell with mu held.
func (u *userSessions) put(user string) {
	u.everywhere.Put(userChannel(user), []broker.Member{{User: user, Sessions: u.n[user]}})
}

// leave takes back what enter has counted.
func (u *userSessions) leave(user string) {
	if user == "" || !u.limited() {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n[user]--; u.n[user] == 0 {
		delete(u.n, user)
	}
	if u.everywhere != nil {
		u.put(user)
	}
}

// enterAs counts a session for the user that an AUTH has made it, or says why not. identify
// has to follow.
func (h *Handler) enterAs(ctx context.Context, s *session, id *identity) error {
	if userOf(id) == (Session{s}).User() {
		return nil
	}
	if no := h.userSessions.enter(ctx, userOf(id)); no != nil {
		return no.Error
	}
	return nil
}

// identify changes who s is, as an AUTH says, and returns who it was.
func (h *Handler) identify(s *session, id *identity) (was *identity) {
	old := (Session{s}).User()
	was = h.users.identify(s, id)
	switch {
	case userOf(id) == old:
	case was == id: // the session is gone: it stayed who it was
		h.userSessions.leave(userOf(id))
	default:
		h.userSessions.leave(old)
	}
	return was
}

func tooManySessions(most int, whose, reason string) *refusal {
	return refused(reason, &Error{Code: CodeLimit, Message: "more than " + strconv.Itoa(most) + " sessions " + whose, RetryAfter: retryAfter(nil)})
}

// checkRoles refuses options for which the broker lacks an optional role.
func (c *config) checkRoles() {
	need := func(option, role string, has bool) {
		if !has {
			c.problems.Add(fmt.Sprintf("%s: the broker, %T, cannot do it: it is no broker.%s", option, c.pubsub, role))
		}
	}
	if c.pubsub == nil {
		return // the default broker has all roles
	}
	if c.cluster {
		_, ok := c.pubsub.(broker.Registry)
		need("WithCluster", "Registry", ok)
	}
	if c.maxUserSessionsEverywhere > 0 {
		_, ok := c.pubsub.(broker.Presence)
		need("WithMaxUserSessionsEverywhere", "Presence", ok)
	}
}
