package cluster

import (
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// A revocation refuses what was issued to a user up to a time, in µs since 1970 by the
// issuer's clock, until it is over by ours.
type revocation struct {
	before int64
	until  time.Time
}

// revocations are those that a node knows.
type revocations struct {
	mu   sync.RWMutex // guards what follows
	of   map[string][]revocation
	asOf time.Time // the begin of the last reading that succeeded; zero: there was none
}

// refuses reports whether what was issued to a user is revoked.
func (r *revocations) refuses(user string, issued int64) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, v := range r.of[user] {
		if issued <= v.before && time.Now().Before(v.until) {
			return true
		}
	}
	return false
}

// age returns how old the knowledge is; ok is false if there is none.
func (r *revocations) age() (age time.Duration, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return time.Since(r.asOf), !r.asOf.IsZero()
}

// slack is how far two readings of one entry may lie apart in when it is over.
const slack = 2 * time.Second

// covers reports whether v refuses all that other does, for as long.
func (v revocation) covers(other revocation) bool {
	return v.before >= other.before && !v.until.Add(slack).Before(other.until)
}

// A lostEntry is a revocation that the table has lost.
type lostEntry struct {
	user   string
	before int64
	left   time.Duration
}

// merge takes over a reading of the table that began at start. It returns the users for whom
// it has refused less so far, and up to when each; and what the table has lost, to be written
// again: what a node knows it knows until it is over.
func (r *revocations) merge(entries []broker.Entry, start time.Time) (news map[string]int64, lost []lostEntry) {
	now := time.Now()
	table := make(map[string][]revocation)
	for i := range entries {
		e := &entries[i]
		if user, before, ok := parseRevoked(e.Name); ok {
			table[user] = add(table[user], revocation{before, now.Add(e.Left)})
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	news = make(map[string]int64)
	for user, list := range table {
		if last := latest(list); last > latest(r.of[user]) {
			news[user] = last
		}
	}
	for user, list := range r.of {
		for _, v := range list {
			left := v.until.Sub(now)
			if left <= 0 || covered(table[user], v) {
				continue
			}
			table[user] = add(table[user], v)
			if left >= time.Second {
				lost = append(lost, lostEntry{user, v.before, left})
			}
		}
	}
	r.of, r.asOf = table, start
	return news, lost
}

// learn adds a revocation, and reports whether less of the user was refused so far.
func (r *revocations) learn(user string, before int64, life time.Duration) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.of[user]
	news = len(list) == 0 || before > latest(list)
	if r.of == nil {
		r.of = make(map[string][]revocation)
	}
	r.of[user] = add(list, revocation{before, time.Now().Add(life)})
	return news
}

// lesser returns the names of those of a user that say less than one.
func (r *revocations) lesser(user string, before int64, life time.Duration) (names []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, v := range r.of[user] {
		if v.before < before && time.Until(v.until) < life {
			names = append(names, revokedName(user, v.before))
		}
	}
	return names
}

// covered reports whether one of list covers v.
func covered(list []revocation, v revocation) bool {
	for _, other := range list {
		if other.covers(v) {
			return true
		}
	}
	return false
}

// add adds v to list, without those that it covers, unless one of it covers v.
func add(list []revocation, v revocation) []revocation {
	if covered(list, v) {
		return list
	}
	kept := list[:0]
	for _, other := range list {
		if !v.covers(other) {
			kept = append(kept, other)
		}
	}
	return append(kept, v)
}

// latest returns the greatest time up to which anything is revoked.
func latest(list []revocation) (before int64) {
	for i, v := range list {
		if i == 0 || v.before > before {
			before = v.before
		}
	}
	return before
}
