package prober

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// explainTime is what a lost connection's reason has to come, such as that the program has died.
const explainTime = 300 * time.Millisecond

// A session is a case that is played with a program. Everything happens on the goroutine that
// plays it: those that read hand over to its inbox what they have read.
type session struct {
	ctx      context.Context
	patience time.Duration
	log      *transcript

	listener net.Listener
	program  *program
	inbox    chan func() *fault
	readers  sync.WaitGroup

	callers []*caller // who have connected and were not answered
	peers   []*peer
	vars    variables

	protocol string
	last     time.Time // when the step before ended
	ending   bool      // the program was told to end: what its client sends does not matter any more
}

// play plays a case with a program, and fills in what becomes of it.
func (r *result) play(ctx context.Context, c *Case, command []string, patience time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	s := &session{
		ctx: ctx, patience: patience, log: &r.log,
		inbox: make(chan func() *fault), vars: make(variables), protocol: cmp.Or(c.Protocol, "juggler.1"),
	}
	defer s.readers.Wait()
	defer cancel()
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		r.fault = &fault{what: err.Error()}
		return
	}
	defer s.listener.Close()
	s.readers.Go(s.listen)
	if s.program, err = start(ctx, command, "ws://"+s.listener.Addr().String()+"/", c.Token); err != nil {
		r.fault = &fault{what: err.Error(), rule: ownRule}
		return
	}
	defer s.hangUp()
	ended := make(chan struct{})
	s.readers.Go(func() { defer close(ended); s.readProgram() })
	r.left, r.fault = s.playCase(c)
	cancel()
	<-ended // before, its standard error is not whole
	r.stderr = string(s.program.stderr.text)
}

func (s *session) hangUp() {
	for _, p := range s.peers {
		p.conn.Close() //nolint:errcheck // it is over
	}
	for _, c := range s.callers {
		c.conn.Close() //nolint:errcheck // as above
	}
}

func (s *session) playCase(c *Case) (left string, f *fault) {
	steps := c.Steps
	if steps[0].Accept == nil && steps[0].Storm == nil {
		steps = slices.Insert(slices.Clone(steps), 0, Step{Accept: new(Accept)})
	}
	if c.Protocol != "" {
		if f := s.until("the client connects", func() bool { return len(s.callers) > 0 }); f != nil {
			return "", f
		}
		if !s.callers[0].offers(c.Protocol) {
			return "the client does not offer " + c.Protocol, nil
		}
	}
	for _, step := range steps {
		if f := s.step(step); f != nil {
			return "", f
		}
	}
	return "", s.finish()
}

// finish ends the program, which has to have told and sent nothing besides.
func (s *session) finish() *fault {
	if f := s.program.toldMore("result", "error", "event", "part", "here"); f != nil {
		return f
	}
	if f := s.sentMore(); f != nil {
		return f
	}
	s.ending = true
	s.log.tell("(ends)")
	s.program.stdin.Close() //nolint:errcheck // it may have ended
	f := s.until("the program ends, as its standard input has", func() bool { return s.program.over })
	if f == nil && s.program.result != nil {
		f = &fault{what: fmt.Sprintf("the program ended with %v when its standard input did; want exit status 0", s.program.result), rule: ownRule}
	}
	return cmp.Or(f, s.program.toldMore("result", "event", "part")) // of the rest there may be some at the end
}

// sentMore returns the fault that a request is which no step has taken.
func (s *session) sentMore() *fault {
	for _, p := range s.peers {
		for _, m := range p.messages {
			if !p.closed && !m.tidies() {
				return &fault{what: fmt.Sprintf("the client sent %s; no request was due", cut(string(m.text)))}
			}
		}
	}
	return nil
}

// step plays one step.
func (s *session) step(step Step) *fault {
	if step.Either == nil { // its first one is played next
		defer func() { s.last = time.Now() }()
	}
	switch {
	case step.Tell != nil:
		return s.tell(s.vars.fill(step.Tell))
	case step.Told != nil:
		return s.told(step.Told)
	case step.Accept != nil:
		return s.accept(step.Accept)
	case step.Storm != nil:
		return s.storm(step.Storm)
	case step.Quiet > 0:
		return s.quiet(time.Duration(step.Quiet) * time.Millisecond)
	case step.Either != nil:
		return s.either(step.Either)
	}
	return s.onPeer(s.peer(step), step)
}

func (s *session) onPeer(p *peer, step Step) *fault {
	switch {
	case step.Want != nil:
		return s.want(p, step.Want, time.Duration(step.After)*time.Millisecond)
	case step.Send != nil:
		p.send(s.vars.fill(compactText(step.Send)), step.Split)
	case step.Text != "":
		p.send(s.vars.fill([]byte(step.Text)), step.Split)
	case step.Pings > 0:
		return s.pings(p, step.Pings)
	case step.WSPing != "":
		p.frame(ws.NewPingFrame([]byte(step.WSPing)))
		return s.until(fmt.Sprintf("the client answers the WebSocket ping %q with a pong of the same text (RFC 6455, 5.5.3)", step.WSPing),
			func() bool { return slices.Contains(p.pongs, step.WSPing) })
	case step.Close > 0:
		p.close(step.Close)
	case step.Drop:
		p.reset()
	case step.Gone:
		return s.until("the client ends the connection", func() bool { return p.over })
	}
	return nil
}

// compactText returns JSON of a case as it goes into one line.
func compactText(value json.RawMessage) []byte {
	var text bytes.Buffer
	if err := json.Compact(&text, value); err != nil {
		panic(err) // a test reads the cases
	}
	return text.Bytes()
}

func (s *session) tell(command []byte) *fault {
	command = compactText(command)
	s.log.tell(string(command))
	if _, err := s.program.stdin.Write(append(command, '\n')); err != nil {
		return s.until("the program reads", func() bool { return false }) // it has ended
	}
	return nil
}

func (s *session) told(pattern json.RawMessage) *fault {
	pattern = s.vars.fill(pattern)
	lines, queue := s.program.lines, queueOf(membersOf(pattern))
	f := s.until(fmt.Sprintf("the program tells %s", compactText(pattern)), func() bool { return len(lines[queue]) > 0 })
	if f != nil {
		return f
	}
	text := lines[queue][0]
	lines[queue] = lines[queue][1:]
	if differs := s.vars.match(pattern, text); differs != "" {
		return &fault{what: fmt.Sprintf("the program told %s: %s", cut(string(text)), differs)}
	}
	return nil
}

func (s *session) want(p *peer, pattern json.RawMessage, after time.Duration) *fault {
	pattern = s.vars.fill(pattern)
	i := -1
	what := fmt.Sprintf("the client sends %s", compactText(pattern))
	if f := s.until(what, func() bool { i = p.due(pattern); return i >= 0 || p.over }); f != nil {
		return f
	}
	if i < 0 {
		if f := s.wait(explainTime, func() bool { return false }); f != nil {
			return f
		}
		return &fault{what: "the client ended the connection; want that " + what}
	}
	m := p.messages[i]
	p.messages = slices.Delete(p.messages, i, i+1)
	if differs := s.vars.match(pattern, m.text); differs != "" {
		return &fault{what: fmt.Sprintf("the client sent %s: %s", cut(string(m.text)), differs)}
	}
	if took := m.at.Sub(s.last); after > 0 && took < after {
		return &fault{what: fmt.Sprintf("the client sent %s after %d ms; want %d ms or more", cut(string(m.text)), took.Milliseconds(), after.Milliseconds())}
	}
	return nil
}

// pings has the client answer PINGs, one after each interval.
func (s *session) pings(p *peer, n int) *fault {
	for range n {
		if f := s.wait(p.referee.hello.Ping, func() bool { return p.over }); f != nil || p.over {
			return cmp.Or(f, &fault{what: "the client ended the connection though PING came in time"})
		}
		before := p.answers
		p.send([]byte(`{"type":"PING"}`), 1)
		if f := s.until("the client answers PING with PONG", func() bool { return p.answers > before }); f != nil {
			return f
		}
	}
	return nil
}

// either plays the branch whose first step takes what comes first.
func (s *session) either(branches [][]Step) *fault {
	var taken []Step
	f := s.until("the client does one of what it may", func() bool {
		for _, steps := range branches {
			if s.due(steps[0]) {
				taken = steps
				return true
			}
		}
		return false
	})
	for _, step := range taken {
		if f = s.step(step); f != nil {
			return f
		}
	}
	return f
}

// due reports whether there is what a step would take.
func (s *session) due(step Step) bool {
	switch {
	case step.Told != nil:
		return len(s.program.lines[queueOf(membersOf(step.Told))]) > 0
	case step.Accept != nil:
		return len(s.callers) > 0
	}
	p := s.peer(step)
	return step.Gone && p.over || step.Want != nil && p.due(step.Want) >= 0
}

// peer returns the connection that a step is about.
func (s *session) peer(step Step) *peer {
	if step.On > 0 {
		return s.peers[step.On-1]
	}
	return s.peers[len(s.peers)-1]
}

// membersOf returns the members of an object of a case, or of a message that was decoded.
func membersOf(object json.RawMessage) (members map[string]json.RawMessage) {
	if err := json.Unmarshal(object, &members); err != nil {
		panic(err) // a test reads the cases
	}
	return members
}
