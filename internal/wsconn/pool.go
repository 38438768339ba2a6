package wsconn

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/internal/netpoll"
)

// config is a Config with what is derived from it once; times are in ms.
type config struct {
	Config
	start        time.Time // the zero of Group.Now
	tooBig       string    // the reason of 1009
	readTimeout  int64
	writeTimeout int64
	closeTimeout int64
	ping         int64

	backlog atomic.Int64  // the sum over the groups
	fullest func() *Group // the pool's
}

// milliseconds rounds up: no deadline comes early, and none becomes "never".
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// Pool is all connections of one server. Its methods may be called
// concurrently, but not on a turn.
type Pool struct {
	cfg config

	mu       sync.Mutex // guards the following
	closed   bool
	loops    []*Group // nil until they are first needed
	portable []*Group // the same
	noted    map[string]bool
}

// adoption is a connection on its way into its group.
type adoption struct {
	fd       int      // for a loop
	nc       net.Conn // for a portable group
	buffered []byte
	open     func(*Group)
}

// NewPool returns a Pool that has started nothing yet: loops and goroutines
// come with the connections that need them.
func NewPool(c Config) *Pool {
	if c.Loops <= 0 {
		c.Loops = min(max(1, runtime.GOMAXPROCS(0)/2), 16)
	}
	p := &Pool{
		cfg: config{
			Config:       c,
			start:        time.Now(),
			tooBig:       "message of more than " + strconv.Itoa(c.MaxMessage) + " bytes",
			readTimeout:  milliseconds(c.ReadTimeout),
			writeTimeout: milliseconds(c.WriteTimeout),
			closeTimeout: milliseconds(c.CloseTimeout),
			ping:         milliseconds(c.Ping),
		},
		loops:    make([]*Group, c.Loops),
		portable: make([]*Group, c.Loops),
		noted:    make(map[string]bool),
	}
	p.cfg.fullest = p.fullest
	return p
}

// Adopt takes over nc, the connection of an upgrade request, after it was
// hijacked. buffered is what the hijacked reader had already read of the
// connection; it belongs to wsconn from then on.
//
// open is called exactly once if Adopt returns nil, on a turn of the group
// that was chosen for the connection, before or after Adopt returns. It
// passes the Conn of its session to [Group.Attach] and may then use it as any
// callback may. If it does not attach one, nc is closed without an answer.
//
// If Adopt returns an error, because there is no file descriptor left or the
// pool is closed, open is not called and nc is as it was: the caller can
// still answer the request.
func (p *Pool) Adopt(nc net.Conn, buffered []byte, open func(g *Group)) error {
	a := adoption{buffered: buffered, open: open}
	fd, plain, err := netpoll.Duplicate(nc)
	switch {
	case err != nil:
		return fmt.Errorf("wsconn: take over connection: %w", err)
	case !plain:
		a.nc = nc
		p.notePortable(nc)
		return p.adopt(p.portable, newPortable, a)
	}
	a.fd = fd
	if err := p.adopt(p.loops, startLoop, a); err != nil {
		_ = netpoll.Close(fd)
		return err
	}
	// The socket lives on in fd, and Go's poller has to let go of it.
	_ = nc.Close()
	return nil
}

// adopt gives a to the group with the fewest connections, which it starts if
// there is none yet.
func (p *Pool) adopt(groups []*Group, start func(*config) (*Group, error), a adoption) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ErrPoolClosed
	}
	least := 0
	for i, g := range groups {
		if g == nil {
			least = i
			break
		}
		if g.load.Load() < groups[least].load.Load() {
			least = i
		}
	}
	if groups[least] == nil {
		g, err := start(&p.cfg)
		if err != nil {
			p.mu.Unlock()
			return fmt.Errorf("wsconn: start event loop: %w", err)
		}
		groups[least] = g
	}
	g := groups[least]
	g.load.Add(1)
	p.mu.Unlock()

	err := g.transport.adopt(a)
	if err != nil {
		g.load.Add(-1)
	}
	return err
}

// notePortable logs once for each listener that its connections take the
// portable path where others need not: a loop would have been cheaper.
func (p *Pool) notePortable(nc net.Conn) {
	if p.cfg.Logger == nil || !netpoll.Supported {
		return
	}
	const most = 64 // bounds what is remembered where listeners come and go, as in tests
	kind, addr := fmt.Sprintf("%T", nc), "unknown"
	if a := nc.LocalAddr(); a != nil {
		addr = a.String()
	}
	p.mu.Lock()
	first := !p.noted[kind+addr] && len(p.noted) < most
	if first {
		p.noted[kind+addr] = true
	}
	p.mu.Unlock()
	if first {
		p.cfg.Logger.Info("connections of this listener take the portable path, with a goroutine each",
			"listener", addr, "kind", kind)
	}
}

// Stats is how many connections a pool has.
type Stats struct {
	Loop     int // served by event loops
	Portable int // with a goroutine each
}

// Stats counts the connections, those just being adopted or closed included.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Loop: load(p.loops), Portable: load(p.portable)}
}

func load(groups []*Group) (n int) {
	for _, g := range groups {
		if g != nil {
			n += int(g.load.Load())
		}
	}
	return n
}

// Close resets every connection and ends the loops. When it returns, Closed
// was called for every Conn, and no goroutine, timer or descriptor of the
// pool is left. Closing twice is closing once.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	var groups []*Group
	for _, g := range slices.Concat(p.loops, p.portable) {
		if g != nil {
			groups = append(groups, g)
		}
	}
	p.mu.Unlock()
	for _, g := range groups {
		g.transport.close()
	}
	return nil
}
