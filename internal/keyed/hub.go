// Package keyed is the node's side of calls with keys ([broker.KeyedCaller]): it knows who
// is attached to which call, reads the records of these calls, and gives each the parts and
// the outcome.
//
// The engine's news are hints only: a [Hub] also reads when the time of a call is over, and
// now and then. What ends a wait is the record and nothing else, by the engine's clock.
package keyed

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/wheel"
	"github.com/juggler-go/juggler/internal/worker"
)

const (
	// readEvery is how often the record of a call is read of which nothing is heard.
	readEvery = 15 * time.Second

	// A record that cannot be read is read again after pauses that grow. When the time of
	// its call is over, or not known, that goes on for patience.
	firstPause   = 250 * time.Millisecond
	longestPause = 4 * time.Second
	patience     = 30 * time.Second
)

// Config is what a Hub needs. All of it is set.
type Config struct {
	Results func([]broker.Result) // gets outcomes, addressed to waiters
	Parts   func([]broker.Part)   // gets parts, addressed to waiters, before the outcome
	Timeout time.Duration         // what the broker has for one request
	Running *sync.WaitGroup       // counts the goroutines of the Hub
	Log     *slog.Logger
}

// Counts says what has happened. Refusals of [Hub.Attach] are not in it, but for Gone.
type Counts struct {
	Made   uint64 // calls that were made
	Joined uint64 // calls that were there
	Done   uint64 // outcomes that were given to waiters
	Late   uint64 // waiters for whom it came too late (408)
	Gone   uint64 // times that nothing was kept of a call (410)
	Open   int    // who waits now, or attaches
}

// A Hub has the calls with keys of one node. Its methods may be called concurrently, after
// Start.
type Hub struct {
	cfg  Config
	conn broker.KeyedCallerConn
	part func(uri string) int

	life context.Context
	end  context.CancelFunc

	made, joined, done, late, gone atomic.Uint64
	open                           atomic.Int64

	mu    sync.Mutex // guards the following, and all that is in calls
	calls map[broker.CallKey]*call
	lines map[int]*line
	wheel wheel.Wheel[call]
	alarm wheel.Alarm // calls tick
}

// A call is one that somebody waits for, or attaches to.
type call struct {
	key  broker.CallKey
	uri  string
	line *line

	waiters   []*Waiter
	attaching int  // how many are about to
	wanted    bool // its record is to be read
	news      uint // how often something was heard of it

	timer  wheel.Timer[call] // when it is read next at the latest
	over   int64             // when its time is over as far as is known, by the hub's clock; 0: not known
	failed int               // how often it could not be read in a row
}

// A Waiter waits for a call. It belongs to the Hub from Attach to Leave.
type Waiter struct {
	// To is where parts and the outcome are addressed to. With Tell they go there instead,
	// on any goroutine.
	To   broker.Address
	Tell func(*broker.Result)

	// Parts says that the waiter takes parts, those behind After.
	Parts bool
	After uint32

	// State is what Attach has found, and From, if parts behind After are gone, the number
	// of the first that comes: After is then raised.
	State broker.CallState
	From  uint32

	call    *call
	news    uint          // of call, before w attached
	timeout time.Duration // of the call that it made
	joined  bool
	attempt uint8 // whose parts w gets; 0: not known yet
	sent    broker.Window
	window  broker.Window
}

// New returns a Hub.
func New(cfg Config) *Hub {
	h := &Hub{cfg: cfg, calls: make(map[broker.CallKey]*call), lines: make(map[int]*line)}
	h.alarm = wheel.NewAlarm(h.tick)
	h.life, h.end = context.WithCancel(context.Background())
	return h
}

// Start gives h its connection, once. News may come before.
func (h *Hub) Start(conn broker.KeyedCallerConn) {
	h.conn = conn
	h.part = func(string) int { return 0 }
	if d, ok := conn.(broker.Divided); ok {
		h.part = d.Part
	}
}

// Close ends what h does. It does not wait.
func (h *Hub) Close() {
	h.end()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alarm.Stop()
}

// Counts returns what has happened.
func (h *Hub) Counts() Counts {
	return Counts{h.made.Load(), h.joined.Load(), h.done.Load(), h.late.Load(), h.gone.Load(), int(h.open.Load())}
}

// News takes the engine's news. It does not wait.
func (h *Hub) News(keys []broker.CallKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range keys {
		if c := h.calls[key]; c != nil {
			c.news++
			h.want(c)
		}
	}
}

// Attach makes the call of a, or joins it, for w. Join or Leave has to follow if it returns
// nil. An attachment whose outcome is unknown is made once more.
func (h *Hub) Attach(ctx context.Context, a *broker.Attachment, w *Waiter) error {
	h.enter(a.Call, w)
	err := h.conn.Attach(ctx, a)
	if errors.Is(err, broker.ErrUnknownOutcome) && ctx.Err() == nil {
		err = h.conn.Attach(ctx, a)
	}
	if err != nil {
		if errors.Is(err, broker.ErrCallGone) {
			h.gone.Add(1)
		}
		h.Leave(w)
		return err
	}
	if w.State = a.State; a.State == broker.CallNew {
		w.timeout = a.Call.Timeout
		h.made.Add(1)
		return nil
	}
	h.joined.Add(1)
	if w.Parts && !h.findFirst(ctx, w) {
		h.gone.Add(1)
		h.Leave(w)
		return broker.ErrCallGone
	}
	return nil
}

// enter notes that somebody attaches to a call: news of it count.
func (h *Hub) enter(made *broker.Call, w *Waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.calls[made.Key]
	if c == nil {
		c = &call{key: made.Key, uri: made.URI, line: h.line(h.part(made.URI))}
		c.timer.Owner = c
		h.calls[made.Key] = c
	}
	c.attaching++
	w.call, w.news = c, c.news
	h.open.Add(1)
}

// findFirst sets w.From, and reports whether the parts behind w.After can be had. If that
// cannot be told now, it is found out later.
func (h *Hub) findFirst(ctx context.Context, w *Waiter) bool {
	reads := [1]broker.CallRead{{URI: w.call.uri, Key: w.call.key, After: w.After}}
	var records [1]broker.CallRecord
	h.conn.ReadCalls(ctx, reads[:], records[:])
	if !w.follows(&records[0]) {
		return false
	}
	if first := next(&records[0], w.After); first > w.After+1 {
		w.From, w.After = first, first-1
	}
	return true
}

// follows reports whether parts of r follow those that w has got: they do not where the call
// was made anew. The attempt in which it got those that a client has from before nobody
// knows, unless there was but one.
func (w *Waiter) follows(r *broker.CallRecord) bool {
	got := max(w.After, w.sent.Parts) > 0
	switch {
	case !w.Parts || r.Attempt == 0 || r.Attempt == w.attempt:
		return true
	case got && (w.attempt > 0 || r.Attempt > 1):
		return false
	}
	w.attempt = r.Attempt
	return true
}

// Join has w, which has attached, get the outcome of the call, and before it the parts that
// window has room for: their number is counted from the first of the call, their bytes from
// the first behind After.
func (h *Hub) Join(w *Waiter, window broker.Window) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := w.call
	c.attaching--
	c.waiters = append(c.waiters, w)
	w.joined, w.window, w.sent.Parts = true, window, w.After
	if w.State != broker.CallNew || c.news != w.news {
		h.want(c)
		return
	}
	c.over = h.alarm.Now() + w.timeout.Milliseconds()
	h.watch(c)
}

// Leave ends the wait of w, if it waits.
func (h *Hub) Leave(w *Waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave(w)
}

// leave is Leave with mu held.
func (h *Hub) leave(w *Waiter) {
	c := w.call
	if c == nil {
		return
	}
	w.call = nil
	h.open.Add(-1)
	if !w.joined {
		c.attaching--
	} else {
		for i, other := range c.waiters {
			if other == w {
				last := len(c.waiters) - 1
				c.waiters[i], c.waiters[last] = c.waiters[last], nil
				c.waiters = c.waiters[:last]
				break
			}
		}
	}
	if len(c.waiters) == 0 {
		h.wheel.Remove(&c.timer)
		if c.attaching == 0 {
			delete(h.calls, c.key)
		}
	}
}

// Grant lets more parts come. A window that is not greater changes nothing.
func (h *Hub) Grant(w *Waiter, window broker.Window) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.window = w.window.Union(window)
	if w.call != nil && w.joined {
		h.want(w.call)
	}
}

// Stop ends the call of w for all. If it cannot, w gets an error, and leaves.
func (h *Hub) Stop(ctx context.Context, w *Waiter) {
	h.mu.Lock()
	c := w.call
	h.mu.Unlock()
	if c == nil {
		return
	}
	err := h.conn.Stop(ctx, c.uri, c.key)
	h.mu.Lock()
	var out deliveries
	switch {
	case w.call == nil:
	case err == nil, errors.Is(err, broker.ErrCallGone):
		h.want(c)
	default:
		h.cfg.Log.Warn("cannot stop a call with a key", "uri", c.uri, "error", err)
		h.finish(w, &broker.Result{Err: errNotStopped}, &out)
	}
	h.mu.Unlock()
	h.deliver(&out)
}

// watch has the record of c be read in time.
func (h *Hub) watch(c *call) {
	now := h.alarm.Now()
	at := now + readEvery.Milliseconds()
	switch {
	case c.failed > 0:
		at = now + min(firstPause<<min(c.failed-1, 8), longestPause).Milliseconds()
	case c.over > 0:
		at = min(at, max(c.over, now+1))
	}
	h.wheel.Set(&c.timer, at)
	h.alarm.Set(at)
}

// tick has the records be read that are due.
func (h *Hub) tick() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alarm.Rung()
	h.wheel.Advance(h.alarm.Now(), h.want)
	h.alarm.SetNext(h.wheel.Next())
}

// line returns the line of a part of the broker.
func (h *Hub) line(part int) *line {
	l := h.lines[part]
	if l == nil {
		l = &line{hub: h}
		h.lines[part] = l
	}
	return l
}

// want has the record of c be read, soon.
func (h *Hub) want(c *call) {
	if c.wanted || len(c.waiters) == 0 || h.life.Err() != nil {
		return
	}
	c.wanted = true
	l := c.line
	l.wanted = append(l.wanted, c)
	if !l.busy {
		l.busy = true
		worker.Start(h.cfg.Running, l)
	}
}
