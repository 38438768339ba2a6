//go:build unix

package redistest

import (
	"net"
	"sync"
)

// A Proxy stands between a client and a server and breaks what passes.
type Proxy struct {
	Addr string // host:port

	tb     TB
	target string

	mu       sync.Mutex // guards the following
	listener net.Listener
	conns    map[net.Conn]bool // both sides
	refusing bool
	filter   func(reply []byte) bool
	closed   bool

	running sync.WaitGroup
}

// StartProxy starts a proxy to the server at target.
func StartProxy(tb TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("proxy: %v", err)
	}
	p := &Proxy{Addr: l.Addr().String(), tb: tb, target: target, listener: l, conns: map[net.Conn]bool{}}
	p.running.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

// Cut closes all connections and refuses new ones, until Restore.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
	p.closeConns()
}

// Restore ends what Cut and Swallow have begun.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing, p.filter = false, nil
}

// CutOnce closes all connections; new ones work.
func (p *Proxy) CutOnce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeConns()
}

// Swallow asks lose about each piece of a reply as it is read from the server;
// where that returns true the piece is lost and its connection closed.
func (p *Proxy) Swallow(lose func(reply []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.filter = lose
}

// Conns returns the number of connections that are open.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) / 2
}

func (p *Proxy) closeConns() {
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.listener.Close()
	p.closeConns()
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refusing := p.refusing
		p.mu.Unlock()
		if refusing {
			client.Close()
			continue
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		if p.closed || p.refusing {
			client.Close()
			server.Close()
		} else {
			p.conns[client], p.conns[server] = true, true
			p.running.Go(func() { p.copy(server, client, false) })
			p.running.Go(func() { p.copy(client, server, true) })
		}
		p.mu.Unlock()
	}
}

// copy copies until either side fails, then closes both.
func (p *Proxy) copy(to, from net.Conn, replies bool) {
	defer func() {
		p.mu.Lock()
		delete(p.conns, to)
		delete(p.conns, from)
		p.mu.Unlock()
		to.Close()
		from.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
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

func (p *Proxy) loses(reply []byte) bool {
	p.mu.Lock()
	lose := p.filter
	p.mu.Unlock()
	return lose != nil && lose(reply)
}
