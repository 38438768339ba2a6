// Package conn makes connections to the right servers: it finds out who is master of what
// (topology.go, slots.go), watches it (view.go), logs connections in (login.go) and puts
// commands through them: those that block one at a time (link.go, stream.go; redialer.go
// makes a new link when one fails), the others in batches (writer.go, with writer_batch.go
// and writer_link.go). It knows nothing of juggler.
package conn

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

// A View is what a process knows of the system: who is master of which slots, and which
// server answers at an address. All its links lead to servers of the view. The system is
// asked again at intervals, after each lost connection, after errors that suggest a
// failover, and when it announces a change. Then links that lead elsewhere are retired.
// So the connections of a process never lead into two systems, each of which seems to
// work.
type View struct {
	config Config

	// looking is held while the system is asked, so that one asks for all.
	looking chanlock.Lock

	mu      sync.Mutex // guards the following
	ranges  []slotRange
	looked  time.Time // when ranges was read
	old     bool      // what is known may be wrong
	answers map[string]identity
	links   map[*Link]struct{}

	kicked     chan struct{} // has an element to look at once
	background *Background   // which looks, from the first use on
}

// An identity is what a server calls itself, a new one at each of its starts; ""
// if it does not say.
type identity string

const (
	// LookInterval is the time between two looks at a system that seems healthy,
	// relookPause the least between two after something that casts doubt on the view.
	LookInterval = 5 * time.Second
	relookPause  = 100 * time.Millisecond
)

// Slots of links that belong to no slot in particular.
const (
	AnyMaster = -1 // it leads to one of the masters
	NoMaster  = -2 // it only asks
)

// A Config has the settings of a View.
type Config struct {
	Topology Topology
	Timeout  time.Duration // for a connection, and while nothing moves on it
	Backoff  Backoff
	Logger   *slog.Logger
}

// NewView returns a View, which asks nobody before it is used.
func NewView(c Config) *View {
	return &View{
		config:     c,
		looking:    chanlock.New(),
		answers:    map[string]identity{},
		links:      map[*Link]struct{}{},
		kicked:     make(chan struct{}, 1),
		background: NewBackground(),
	}
}

// Stop ends the goroutines of the view. All links must be closed.
func (v *View) Stop() {
	v.background.Stop()
	v.config.Topology.wait()
}

func (v *View) run() {
	ticker := time.NewTicker(LookInterval)
	defer ticker.Stop()
	wait := relookPause
	failing := false
	for {
		select {
		case <-ticker.C:
			wait = relookPause
		case <-v.kicked:
			wait = min(2*wait, time.Second) // an outage lasts
		case <-v.background.Quit.Done():
			return
		}
		err := v.look(v.background.Quit, time.Now())
		if err != nil && !failing && v.background.Quit.Err() == nil {
			v.config.Logger.Warn("nobody says who is master", "error", err)
		}
		failing = err != nil
		if v.config.Topology.renamed() {
			v.visit()
		}
		if !Sleep(v.background.Quit, wait) {
			return
		}
	}
}

// listen waits for announcements of the system, if it makes any.
func (v *View) listen() {
	for {
		err := v.config.Topology.watch(v.background.Quit, v.MarkStale)
		if v.background.Quit.Err() != nil || errors.Is(err, errors.ErrUnsupported) {
			return
		}
		v.config.Logger.Debug("nobody announces who is master", "error", err)
		if !Sleep(v.background.Quit, v.config.Backoff.After(16)) {
			return
		}
	}
}

// MarkStale says that what is known may be wrong: a connection was lost, an error suggests
// a failover, a change was announced. It does not wait.
func (v *View) MarkStale() {
	v.mu.Lock()
	v.old = true
	v.mu.Unlock()
	select {
	case v.kicked <- struct{}{}:
	default:
	}
}

// look asks the system, unless that was done since the given time.
func (v *View) look(ctx context.Context, since time.Time) error {
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
	ranges, err := v.config.Topology.look(ctx)
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
func (v *View) current(ctx context.Context) ([]slotRange, error) {
	v.background.Start(v.run, v.listen)
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

// Master returns the master of a slot; for AnyMaster one at random, another one than avoid
// if possible.
func (v *View) Master(ctx context.Context, slot int, avoid Server) (Server, error) {
	ranges, err := v.current(ctx)
	if err != nil {
		return Server{}, err
	}
	if slot == AnyMaster && len(ranges) > 0 {
		all := distinct(ranges)
		if others := slices.DeleteFunc(slices.Clone(all), avoid.is); len(others) > 0 {
			all = others
		}
		return all[rand.IntN(len(all))], nil
	}
	if s, ok := masterOf(ranges, slot); ok {
		return s, nil
	}
	v.MarkStale()
	return Server{}, fmt.Errorf("no master of slot %d in the cluster", slot)
}

// Masters returns all masters.
func (v *View) Masters() []Server {
	v.mu.Lock()
	defer v.mu.Unlock()
	return distinct(v.ranges)
}

// Owns reports whether a server is the master of a slot; false if that is not known.
func (v *View) Owns(master Server, slot int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	s, ok := masterOf(v.ranges, slot)
	return ok && s.is(master)
}

// SameMaster reports whether two slots have the same master, as far as is known.
func (v *View) SameMaster(a, b int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	one, known := masterOf(v.ranges, a)
	other, _ := masterOf(v.ranges, b)
	return known && one.is(other)
}

func masterOf(ranges []slotRange, slot int) (Server, bool) {
	for _, r := range ranges {
		if r.first <= slot && slot <= r.last {
			return r.master, true
		}
	}
	return Server{}, false
}

func distinct(ranges []slotRange) []Server {
	var all []Server
	for _, r := range ranges {
		if !slices.Contains(all, r.master) {
			all = append(all, r.master)
		}
	}
	return all
}

// Dial makes a link to the master of a slot, or for AnyMaster to any, if possible another
// one than avoid, unless ctx ends first. The time is for the connection, and for replies
// while no byte moves. retired, which may be nil, is called when the link has to be
// replaced: it must not wait.
func (v *View) Dial(ctx context.Context, slot int, avoid Server, timeout time.Duration, retired func()) (*Link, error) {
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	to, err := v.Master(asking, slot, avoid)
	if err != nil {
		return nil, err
	}
	return v.DialServer(ctx, to, slot, timeout, retired)
}

// DialServer is Dial to a server. slot says for what the link is used.
func (v *View) DialServer(ctx context.Context, to Server, slot int, timeout time.Duration, retired func()) (*Link, error) {
	options := v.config.Topology.options(to)
	loginOnce(options)
	l, err := newLink(ctx, options, timeout)
	if err != nil {
		return nil, err
	}
	who, err := l.login(ctx)
	if err != nil {
		l.Close()
		return nil, err
	}
	l.view, l.To, l.slot, l.Who, l.onRetire = v, to, slot, who, retired
	v.enter(l)
	return l, nil
}

// enter adds a link. What it has reached is what the address leads to now.
func (v *View) enter(l *Link) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.links[l] = struct{}{}
	if l.Who == "" || v.answers[l.To.Addr] == l.Who {
		return
	}
	v.answers[l.To.Addr] = l.Who
	v.judge()
}

// leave removes a link.
func (v *View) leave(l *Link) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.links, l)
}

// judge retires links that lead elsewhere. mu is held.
func (v *View) judge() {
	for l := range v.links {
		if err := v.verdict(l); err != nil {
			l.retire(err)
		}
	}
}

// verdict returns why a link must not be used any more, or nil. mu is held.
func (v *View) verdict(l *Link) error {
	if now := v.answers[l.To.Addr]; l.Who != "" && l.Who != now {
		return fmt.Errorf("%w: another server answers at %s", errElsewhere, l.To.Addr)
	}
	switch l.slot {
	case NoMaster:
	case AnyMaster:
		if !slices.ContainsFunc(v.ranges, func(r slotRange) bool { return r.master.is(l.To) }) {
			return fmt.Errorf("%w: %s is no master any more", errElsewhere, l.To.Addr)
		}
	default:
		if s, ok := masterOf(v.ranges, l.slot); ok && !s.is(l.To) {
			return fmt.Errorf("%w: the master is %s", errElsewhere, s.Addr)
		}
	}
	return nil
}

// errElsewhere: the link works, but leads out of the system that the others are in.
var errElsewhere = errors.New("the connection leads to the wrong server")

// visit finds out who answers at an address that another server may have taken over,
// while all connections go on to the one that had it. If no server answers now, those
// connections will notice.
func (v *View) visit() {
	v.mu.Lock()
	if len(v.ranges) == 0 || len(v.links) == 0 {
		v.mu.Unlock()
		return
	}
	to := v.ranges[0].master
	known := v.answers[to.Addr] != ""
	v.mu.Unlock()
	if !known {
		return
	}
	l, err := v.DialServer(v.background.Quit, to, NoMaster, v.config.Timeout, nil)
	if err != nil {
		return
	}
	l.Close()
}
