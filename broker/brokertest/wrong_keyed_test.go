package brokertest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// attached bends what Attach is called with.
func attached(change func(*broker.Attachment)) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{attach: func(_ broker.KeyedCallerConn, a *broker.Attachment, next func(*broker.Attachment) error) error {
			return attachBent(a, change, next)
		}}
	}
}

func attachBent(a *broker.Attachment, change func(*broker.Attachment), next func(*broker.Attachment) error) error {
	bent, call := *a, *a.Call
	bent.Call = &call
	change(&bent)
	err := next(&bent)
	a.State = bent.State
	return err
}

// reading bends what ReadCalls is called with.
func reading(change func(*broker.CallRead)) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{readCalls: func(reads []broker.CallRead, _ []broker.CallRecord, next func([]broker.CallRead)) {
			bent := slices.Clone(reads)
			for i := range bent {
				change(&bent[i])
			}
			next(bent)
		}}
	}
}

// answering bends what ReadCalls answers.
func answering(change func(*broker.CallRecord)) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{readCalls: func(reads []broker.CallRead, records []broker.CallRecord, next func([]broker.CallRead)) {
			next(reads)
			for i := range records {
				change(&records[i])
			}
		}}
	}
}

// refusing bends whether errors in records are said to be refused.
func refusing(refused func(*broker.Error) bool) func(*testing.T) *hooks {
	return answering(func(rec *broker.CallRecord) {
		if rec.Result.Err != nil {
			e := *rec.Result.Err
			e.Refused = refused(&e)
			rec.Result.Err = &e
		}
	})
}

// taking bends what calls are taken.
func taking(change func(*broker.Call)) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
			n, err := c.Take(ctx, dst)
			for i := range n {
				change(&dst[i])
			}
			return n, err
		}}
	}
}

// record reads a record.
func record(c broker.KeyedCallerConn, a *broker.Attachment) broker.CallRecord {
	var records [1]broker.CallRecord
	c.ReadCalls(context.Background(), []broker.CallRead{{URI: a.Call.URI, Key: a.Call.Key}}, records[:])
	return records[0]
}

// Brokers that are wrong about calls with keys, each in one thing.
var wrongKeyed = []wrongBroker{
	{"does not tell the callee the key", []string{"keyed call"}, taking(func(c *broker.Call) { c.Key = broker.CallKey{} }), nil},
	{"gives each call a key", []string{"keys apart", "streams beside keyed calls"}, taking(func(c *broker.Call) {
		if c.Key.IsZero() {
			c.Key = broker.CallKey{1}
		}
	}), nil},
	{"makes a call for each Attach", []string{"keyed call", "other args", "attached at once"}, func(*testing.T) *hooks {
		var n atomic.Int64
		return attached(func(a *broker.Attachment) { a.Call.Key[0] = byte(n.Add(1)) })(nil)
	}, nil},
	{"makes no call again", []string{"repeat", "repeat in time"}, attached(func(a *broker.Attachment) { a.Repeat = false }), nil},
	{"counts no attempts", []string{"repeat", "repeat in time", "repeat what was refused"}, taking(func(c *broker.Call) { c.Attempt = min(c.Attempt, 1) }), nil},
	{"makes calls again of its own", []string{"repeat", "repeat in time"}, attached(func(a *broker.Attachment) { a.Repeat = true }), nil},
	{"has one key a URI", []string{"keys apart"}, attached(func(a *broker.Attachment) {
		a.Call.Key = broker.NewCallKey(a.Call.URI, "", "")
	}), nil},
	{"runs the first call of a key only", []string{"time of an outcome", "results of an earlier call"}, func(*testing.T) *hooks {
		made := make(map[broker.CallKey]bool)
		return &hooks{attach: func(_ broker.KeyedCallerConn, a *broker.Attachment, next func(*broker.Attachment) error) error {
			if made[a.Call.Key] {
				return attachBent(a, func(a *broker.Attachment) { a.Join = true }, next)
			}
			made[a.Call.Key] = true
			return next(a)
		}}
	}, nil},
	{"takes other args for the same", []string{"other args"}, func(*testing.T) *hooks {
		return &hooks{attach: func(_ broker.KeyedCallerConn, a *broker.Attachment, next func(*broker.Attachment) error) error {
			err := next(a)
			if errors.Is(err, broker.ErrOtherArgs) {
				return attachBent(a, func(a *broker.Attachment) { a.Join = true }, next)
			}
			return err
		}}
	}, nil},
	{"compares the args of who joins", []string{"other args"}, func(*testing.T) *hooks {
		return &hooks{attach: func(c broker.KeyedCallerConn, a *broker.Attachment, next func(*broker.Attachment) error) error {
			return attachBent(a, func(a *broker.Attachment) { a.Join = a.Join && record(c, a).State == broker.CallGone }, next)
		}}
	}, nil},
	{"makes calls for who joins", []string{"join", "no callee for a keyed call"}, attached(func(a *broker.Attachment) { a.Join = false }), nil},
	{"keeps outcomes for ever", []string{"time of an outcome", "too many keys", "results of an earlier call"}, attached(func(a *broker.Attachment) { a.Keep = time.Hour }), nil},
	{"forgets outcomes that were read", []string{"time of an outcome", "first outcome"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		read := make(map[broker.CallKey]bool)
		return &hooks{readCalls: func(reads []broker.CallRead, records []broker.CallRecord, next func([]broker.CallRead)) {
			mu.Lock()
			defer mu.Unlock()
			next(reads)
			for i := range records {
				if read[reads[i].Key] {
					records[i] = broker.CallRecord{}
				} else {
					read[reads[i].Key] = records[i].State == broker.CallDone
				}
			}
		}}
	}, nil},
	{"forgets calls that run for long", []string{"time of an outcome"}, func(*testing.T) *hooks {
		made := make(map[broker.CallKey]time.Time)
		return &hooks{
			attach: func(_ broker.KeyedCallerConn, a *broker.Attachment, next func(*broker.Attachment) error) error {
				made[a.Call.Key] = time.Now()
				return next(a)
			},
			readCalls: func(reads []broker.CallRead, records []broker.CallRecord, next func([]broker.CallRead)) {
				next(reads)
				for i := range records {
					if records[i].State == broker.CallRunning && time.Since(made[reads[i].Key]) >= time.Second {
						records[i] = broker.CallRecord{}
					}
				}
			},
		}
	}, nil},
	{"lets callees refuse calls", []string{"errors are outcomes", "callee of a keyed call gone"}, refusing(func(*broker.Error) bool { return true }), nil},
	{"hides that a call was never taken", []string{"time over in the queue", "stopped in the queue", "unserved keyed call"}, refusing(func(*broker.Error) bool { return false }), nil},
	{"keeps what was never taken", []string{"time over in the queue", "stopped in the queue", "unserved keyed call"}, func(*testing.T) *hooks {
		return &hooks{attach: func(c broker.KeyedCallerConn, a *broker.Attachment, next func(*broker.Attachment) error) error {
			return attachBent(a, func(a *broker.Attachment) { a.Join = record(c, a).State == broker.CallDone }, next)
		}}
	}, nil},
	{"keeps the last outcome", []string{"first outcome"}, func(*testing.T) *hooks { return lastOutcomes() }, nil},
	{"takes results by keys", []string{"results of an earlier call"}, func(*testing.T) *hooks { return resultsByKeys() }, nil},
	{"forgets outcomes that are late", []string{"late outcome"}, answering(func(rec *broker.CallRecord) {
		if rec.Late {
			rec.Result = broker.Result{Err: &broker.Error{Code: 408}}
		}
	}), nil},
	{"does not say that an outcome is late", []string{"late outcome"}, answering(func(rec *broker.CallRecord) { rec.Late = false }), nil},
	{"ends calls with 408", []string{"late outcome"}, answering(func(rec *broker.CallRecord) {
		if rec.State == broker.CallRunning && rec.Left <= 0 {
			rec.State = broker.CallDone
		}
	}), nil},
	{"stops the clock", []string{"late outcome"}, answering(func(rec *broker.CallRecord) {
		if rec.State == broker.CallRunning {
			rec.Left = time.Minute
		}
	}), nil},
	{"ends calls whose node is gone", []string{"caller of a keyed call gone"}, func(*testing.T) *hooks {
		var gone atomic.Bool
		return &hooks{
			closeNode: func(next func() error) error { gone.Store(true); return next() },
			sendPart: func(p *broker.Part, next func(*broker.Part) error) error {
				if gone.Load() {
					return broker.ErrCallOver
				}
				return next(p)
			},
		}
	}, nil},
	{"stops nothing", []string{"stop", "first outcome", "stopped in the queue", "news of what was never taken", "contexts of keyed calls"}, func(*testing.T) *hooks {
		return &hooks{stop: func(func() error) error { return nil }}
	}, nil},
	{"does not say that there is nothing to stop", []string{"stop"}, func(*testing.T) *hooks {
		return &hooks{stop: func(next func() error) error {
			if err := next(); !errors.Is(err, broker.ErrCallGone) {
				return err
			}
			return nil
		}}
	}, nil},
	{"does not tell callees of stops", []string{"stop"}, func(*testing.T) *hooks {
		return &hooks{cancelled: func([]broker.Address, func([]broker.Address)) {}}
	}, nil},
	{"counts no keys", []string{"too many keys"}, attached(func(a *broker.Attachment) { a.MaxOwned = 1000 }), nil},
	{"has one owner", []string{"too many keys"}, attached(func(a *broker.Attachment) { a.Owner = broker.CallKey{} }), nil},
	{"tells several that they made the call", []string{"attached at once"}, func(*testing.T) *hooks {
		return &hooks{attach: func(c broker.KeyedCallerConn, a *broker.Attachment, next func(*broker.Attachment) error) error {
			gone := record(c, a).State == broker.CallGone
			time.Sleep(time.Millisecond)
			err := next(a)
			if gone {
				a.State = broker.CallNew
			}
			return err
		}}
	}, nil},
	{"keeps records of calls that were not made", []string{"no callee for a keyed call", "full queue for a keyed call"}, func(*testing.T) *hooks {
		refused := make(map[broker.CallKey]bool)
		return &hooks{attach: func(_ broker.KeyedCallerConn, a *broker.Attachment, next func(*broker.Attachment) error) error {
			if a.Join && refused[a.Call.Key] {
				a.State = broker.CallRunning
				return nil
			}
			err := next(a)
			refused[a.Call.Key] = err != nil
			return err
		}}
	}, nil},
	{"reads parts from the beginning", []string{"parts that are kept"}, reading(func(r *broker.CallRead) { r.After = 0 }), nil},
	{"reads as many parts as there are", []string{"parts that are kept"}, reading(func(r *broker.CallRead) { r.MaxParts = 1000 }), nil},
	{"reads as many bytes as there are", []string{"parts that are kept"}, reading(func(r *broker.CallRead) { r.MaxBytes = 1 << 20 }), nil},
	{"reads no part that is larger than MaxBytes", []string{"parts that are kept"}, func(*testing.T) *hooks {
		return &hooks{readCalls: func(reads []broker.CallRead, records []broker.CallRecord, next func([]broker.CallRead)) {
			next(reads)
			for i := range records {
				if reads[i].MaxBytes == 1 {
					records[i].Parts = slices.DeleteFunc(records[i].Parts, func(p broker.Part) bool { return len(p.Args) > 1 })
				}
			}
		}}
	}, nil},
	{"mends invalid text of parts that are kept", []string{"parts that are kept"}, answering(func(rec *broker.CallRecord) {
		for i := range rec.Parts {
			rec.Parts[i].Args = bytes.ToValidUTF8(rec.Parts[i].Args, []byte("?"))
		}
	}), nil},
	{"keeps all parts", []string{"trimmed parts"}, attached(func(a *broker.Attachment) { a.MaxPartBytes = 1 << 30 }), nil},
	{"keeps fewer parts than it may", []string{"trimmed parts"}, attached(func(a *broker.Attachment) { a.MaxPartBytes = min(a.MaxPartBytes, 89) }), nil},
	{"does not say which part is the first", []string{"trimmed parts", "many reads"}, answering(func(rec *broker.CallRecord) { rec.First = 0 }), nil},
	{"paces callees of calls with keys", []string{"nobody paces"}, taking(func(c *broker.Call) {
		if !c.Key.IsZero() {
			c.Window.Parts = min(c.Window.Parts, 1)
		}
	}), nil},
	{"has parts that nobody asked for", []string{"nobody paces"}, attached(func(a *broker.Attachment) {
		a.Call.Window = broker.Window{Parts: 1, Bytes: 1}
	}), nil},
	{"tells no news", []string{"news", "news of what was never taken"}, func(*testing.T) *hooks {
		return &hooks{news: func([]broker.CallKey, func([]broker.CallKey)) {}}
	}, nil},
	{"tells news to all", []string{"news"}, func(*testing.T) *hooks { return newsToAll() }, nil},
	{"reads the parts before the outcome", []string{"one instant"}, func(*testing.T) *hooks {
		return &hooks{readCalls: func(reads []broker.CallRead, records []broker.CallRecord, next func([]broker.CallRead)) {
			next(reads)
			before := slices.Clone(records)
			time.Sleep(time.Millisecond)
			next(reads)
			for i := range records {
				records[i].Parts, records[i].First = before[i].Parts, before[i].First
			}
		}}
	}, nil},
	{"answers reads in the order of their keys", []string{"many reads"}, func(*testing.T) *hooks {
		return &hooks{readCalls: func(reads []broker.CallRead, _ []broker.CallRecord, next func([]broker.CallRead)) {
			sorted := slices.Clone(reads)
			slices.SortFunc(sorted, func(a, b broker.CallRead) int { return bytes.Compare(a.Key[:], b.Key[:]) })
			next(sorted)
		}}
	}, nil},
	{"keeps the slices of parts of calls with keys", []string{"owner of what is kept"}, func(*testing.T) *hooks {
		var held *broker.Part
		var sendPart func(*broker.Part) error
		return &hooks{
			sendPart: func(p *broker.Part, next func(*broker.Part) error) error {
				kept := *p // with its slice
				held, sendPart = &kept, next
				return nil
			},
			reply: func(results []broker.Result, next func([]broker.Result) error) error {
				sendPart(held)
				return next(results)
			},
		}
	}, nil},
	{"shares the slices of records with later ones", []string{"owner of what is kept"}, func(*testing.T) *hooks {
		buf := make([]byte, 0, 64)
		return answering(func(rec *broker.CallRecord) { rec.Result.Args = append(buf[:0], rec.Result.Args...) })(nil)
	}, nil},
	{"forgets an Attach whose context has ended", []string{"contexts of keyed calls"}, func(*testing.T) *hooks {
		first := true
		return &hooks{attach: func(_ broker.KeyedCallerConn, a *broker.Attachment, next func(*broker.Attachment) error) error {
			if first {
				first = false
				return errors.New("refused")
			}
			return next(a)
		}}
	}, nil},
	{"reads after Close", []string{"closed amid keyed calls"}, answering(func(rec *broker.CallRecord) { rec.Err = nil }), nil},
	{"stops after Close", []string{"closed amid keyed calls"}, func(*testing.T) *hooks {
		return &hooks{stop: func(next func() error) error {
			if err := next(); !errors.Is(err, broker.ErrClosed) {
				return err
			}
			return nil
		}}
	}, nil},
	{"has an outcome for each reader", []string{"keyed call", "concurrent keyed calls", "attached at once"}, func(*testing.T) *hooks {
		var n atomic.Int64
		return answering(func(rec *broker.CallRecord) { rec.Result.Args = fmt.Append(nil, n.Add(1)) })(nil)
	}, nil},
}

// keyMap knows the keys of calls that were taken.
type keyMap struct {
	mu   sync.Mutex
	keys map[broker.Address]broker.CallKey
	to   map[broker.CallKey]broker.Address // the last one
}

func (m *keyMap) take(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
	n, err := c.Take(ctx, dst)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys == nil {
		m.keys, m.to = make(map[broker.Address]broker.CallKey), make(map[broker.CallKey]broker.Address)
	}
	for _, call := range dst[:n] {
		m.keys[call.ReplyTo], m.to[call.Key] = call.Key, call.ReplyTo
	}
	return n, err
}

// lastOutcomes is a broker whose later results replace the earlier ones.
func lastOutcomes() *hooks {
	var m keyMap
	last := make(map[broker.CallKey]broker.Result)
	return &hooks{
		take: m.take,
		reply: func(results []broker.Result, next func([]broker.Result) error) error {
			m.mu.Lock()
			for _, r := range results {
				r.Args = bytes.Clone(r.Args)
				last[m.keys[r.To]] = r
			}
			m.mu.Unlock()
			return next(results)
		},
		readCalls: func(reads []broker.CallRead, records []broker.CallRecord, next func([]broker.CallRead)) {
			next(reads)
			m.mu.Lock()
			defer m.mu.Unlock()
			for i := range records {
				if r, ok := last[reads[i].Key]; ok && records[i].State == broker.CallDone {
					records[i].Result = r
				}
			}
		},
	}
}

// resultsByKeys is a broker that takes a result for the call that now has its key.
func resultsByKeys() *hooks {
	var m keyMap
	return &hooks{
		take: m.take,
		reply: func(results []broker.Result, next func([]broker.Result) error) error {
			m.mu.Lock()
			bent := slices.Clone(results)
			for i := range bent {
				bent[i].To = m.to[m.keys[bent[i].To]]
			}
			m.mu.Unlock()
			return next(bent)
		},
	}
}

// newsToAll is a broker that tells every node all news.
func newsToAll() *hooks {
	var mu sync.Mutex
	var everyone []func([]broker.CallKey)
	return &hooks{
		openKeyedCaller: func(news func([]broker.CallKey)) {
			mu.Lock()
			defer mu.Unlock()
			everyone = append(everyone, news)
		},
		news: func(keys []broker.CallKey, _ func([]broker.CallKey)) {
			mu.Lock()
			defer mu.Unlock()
			for _, news := range everyone {
				news(keys)
			}
		},
	}
}
