package redissim

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A session is the server's side of a connection. Its goroutine reads commands;
// whoever holds world.mu runs them.
type session struct {
	server *Server
	link   *link

	// Guarded by world.mu.
	pending [][]string // commands that were not run yet
	waits   *wait
	out     []byte
	closed  bool
	topics  map[topic]bool
	order   []topic // of topics
}

// A wait is a blocking pop under way.
type wait struct {
	call  call
	timer *time.Timer // nil: for ever
	over  bool        // its time is, and the server stood still
}

// read runs until the connection ends.
func (s *session) read() {
	in := bufio.NewReader(s.link.server)
	for {
		words, err := readCommand(in)
		s.server.world.mu.Lock()
		if err != nil {
			s.close()
			s.server.world.mu.Unlock()
			return
		}
		s.pending = append(s.pending, words)
		if in.Buffered() == 0 {
			s.run()
			s.server.serve()
		}
		s.server.world.mu.Unlock()
	}
}

func readCommand(in *bufio.Reader) ([]string, error) {
	n, err := readCount(in, '*')
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		size, err := readCount(in, '$')
		if err != nil {
			return nil, err
		}
		text := make([]byte, size+2)
		if _, err := io.ReadFull(in, text); err != nil {
			return nil, err
		}
		words[i] = string(text[:size])
	}
	return words, nil
}

func readCount(in *bufio.Reader, kind byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if line[0] != kind || err != nil || n < 0 {
		return 0, fmt.Errorf("redissim: unexpected %q", line)
	}
	return n, nil
}

// close forgets the session. world.mu is held.
func (s *session) close() {
	if s.closed {
		return
	}
	s.closed = true
	s.unblock()
	s.link.server.Close()
	w := s.server.world
	w.links = slices.DeleteFunc(w.links, func(l *link) bool { return l == s.link })
	s.server.sessions = slices.DeleteFunc(s.server.sessions, func(o *session) bool { return o == s })
}

// run runs the commands that came, as far as the server does not stand still
// and none blocks. world.mu is held.
func (s *session) run() {
	for !s.closed && !s.server.paused && s.waits == nil && len(s.pending) > 0 {
		words := s.pending[0]
		s.pending = s.pending[1:]
		s.reply(s.do(strings.ToUpper(words[0]), words[1:]))
	}
	s.flush()
}

func (s *session) do(name string, args []string) any {
	c, known := commands[name]
	switch {
	case !known:
		if name != "HELLO" { // as a server before Redis 6
			s.server.world.strange[name] = true
		}
		return unknownCommand(name)
	case len(args) < c.least:
		return fault("ERR wrong number of arguments for '" + strings.ToLower(name) + "' command")
	case s.server.loading && c.flags&always == 0:
		return fault("LOADING Redis is loading the dataset in memory")
	case s.subscribed() && c.flags&subscribe == 0:
		return fault("ERR Can't execute '" + strings.ToLower(name) + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
	}
	if c.keys != nil {
		if err := s.server.elsewhere(c.keys(args)); err != nil {
			return err
		}
	}
	if err := s.server.refuses(c, name, false, false); err != nil {
		return err
	}
	return c.do(&call{server: s.server, session: s, name: name, args: args})
}

func (s *session) reply(value any) { s.out = appendReply(s.out, value) }

// flush sends the replies, or loses them.
func (s *session) flush() {
	out := s.out
	if s.out = nil; len(out) == 0 || s.closed {
		return
	}
	if s.link.losing {
		s.link.reset()
		s.close()
		return
	}
	s.link.server.Write(out) //nolint:errcheck // the reader notices
}

func appendReply(b []byte, value any) []byte {
	switch v := value.(type) {
	case silence:
		return b
	case nil:
		return append(b, "$-1\r\n"...)
	case nilArray:
		return append(b, "*-1\r\n"...)
	case status:
		return append(b, "+"+string(v)+"\r\n"...)
	case fault:
		return append(b, "-"+strings.NewReplacer("\r", " ", "\n", " ").Replace(string(v))+"\r\n"...)
	case int:
		return append(strconv.AppendInt(append(b, ':'), int64(v), 10), "\r\n"...)
	case string:
		b = append(strconv.AppendInt(append(b, '$'), int64(len(v)), 10), "\r\n"...)
		return append(append(b, v...), "\r\n"...)
	case []any:
		b = append(strconv.AppendInt(append(b, '*'), int64(len(v)), 10), "\r\n"...)
		for _, e := range v {
			b = appendReply(b, e)
		}
		return b
	}
	panic(fmt.Sprintf("redissim: a reply of type %T", value))
}

// blockingPop pops, or waits until serve finds something, or its time is over.
func blockingPop(c *call) any {
	seconds, err := strconv.ParseFloat(c.args[len(c.args)-1], 64)
	if err != nil || seconds < 0 {
		return fault("ERR timeout is not a float or out of range")
	}
	if value := c.popAny(); value != nil {
		return value
	}
	if c.session == nil { // in a script nothing blocks
		return nilArray{}
	}
	s, w := c.session, &wait{call: *c}
	if seconds > 0 {
		w.timer = time.AfterFunc(time.Duration(seconds*float64(time.Second)), func() { s.timeout(w) })
	}
	s.waits = w
	s.server.blocked = append(s.server.blocked, s)
	return silence{}
}

// popAny pops from the first of the keys that has something; nil: none has.
func (c *call) popAny() any {
	for _, key := range blocking(c.args) {
		e := c.get(key)
		switch {
		case e == nil:
		case c.name == "BZPOPMIN" && len(e.zset) > 0:
			return c.popLowest(key, e)
		case c.name != "BZPOPMIN" && len(e.list) > 0:
			one := *c
			one.name = c.name[1:]
			return []any{key, one.popFrom(key, e)}
		}
	}
	return nil
}

// timeout ends a blocking pop that found nothing.
func (s *session) timeout(w *wait) {
	defer s.server.lock()()
	switch {
	case s.waits != w:
	case s.server.paused:
		w.over = true
	default:
		s.resume(nilArray{})
		s.server.serve()
	}
}

// expire ends a blocking pop whose time was over while the server stood still.
func (s *session) expire() {
	if s.waits != nil && s.waits.over {
		s.resume(nilArray{})
	}
}

// resume ends a blocking pop with a reply, and runs what came behind it.
func (s *session) resume(value any) {
	s.unblock()
	s.reply(value)
	s.run()
}

func (s *session) unblock() {
	if s.waits == nil {
		return
	}
	if s.waits.timer != nil {
		s.waits.timer.Stop()
	}
	s.waits = nil
	s.server.blocked = slices.DeleteFunc(s.server.blocked, func(o *session) bool { return o == s })
}

// serve gives what lies in lists to those who wait for it. world.mu is held.
func (s *Server) serve() {
	for served := true; served && !s.paused; {
		served = false
		for _, session := range slices.Clone(s.blocked) {
			if session.waits == nil {
				continue
			}
			if value := session.waits.call.popAny(); value != nil {
				session.resume(value)
				served = true
			}
		}
	}
}
