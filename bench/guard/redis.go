package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/bench/internal/peer"
	"github.com/juggler-go/juggler/bench/internal/redisd"
)

// redisCalls measures lone calls through Redis: the commands that are sent and
// those that scripts run, as MONITOR shows them, and the allocations of the
// node and the callee.
func redisCalls() (all []guarded, err error) {
	redis.SetLogger(silent{})
	server, err := redisd.Start()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	if err := os.Setenv(peer.RedisVariable, server.Addr); err != nil {
		return nil, err
	}
	if _, err := peer.Start("redis-callee-64"); err != nil {
		return nil, err
	}
	addr, err := peer.Start("juggler-redis")
	if err != nil {
		return nil, err
	}
	c, err := dialRaw(addr, "juggler.1", &clientCalls{}, make([]byte, readBuffer))
	if err != nil {
		return nil, err
	}
	defer c.close()
	out := masked(`{"type":"CALL","id":"1","uri":"echo","args":{"text":"0123456789"}}`)
	call := func() error {
		if err := c.write(out); err != nil {
			return err
		}
		return c.messages(2)
	}
	g, err := trial{what: "Redis: a lone call, node and callee", times: 200, do: call}.measure()
	if err != nil {
		return nil, err
	}
	m, err := newMonitor(server.Addr)
	if err != nil {
		return nil, err
	}
	defer m.close()
	for round := range rounds {
		const times = 100
		s, i, err := m.during(times, call)
		if err != nil {
			return nil, err
		}
		if each := float64(s) / times; round == 0 || each < g.Costs[sent] {
			g.Costs[sent] = each
		}
		if each := float64(i) / times; round == 0 || each < g.Costs[inner] {
			g.Costs[inner] = each
		}
	}
	return []guarded{g}, nil
}

// silent is the logger of package redis: the server ends before its clients.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// A monitor is a connection to Redis that is told of every command.
type monitor struct {
	conn  net.Conn // of MONITOR
	other net.Conn // says where a round ends
	lines *bufio.Scanner
	round int
}

func newMonitor(addr string) (*monitor, error) {
	m := &monitor{}
	var err error
	if m.conn, err = net.Dial("tcp", addr); err != nil {
		return nil, err
	}
	if m.other, err = net.Dial("tcp", addr); err != nil {
		return nil, errors.Join(err, m.conn.Close())
	}
	m.lines = bufio.NewScanner(m.conn)
	if _, err := m.conn.Write([]byte("MONITOR\r\n")); err != nil {
		m.close()
		return nil, err
	}
	if !m.lines.Scan() {
		m.close()
		return nil, fmt.Errorf("MONITOR: %w", m.lines.Err())
	}
	return m, nil
}

func (m *monitor) close() {
	_ = m.conn.Close()
	_ = m.other.Close()
}

// during does something so many times and counts the commands meanwhile:
// those that were sent, and those of scripts.
func (m *monitor) during(times int, do func() error) (sent, inner int, err error) {
	if err := m.skip(); err != nil {
		return 0, 0, err
	}
	for range times {
		if err := do(); err != nil {
			return 0, 0, err
		}
	}
	return m.count()
}

func (m *monitor) skip() error {
	_, _, err := m.count()
	return err
}

// count takes what was seen so far: up to a command of its own.
func (m *monitor) count() (sent, inner int, err error) {
	m.round++
	end := fmt.Sprintf("guard-%d", m.round)
	if _, err := fmt.Fprintf(m.other, "ECHO %s\r\n", end); err != nil {
		return 0, 0, err
	}
	if err := m.conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return 0, 0, err
	}
	for m.lines.Scan() {
		// +1700000000.123456 [0 127.0.0.1:40000] "echo" "guard-1", or [0 lua]
		switch line := m.lines.Text(); {
		case strings.HasSuffix(line, `"`+end+`"`):
			return sent, inner, nil
		case strings.Contains(line, " lua] "):
			inner++
		default:
			sent++
		}
	}
	return 0, 0, fmt.Errorf("MONITOR: %w", m.lines.Err())
}
