package redissim

import (
	"net"
	"strconv"
	"strings"
)

// Sentinel adds a sentinel that knows a master by name.
func (w *World) Sentinel(addr, name, master string) *Server {
	s := w.Server(addr)
	defer s.lock()()
	s.masters = map[string]string{name: master}
	return s
}

// Switch has a sentinel name another master, and announce it.
func (s *Server) Switch(name, to string) {
	defer s.lock()()
	from := s.masters[name]
	s.masters[name] = to
	s.epoch++
	words := []string{name}
	for _, addr := range []string{from, to} {
		host, port, _ := net.SplitHostPort(addr)
		words = append(words, host, port)
	}
	s.deliver(0, "+switch-master", strings.Join(words, " "))
}

func sentinel(c *call) any {
	if c.server.masters == nil {
		return unknownCommand(c.name)
	}
	s := c.server
	addr, known := s.masters[c.args[len(c.args)-1]]
	host, port, _ := net.SplitHostPort(addr)
	switch strings.ToLower(c.args[0]) {
	case "get-master-addr-by-name":
		if known {
			return []any{host, port}
		}
		return nilArray{}
	case "master":
		if known {
			return []any{"name", c.args[1], "ip", host, "port", port, "config-epoch", strconv.Itoa(s.epoch)}
		}
		return fault("ERR No such master with that name")
	}
	s.world.strange["SENTINEL "+c.args[0]] = true
	return fault("ERR unknown sentinel subcommand '" + c.args[0] + "'")
}
