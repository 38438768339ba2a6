package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/chanlock"
)

// A view is what a broker takes for the system: who is master of which slots, and
// which server answers at an address. All links of the broker lead into it. It is
// looked at anew at intervals, after each lost connection, after errors that point
// elsewhere, and when the system announces a change; a link that does not lead
// into it any more is retired. So the connections of a process never end in two
// systems, each of which seems to work.
type view struct {
	config viewConfig

	// looking is held while the system is asked, so that one asks for all.
	looking chanlock.Lock

	mu      sync.Mutex // guards the following
	ranges  []slotRange
	looked  time.Time // when ranges was read
	old     bool      // what is known may be wrong
	answers map[string]identity
	links   map[*link]struct{}
	started bool
	closed  bool

	kicked  chan struct{} // has an element to look at once
	quit    context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// An identity is what a server calls itself, a new one at each of its starts; ""
// if it does not say.
type identity string

const (
	// lookPause is the time between two looks at a system that seems healthy,
	// relookPause the least between two after events that cast doubt on it.
	lookPause   = 5 * time.Second
	relookPause = 100 * time.Millisecond
)

// Slots of links that belong to no slot in particular.
const (
	anyMaster = -1 // it leads to one of the masters
	noMaster  = -2 // it only asks
)

// A viewConfig is what a view needs to know.
type viewConfig struct {
	topology topology
	timeout  time.Duration // for a connection, and while nothing moves on it
	backoff  backoff
	logger   *slog.Logger
}

func newView(c viewConfig) *view {
	v := &view{
		config:  c,
		looking: chanlock.New(),
		answers: map[string]identity{},
		links:   map[*link]struct{}{},
		kicked:  make(chan struct{}, 1),
	}
	v.quit, v.cancel = context.WithCancel(background)
	return v
}

// start begins to look, when the view is first needed.
func (v *view) start() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.started || v.closed {
		return
	}
	v.started = true
	v.running.Go(v.run)
	v.running.Go(v.listen)
}

// stop ends the looking. All links have been closed before.
func (v *view) stop() {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.cancel()
	v.running.Wait()
	v.config.topology.wait()
}

func (v *view) run() {
	ticker := time.NewTicker(lookPause)
	defer ticker.Stop()
	wait := relookPause
	failing := false
	for {
		select {
		case <-ticker.C:
			wait = relookPause
		case <-v.kicked:
			wait = min(2*wait, time.Second) // an outage lasts
		case <-v.quit.Done():
			return
		}
		err := v.look(v.quit, time.Now())
		if err != nil && !failing && v.quit.Err() == nil {
			v.config.logger.Warn("nobody says who is master", "error", err)
		}
		failing = err != nil
		if v.config.topology.renamed() {
			v.visit()
		}
		if !pause(v.quit, wait) {
			return
		}
	}
}

// listen waits for announcements of the system, if it makes any.
func (v *view) listen() {
	for {
		err := v.config.topology.watch(v.quit, v.stale)
		if v.quit.Err() != nil || errors.Is(err, errors.ErrUnsupported) {
			return
		}
		v.config.logger.Debug("nobody announces who is master", "error", err)
		if !pause(v.quit, v.config.backoff.after(16)) {
			return
		}
	}
}

// stale says that what is known may be wrong: a connection was lost, a server has
// pointed elsewhere, a change was announced.
func (v *view) stale() {
	v.mu.Lock()
	v.old = true
	v.mu.Unlock()
	select {
	case v.kicked <- struct{}{}:
	default:
	}
}

// look asks the system, unless somebody has since the given time.
func (v *view) look(ctx context.Context, since time.Time) error {
	v.looking.Lock()
	defer v.looking.Unlock()
	v.mu.Lock()
	done := v.looked.After(since)
	if !done {
		v.old = false // what becomes stale from now on counts again
	}
	v.mu.Unlock()
	if done {
		return nil
	}
	ranges, err := v.config.topology.look(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.old = true
		return err
	}
	v.ranges, v.looked = ranges, time.Now()
	v.judge()
	return nil
}

// current returns the masters, as they were looked at last, or now if that is not
// to be relied upon. An old view is better than none: whoever cannot be asked may
// be down while the masters are not.
func (v *view) current(ctx context.Context) ([]slotRange, error) {
	v.start()
	v.mu.Lock()
	now := time.Now()
	known := v.ranges
	due := known == nil || v.old && now.Sub(v.looked) > relookPause
	v.mu.Unlock()
	if due {
		if err := v.look(ctx, now); err != nil && known == nil {
			return nil, err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ranges, nil
}

// master returns the master of a slot; for anyMaster one at random, another one
// than avoid if there is one.
func (v *view) master(ctx context.Context, slot int, avoid server) (server, error) {
	ranges, err := v.current(ctx)
	if err != nil {
		return server{}, err
	}
	if slot == anyMaster && len(ranges) > 0 {
		all := distinct(ranges)
		if others := slices.DeleteFunc(slices.Clone(all), avoid.is); len(others) > 0 {
			all = others
		}
		return all[rand.IntN(len(all))], nil
	}
	if s, ok := masterOf(ranges, slot); ok {
		return s, nil
	}
	v.stale()
	return server{}, fmt.Errorf("no master of slot %d in the cluster", slot)
}

// masters returns all masters.
func (v *view) masters() []server {
	v.mu.Lock()
	defer v.mu.Unlock()
	return distinct(v.ranges)
}

// leads reports whether slot is one of the master's; false if that is not known.
func (v *view) leads(master server, slot int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	s, ok := masterOf(v.ranges, slot)
	return ok && s.is(master)
}

// together reports whether two slots have one master, as far as is known.
func (v *view) together(a, b int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	one, known := masterOf(v.ranges, a)
	other, _ := masterOf(v.ranges, b)
	return known && one.is(other)
}

func masterOf(ranges []slotRange, slot int) (server, bool) {
	for _, r := range ranges {
		if r.first <= slot && slot <= r.last {
			return r.master, true
		}
	}
	return server{}, false
}

func distinct(ranges []slotRange) []server {
	var all []server
	for _, r := range ranges {
		if !slices.Contains(all, r.master) {
			all = append(all, r.master)
		}
	}
	return all
}

// dial makes a link to the master of a slot, or to any for anyMaster but avoid,
// unless ctx ends before. retired, which may be nil, is called when the link has
// to be replaced: it must not wait.
func (v *view) dial(ctx context.Context, slot int, avoid server, timeout time.Duration, retired func()) (*link, error) {
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	to, err := v.master(asking, slot, avoid)
	if err != nil {
		return nil, err
	}
	return v.dialServer(ctx, to, slot, timeout, retired)
}

func (v *view) dialServer(ctx context.Context, to server, slot int, timeout time.Duration, retired func()) (*link, error) {
	options := v.config.topology.options(to)
	loginOnce(options)
	l, err := newLink(ctx, options, timeout)
	if err != nil {
		return nil, err
	}
	who, err := l.login(ctx)
	if err != nil {
		l.close()
		return nil, err
	}
	l.view, l.to, l.slot, l.who, l.onRetire = v, to, slot, who, retired
	v.enter(l)
	return l, nil
}

// enter adds a link. What it has reached is what the address leads to now.
func (v *view) enter(l *link) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.links[l] = struct{}{}
	if l.who == "" || v.answers[l.to.addr] == l.who {
		return
	}
	v.answers[l.to.addr] = l.who
	v.judge()
}

// leave removes a link.
func (v *view) leave(l *link) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.links, l)
}

// judge retires links that lead elsewhere. mu is held.
func (v *view) judge() {
	for l := range v.links {
		if err := v.verdict(l); err != nil {
			l.retire(err)
		}
	}
}

// verdict returns why a link must not be used any more, or nil. mu is held.
func (v *view) verdict(l *link) error {
	if now := v.answers[l.to.addr]; l.who != "" && l.who != now {
		return fmt.Errorf("%w: another server answers at %s", errElsewhere, l.to.addr)
	}
	switch l.slot {
	case noMaster:
	case anyMaster:
		if !slices.ContainsFunc(v.ranges, func(r slotRange) bool { return r.master.is(l.to) }) {
			return fmt.Errorf("%w: %s is no master any more", errElsewhere, l.to.addr)
		}
	default:
		if s, ok := masterOf(v.ranges, l.slot); ok && !s.is(l.to) {
			return fmt.Errorf("%w: the master is %s", errElsewhere, s.addr)
		}
	}
	return nil
}

// errElsewhere: the link works, but leads out of the system that the others are in.
var errElsewhere = errors.New("the connection leads elsewhere")

// visit finds out who answers at an address that another server may have taken
// over, while all connections go on to the one that had it. That nobody answers
// now is the business of those connections.
func (v *view) visit() {
	v.mu.Lock()
	if len(v.ranges) == 0 || len(v.links) == 0 {
		v.mu.Unlock()
		return
	}
	to := v.ranges[0].master
	known := v.answers[to.addr] != ""
	v.mu.Unlock()
	if !known {
		return
	}
	l, err := v.dialServer(v.quit, to, noMaster, v.config.timeout, nil)
	if err != nil {
		return
	}
	l.close()
}
