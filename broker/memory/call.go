package memory

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/index"
)

// A call is one request from Call until the end of the Reply that answers it.
// While it is in rpc.calls, it is in one of three states: queued (callee is
// nil), handed (it is callee.handed) or taken (it is in callee.taken). The
// first two are the same from outside: no callee has seen the call yet.
type call struct {
	to       broker.Address
	caller   *callerConn
	queue    *queue
	callee   *calleeConn
	deadline time.Duration // on the broker's clock
	window   broker.Window // the greatest that was granted; zero: the answer has no parts

	// payload is the headers followed by the arguments. Once the call is
	// taken it belongs to the callee until its Reply.
	payload []byte
	headers int // length of the headers

	cancelled bool // while taken

	prev, next *call // in queue.calls, callee.taken, or a chain that is not shared
	inTable    index.Node[call]
}

const (
	// callOverhead is about what a queued call costs beside its payload.
	callOverhead = 256

	// maxKeptPayload is the largest buffer that is kept for further calls.
	maxKeptPayload = 16 << 10
)

// isTaken reports whether a callee has seen k.
func (k *call) isTaken() bool { return k.callee != nil && k.callee.handed != k }

// size returns the bytes that count against WithQueueBytes: those that the
// call holds, not those that it needs.
func (k *call) size() int64 { return callOverhead + int64(cap(k.payload)) }

// view fills in dst, which is valid until k is recycled.
func (k *call) view(dst *broker.Call, now time.Duration) {
	*dst = broker.Call{
		URI:     k.queue.uri,
		ReplyTo: k.to,
		Timeout: k.deadline - now,
		Window:  k.window,
		Headers: k.payload[:k.headers:k.headers],
		Args:    k.payload[k.headers:len(k.payload):len(k.payload)],
	}
	if s := k.caller.keeps; s != nil {
		rec := s.recordOf(k)
		dst.Key, dst.Attempt = rec.key, rec.attempt
	}
}

// A callTable finds calls by their addresses.
type callTable struct{ index index.Index[call] }

// key hashes an address: what a caller puts into it, counters mostly, is spread
// over all bits.
func key(to *broker.Address) uint64 {
	a := binary.LittleEndian.Uint64(to.Ref[:8]) ^ binary.LittleEndian.Uint64(to.Node[:8])
	b := binary.LittleEndian.Uint64(to.Ref[8:]) ^ binary.LittleEndian.Uint64(to.Node[8:])
	high, low := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xbf58476d1ce4e5b9)
	return high ^ low
}

// find returns the call with this address, or nil.
func (t *callTable) find(to *broker.Address) *call {
	for n := t.index.Find(key(to)); n != nil; n = n.Next() {
		if n.Owner.to == *to {
			return n.Owner
		}
	}
	return nil
}

func (t *callTable) add(k *call)    { t.index.Add(&k.inTable, key(&k.to)) }
func (t *callTable) remove(k *call) { t.index.Remove(&k.inTable) }

// A callPool keeps calls and their buffers for further use.
type callPool struct{ pool sync.Pool }

// get returns a call with a copy of what req holds.
func (p *callPool) get(caller *callerConn, req *broker.Call, now time.Duration) *call {
	k, _ := p.pool.Get().(*call)
	if k == nil {
		k = new(call)
		k.inTable.Owner = k
	}
	k.to, k.caller = req.ReplyTo, caller
	if caller.parts != nil {
		k.window = req.Window
	}
	k.payload = append(append(k.payload[:0], req.Headers...), req.Args...)
	k.headers = len(req.Headers)
	k.deadline = now + req.Timeout
	if k.deadline < now { // beyond what a Duration holds
		k.deadline = never
	}
	return k
}

// put takes back a call that nothing refers to any more.
func (p *callPool) put(k *call) {
	payload := k.payload
	if cap(payload) > maxKeptPayload {
		payload = nil
	}
	*k = call{payload: payload}
	k.inTable.Owner = k
	p.pool.Put(k)
}

// A callList is a list of calls, linked through their prev and next.
type callList struct {
	head, tail *call
	len        int
}

func (l *callList) pushBack(k *call) {
	k.prev, k.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = k
	} else {
		l.head = k
	}
	l.tail = k
	l.len++
}

func (l *callList) pushFront(k *call) {
	k.prev, k.next = nil, l.head
	if l.head != nil {
		l.head.prev = k
	} else {
		l.tail = k
	}
	l.head = k
	l.len++
}

func (l *callList) remove(k *call) {
	if k.prev != nil {
		k.prev.next = k.next
	} else {
		l.head = k.next
	}
	if k.next != nil {
		k.next.prev = k.prev
	} else {
		l.tail = k.prev
	}
	k.prev, k.next = nil, nil
	l.len--
}
