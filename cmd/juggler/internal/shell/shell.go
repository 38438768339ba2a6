package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
)

// Config says how a shell connects and looks.
type Config struct {
	URL     string          // of the first connection
	Options []client.Option // of every connection
	Timeout time.Duration   // to connect, subscribe and publish

	Out         io.Writer
	Colour      bool
	Interactive bool // shows what calls took, and goes on after a wrong command
}

// A Lines is where a shell reads commands from.
type Lines interface {
	// ReadLine returns the next line without its end, or io.EOF.
	ReadLine() (string, error)

	// SetPrompt sets what is shown in front of the next line.
	SetPrompt(prompt string)
}

// A Shell does commands, one after the other. What arrives is written as it
// comes.
type Shell struct {
	config Config
	out    *output
	names  completer

	conns   []*conn // in the order they were opened
	current *conn   // or nil
	opened  int     // connections ever opened
	calls   int     // calls ever made

	running  sync.WaitGroup // the goroutines that wait for outcomes
	watching sync.WaitGroup // those that wait for the end of subscriptions

	mu     sync.Mutex
	failed error // the first error of a call or command
}

// New returns a shell with its first connection open.
func New(ctx context.Context, config Config) (*Shell, error) {
	s := &Shell{config: config, out: &output{w: config.Out, colour: config.Colour}}
	if err := s.open(ctx, config.URL, ""); err != nil {
		return nil, err
	}
	return s, nil
}

// Run does the commands of lines until their end, exit, or the end of ctx. Where
// the lines end, the calls that are in flight come to their outcomes first. If
// the shell is not interactive, it returns the first error of a command or call.
func (s *Shell) Run(ctx context.Context, lines Lines) error {
	defer s.close()
	for {
		lines.SetPrompt(s.prompt())
		line, err := readLine(ctx, lines)
		if err == nil {
			err = s.do(ctx, line)
		}
		switch {
		case ctx.Err() != nil:
			return s.result()
		case errors.Is(err, io.EOF), errors.Is(err, errExit):
			if !s.config.Interactive {
				s.running.Wait()
			}
			return s.result()
		case err != nil:
			return err
		}
	}
}

// readLine returns the next line, or an error when ctx ends: the goroutine is
// then left to the end of the process, as a read from a terminal has no end.
func readLine(ctx context.Context, lines Lines) (string, error) {
	type read struct {
		line string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		line, err := lines.ReadLine()
		done <- read{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// do does one line. The errors of commands are written; what it returns ends
// the shell.
func (s *Shell) do(ctx context.Context, line string) error {
	c, err := Parse(line)
	switch {
	case err != nil:
		err = exit.With(exit.Usage, err)
	case c.Verb == "":
		return nil
	default:
		s.learn(c)
		var v *verb
		if v, err = verbNamed(c.Verb); err == nil {
			err = v.run(s, ctx, c)
		}
	}
	if errors.Is(err, errExit) {
		return err
	}
	if err != nil {
		s.fail(err)
		s.out.line(span{red, "error: " + Describe(err)})
	}
	return nil
}

// learn remembers the name of a command, for completion.
func (s *Shell) learn(c Command) {
	if kind := nameKinds[c.Verb]; kind != "" && len(c.Names) > 0 {
		s.names.learn(kind, c.Names[0])
	}
}

// fail records the first error.
func (s *Shell) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// result is what Run returns: the first error, with its exit code and without
// its text, which was written.
func (s *Shell) result() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil || s.config.Interactive {
		return nil
	}
	return exit.With(CodeOf(s.failed), errors.New(""))
}

func (s *Shell) close() {
	for _, c := range s.conns {
		c.close()
	}
	s.running.Wait()
	s.watching.Wait()
}

func (s *Shell) prompt() string {
	switch {
	case s.current == nil:
		return "(not connected)> "
	case len(s.conns) == 1:
		return "> "
	}
	return s.current.name + "> "
}

// open opens a connection and makes it the current one.
func (s *Shell) open(ctx context.Context, url, name string) error {
	if name == "" {
		name = strconv.Itoa(s.opened + 1)
	}
	for _, c := range s.conns {
		if c.name == name {
			return exit.With(exit.Usage, fmt.Errorf("there is a connection %s already; disconnect it first", name))
		}
	}
	c, err := dial(ctx, s, name, url)
	if err != nil {
		return err
	}
	if s.opened++; s.opened > 1 {
		s.out.nameLines()
	}
	s.conns = append(s.conns, c)
	s.current = c
	s.names.learn(connectionName, name)
	s.names.learn(urlName, url)
	c.say(span{green, "connected to " + url + sessionText(c.client.Session())})
	return nil
}

func sessionText(session string) string {
	if session == "" {
		return ""
	}
	return ", session " + session
}

func (s *Shell) connect(ctx context.Context, c Command) error {
	name := ""
	if len(c.Names) > 1 {
		name = c.Names[1]
	}
	return s.open(ctx, c.Names[0], name)
}

// named returns the connection with a name, or the current one for none.
func (s *Shell) named(names []string) (*conn, error) {
	if len(names) == 0 {
		if s.current == nil {
			return nil, exit.With(exit.Usage, errors.New("not connected; connect URL opens a connection"))
		}
		return s.current, nil
	}
	known := make([]string, 0, len(s.conns))
	for _, c := range s.conns {
		if c.name == names[0] {
			return c, nil
		}
		known = append(known, c.name)
	}
	sort.Strings(known)
	return nil, exit.With(exit.Usage, fmt.Errorf("no connection %q; there are %q", names[0], known))
}

func (s *Shell) disconnect(_ context.Context, c Command) error {
	k, err := s.named(c.Names)
	if err != nil {
		return err
	}
	k.close()
	for i := range s.conns {
		if s.conns[i] == k {
			s.conns = append(s.conns[:i], s.conns[i+1:]...)
			break
		}
	}
	if s.current == k {
		s.current = nil
		if len(s.conns) > 0 {
			s.current = s.conns[len(s.conns)-1]
		}
	}
	s.out.line(span{dim, "disconnected from " + k.url})
	return nil
}

func (s *Shell) use(_ context.Context, c Command) error {
	k, err := s.named(c.Names)
	if err == nil {
		s.current = k
	}
	return err
}

func (s *Shell) status(context.Context, Command) error {
	for _, c := range s.conns {
		mark := "  "
		if c == s.current {
			mark = "* "
		}
		s.out.line(span{plain, mark + c.describe()})
	}
	if len(s.conns) == 0 {
		s.out.line(span{plain, "no connections"})
	}
	return nil
}

func (s *Shell) wait(ctx context.Context, c Command) error {
	var more time.Duration
	if len(c.Names) > 0 {
		d, err := time.ParseDuration(c.Names[0])
		if err != nil || d < 0 {
			return exit.With(exit.Usage, fmt.Errorf("wait %q: want a time such as 500ms or 10s", c.Names[0]))
		}
		more = d
	}
	s.running.Wait()
	select {
	case <-ctx.Done():
	case <-time.After(more):
	}
	return nil
}
