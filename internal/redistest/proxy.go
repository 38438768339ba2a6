//go:build unix

package redistest

import (
	"net"
	"sync"
	"time"
)

// A Proxy stands between clients and a server and breaks what passes.
type Proxy struct {
	Addr string // host:port

	listener net.Listener

	mu       sync.Mutex // guards the following
	target   string
	passages map[*passage]bool
	refusing bool
	filter   func(reply []byte) bool
	held     chan struct{} // nil, or closed when Hold is over
	delay    time.Duration
	rate     int       // bytes a second; 0: as fast as they come
	free     time.Time // when the bytes that have passed are through at that rate
	closed   bool

	running sync.WaitGroup
}

// A passage is one connection through the proxy.
type passage struct {
	client, server net.Conn
	over           chan struct{} // closed by end
	forgotten      bool          // guarded by the proxy's mu
}

// StartProxy starts a proxy to the server at target.
func StartProxy(tb TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("proxy: %v", err)
	}
	p := &Proxy{Addr: l.Addr().String(), listener: l, target: target, passages: map[*passage]bool{}}
	p.running.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

// Cut closes all connections and refuses new ones, until Restore.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
	p.endAll()
}

// CutOnce closes all connections; new ones work.
func (p *Proxy) CutOnce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endAll()
}

// Refuse refuses new connections, until Restore; those of now live on.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
}

// Forget has the connections of now lead nowhere, as when a firewall or NAT on
// the way forgets them: what is sent is lost, and neither side hears of it, not
// even that the other one has closed. New connections work.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.passages {
		c.forgotten = true
	}
}

// Hold lets nothing pass until Restore, on new connections neither. What was
// sent meanwhile arrives then, as TCP has it.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = make(chan struct{})
	}
}

// Slow lets so many bytes a second pass, of all connections and both directions
// together, each piece after a delay, until Restore. 0 bytes are as many as
// come.
func (p *Proxy) Slow(rate int, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate, p.delay, p.free = rate, delay, time.Time{}
}

// Retarget has new connections lead to another server; those of now stay where
// they are.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Swallow asks lose about each piece of a reply as it is read from the server;
// where that returns true the piece is lost and its connection closed.
func (p *Proxy) Swallow(lose func(reply []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.filter = lose
}

// Restore ends what Cut, Refuse, Hold, Slow and Swallow have begun.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing, p.filter, p.rate, p.delay = false, nil, 0, 0
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

// Conns returns the number of connections that are open.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.passages)
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.listener.Close()
	p.endAll()
	p.mu.Unlock()
	p.running.Wait()
}

// endAll ends all passages. mu is held.
func (p *Proxy) endAll() {
	for c := range p.passages {
		p.end(c)
	}
}

// end closes both sides, unless that was done. mu is held.
func (p *Proxy) end(c *passage) {
	if !p.passages[c] {
		return
	}
	delete(p.passages, c)
	close(c.over)
	c.client.Close()
	c.server.Close()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refusing, target := p.refusing, p.target
		p.mu.Unlock()
		if refusing {
			client.Close()
			continue
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		if p.closed || p.refusing {
			client.Close()
			server.Close()
		} else {
			c := &passage{client: client, server: server, over: make(chan struct{})}
			p.passages[c] = true
			p.running.Go(func() { p.copy(c, server, client, false) })
			p.running.Go(func() { p.copy(c, client, server, true) })
		}
		p.mu.Unlock()
	}
}

// copy copies one direction of a passage until either side fails, then ends it,
// unless nobody may hear of that.
func (p *Proxy) copy(c *passage, to, from net.Conn, replies bool) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !c.forgotten {
			p.end(c)
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf[:p.piece(len(buf))])
		if n > 0 && p.pass(c, n) {
			if replies && p.loses(buf[:n]) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// piece is how much passes at once, of at most so much: little when the proxy is
// slow, so that bytes keep coming.
func (p *Proxy) piece(most int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate == 0 {
		return most
	}
	return min(most, 1+p.rate/50)
}

// pass waits as long as n bytes take to pass, and reports whether they arrive.
func (p *Proxy) pass(c *passage, n int) bool {
	p.mu.Lock()
	wait, held := p.delay, p.held
	if p.rate > 0 {
		now := time.Now()
		if p.free.Before(now) {
			p.free = now
		}
		p.free = p.free.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
		wait += p.free.Sub(now)
	}
	p.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-c.over:
			return false
		}
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.over:
			return false
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !c.forgotten
}

func (p *Proxy) loses(reply []byte) bool {
	p.mu.Lock()
	lose := p.filter
	p.mu.Unlock()
	return lose != nil && lose(reply)
}
