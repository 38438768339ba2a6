package memory

import (
	"bytes"
	"container/heap"
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"math"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// What is kept of a call with a key costs beside its parts and its outcome, in bytes, and
// what each part costs.
const (
	recordCost = 500
	partCost   = 32
)

// A record is what is kept of a call with a key. All is guarded by rpc.mu.
type record struct {
	key, owner   broker.CallKey
	to           broker.Address // of its call alone: an earlier one of the same key had another
	args         uint64         // a hash
	deadline     time.Duration  // of the call
	keep         time.Duration
	maxPartBytes int

	parts     [][]byte // the newest
	last      uint32   // the number of the newest, 0: there was none
	partBytes int

	attempt uint8

	done, late bool
	lost       bool          // the outcome is that of a callee that is gone
	result     broker.Result // what is in it is not changed
	size       int64         // what it costs

	nodes []*callerConn     // that have attached; the slice is not changed, but replaced
	told  [1]broker.CallKey // news of it

	due   time.Duration // when the sweep must look at it
	place int           // in dueHeap, -1 if it is not there
}

// refused reports whether the call was certainly never taken.
func (rec *record) refused() bool {
	return rec.done && rec.result.Err != nil && rec.result.Err.Refused
}

// first returns the number of the oldest part that is kept.
func (rec *record) first() uint32 { return rec.last - uint32(len(rec.parts)) + 1 }

// records keeps the calls with keys of a Broker. Their calls are those of a caller of its
// own, the keeper, whose results are outcomes. All is guarded by rpc.mu, with which all
// methods are called but those that say so.
type records struct {
	rpc      *rpc
	seed     maphash.Seed
	maxBytes int64
	keeper   *callerConn

	byKey   map[broker.CallKey]*record
	running map[[16]byte]*record // those without an outcome, by the Ref of their call
	owned   map[broker.CallKey]int
	refs    uint64 // the last one that was given out
	bytes   int64  // what all cost together

	due    dueHeap
	timer  *time.Timer
	wakeAt time.Duration // when timer fires
	untold []news        // of outcomes
}

func (s *records) init(r *rpc) {
	s.rpc, s.maxBytes, s.seed, s.wakeAt = r, r.recordBytes, maphash.MakeSeed(), never
	s.byKey = make(map[broker.CallKey]*record)
	s.running = make(map[[16]byte]*record)
	s.owned = make(map[broker.CallKey]int)
	s.keeper = newCallerConn(r, broker.ID{}, callerFuncs{deliver: s.deliver, parts: s.storeParts})
	rand.Read(s.keeper.node[:])
	s.keeper.keeps = s
}

// add makes the record of a, whose call is k, in place of old, if that is not nil.
func (s *records) add(a *broker.Attachment, old *record, k *call, now time.Duration) (*record, error) {
	if old == nil {
		switch {
		case s.owned[a.Owner] >= a.MaxOwned:
			return nil, broker.ErrTooManyKeys
		case s.bytes+recordCost > s.maxBytes:
			return nil, errNoRoom
		}
	}
	s.refs++
	k.to = broker.Address{Node: s.keeper.node}
	binary.LittleEndian.PutUint64(k.to.Ref[:], s.refs)
	if err := s.rpc.submit(k, a.Call.URI, now, nil); err != nil {
		return nil, err
	}
	rec := &record{
		key: a.Call.Key, owner: a.Owner, to: k.to, deadline: k.deadline,
		keep: a.Keep, maxPartBytes: a.MaxPartBytes,
		told: [1]broker.CallKey{a.Call.Key}, place: -1, attempt: 1,
	}
	if old != nil {
		rec.nodes, rec.attempt = old.nodes, old.attempt
		if !old.refused() && rec.attempt < math.MaxUint8 {
			rec.attempt++
		}
		s.remove(old)
	}
	s.byKey[rec.key] = rec
	s.running[rec.to.Ref] = rec
	s.owned[rec.owner]++
	s.grow(rec, recordCost)
	s.schedule(rec, rec.deadline)
	return rec, nil
}

// recordOf returns the record of a call that is not taken yet.
func (s *records) recordOf(k *call) *record { return s.running[k.to.Ref] }

func (s *records) grow(rec *record, bytes int64) {
	rec.size += bytes
	s.bytes += bytes
}

// remove ends a record.
func (s *records) remove(rec *record) {
	if rec.place >= 0 {
		heap.Remove(&s.due, rec.place)
	}
	delete(s.byKey, rec.key)
	delete(s.running, rec.to.Ref)
	if s.owned[rec.owner]--; s.owned[rec.owner] == 0 {
		delete(s.owned, rec.owner)
	}
	s.grow(rec, -rec.size)
}

// commit stores the outcome of a record that has none. News of it are told by who takes
// untold, or else by the timer.
func (s *records) commit(rec *record, result broker.Result, now time.Duration) {
	delete(s.running, rec.to.Ref)
	result.To = broker.Address{}
	rec.done, rec.late, rec.result = true, rec.deadline <= now, result
	s.grow(rec, outcomeBytes(&result))
	s.schedule(rec, now+min(rec.keep, never-now))
	s.untold = append(s.untold, news{rec.told[:], rec.nodes})
}

func outcomeBytes(r *broker.Result) int64 {
	n := len(r.Args)
	if r.Err != nil {
		n += len(r.Err.Message) + len(r.Err.Data)
	}
	return int64(n)
}

// neverTaken stores why no callee will take k, unless its record has an outcome.
func (s *records) neverTaken(k *call, why *broker.Error) {
	if rec := s.running[k.to.Ref]; rec != nil {
		now := s.rpc.now()
		s.commit(rec, broker.Result{Err: why}, now)
		s.wake(now)
	}
}

// expire ends the call of rec if its time is over and no callee has taken it.
func (s *records) expire(rec *record, now time.Duration) {
	if rec.done || rec.deadline > now {
		return
	}
	if k := s.rpc.calls.find(&rec.to); k != nil && !k.isTaken() {
		s.rpc.cancel(k) // which ends in neverTaken
	}
}

// stop ends the call of rec, which has no outcome.
func (s *records) stop(rec *record) {
	// A call that is not found has just been answered, and the answer comes too late.
	why, k := errStopped, s.rpc.calls.find(&rec.to)
	if k != nil && !k.isTaken() {
		why = errWithdrawn
	}
	now := s.rpc.now()
	s.commit(rec, broker.Result{Err: why}, now)
	s.wake(now)
	if k != nil {
		s.rpc.cancel(k)
	}
}

// deliver stores outcomes. The caller holds no lock.
func (s *records) deliver(results []broker.Result) {
	outcomes := make([]broker.Result, len(results))
	for i := range results {
		outcomes[i] = copyOutcome(&results[i])
	}
	s.rpc.mu.Lock()
	now := s.rpc.now() // not before: who has read that no time is left must not miss an outcome
	for i := range outcomes {
		if rec := s.running[outcomes[i].To.Ref]; rec != nil && !s.rpc.closed {
			rec.lost = results[i].Err == broker.ErrCalleeLost
			s.commit(rec, outcomes[i], now)
		}
	}
	untold := s.takeUntold()
	s.rpc.mu.Unlock()
	tellAll(untold)
}

// copyOutcome copies what a callee has replied. It cannot say that it has not taken the call.
func copyOutcome(r *broker.Result) broker.Result {
	c := *r
	c.Args = bytes.Clone(r.Args)
	if r.Err != nil {
		c.Err = &broker.Error{
			Code: r.Err.Code, Message: r.Err.Message, Data: bytes.Clone(r.Err.Data), RetryAfter: r.Err.RetryAfter,
		}
	}
	return c
}

// storeParts stores parts of calls that have no outcome. The caller holds no lock.
func (s *records) storeParts(parts []broker.Part) {
	for i := range parts {
		p := &parts[i]
		args := bytes.Clone(p.Args)
		s.rpc.mu.Lock()
		rec := s.running[p.To.Ref]
		var stored news
		if rec != nil && s.storePart(rec, p.N, args) {
			stored = news{rec.told[:], rec.nodes}
		}
		s.rpc.mu.Unlock()
		stored.tell()
	}
}

// storePart adds a part, unless it is there. The oldest go that are too much for the
// record, or for all together.
func (s *records) storePart(rec *record, n uint32, args []byte) bool {
	if n <= rec.last {
		return false
	}
	if n != rec.last+1 { // the callee has left some out: there must be no hole
		for len(rec.parts) > 0 {
			s.dropPart(rec)
		}
	}
	rec.parts, rec.last = append(rec.parts, args), n
	rec.partBytes += len(args)
	s.grow(rec, partCost+int64(len(args)))
	for len(rec.parts) > 0 && (rec.partBytes > rec.maxPartBytes || s.bytes > s.maxBytes) {
		s.dropPart(rec)
	}
	return true
}

// dropPart drops the oldest part.
func (s *records) dropPart(rec *record) {
	n := len(rec.parts[0])
	rec.parts[0] = nil
	rec.parts = rec.parts[1:]
	rec.partBytes -= n
	s.grow(rec, -partCost-int64(n))
}

// takeUntold returns what the caller tells when it does not hold rpc.mu any more.
func (s *records) takeUntold() []news {
	untold := s.untold
	s.untold = nil
	return untold
}

// news is of a key, for the nodes that have attached to it.
type news struct {
	keys  []broker.CallKey
	nodes []*callerConn
}

func tellAll(untold []news) {
	for _, n := range untold {
		n.tell()
	}
}

// tell tells the news. The caller holds no lock.
func (n *news) tell() {
	for _, c := range n.nodes {
		c.tellNews(n.keys)
	}
}
