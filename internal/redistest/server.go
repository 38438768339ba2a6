//go:build unix

// Package redistest starts real Redis servers on loopback for tests:
// standalone, a cluster, or a set watched by Sentinel. They live in temporary
// directories and end with the test, or with its process.
//
// The program is redis-server on PATH, or what the variable JUGGLER_TEST_REDIS
// names: another version, or valkey-server. Without it tests fail: a test that
// is skipped in silence proves nothing.
package redistest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/internal/child"
	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/juggler-go/juggler/internal/waiting"
)

// TB is what the package needs of testing.TB. TestMain, which has none, can
// give an implementation of its own.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	TempDir() string
	Cleanup(func())
}

// background is the context of commands: go-redis bounds them.
var background = context.Background()

// A Server is one redis-server process, or none while it is stopped.
type Server struct {
	Addr string // host:port, the same after a restart

	tb      TB
	program string
	dir     string
	args    []string
	process *exec.Cmd
	exited  chan struct{}
}

// Start starts a server with more arguments, as on the command line: "--maxmemory",
// "10mb". It keeps nothing on disk.
func Start(tb TB, args ...string) *Server {
	tb.Helper()
	args = append([]string{
		"--save", "", "--appendonly", "no", "--rdb-del-sync-files", "yes",
		"--repl-diskless-sync-delay", "0", // a replica need not wait for others
	}, args...)
	return start(tb, nil, args)
}

// start starts a server with a free port between the two lists of arguments.
func start(tb TB, first, last []string) *Server {
	tb.Helper()
	port := freeport.Take(tb)
	s := &Server{
		Addr:    net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		tb:      tb,
		program: find(tb),
		dir:     tb.TempDir(),
	}
	s.args = slices.Concat(first, []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", s.dir}, last)
	s.Restart()
	tb.Cleanup(s.Kill)
	return s
}

// find returns the path of the server's program.
func find(tb TB) string {
	tb.Helper()
	program := cmp.Or(os.Getenv("JUGGLER_TEST_REDIS"), "redis-server")
	path, err := exec.LookPath(program)
	if err != nil {
		tb.Fatalf("%s is needed and was not found. Install it (apt-get update && apt-get install -y redis-server redis-tools), or set JUGGLER_TEST_REDIS to the path of redis-server, or of a server like it.", program)
	}
	return path
}

// Restart starts the process, which must not run, and waits until it answers.
func (s *Server) Restart() {
	s.tb.Helper()
	s.process = exec.Command(s.program, s.args...)
	var output bytes.Buffer
	s.process.Stdout, s.process.Stderr = &output, &output
	if err := child.Start(s.process); err != nil {
		s.tb.Fatalf("start %s: %v", s.program, err)
	}
	exited, process := make(chan struct{}), s.process
	s.exited = exited
	go func() { // ends with the process
		process.Wait() //nolint:errcheck // killed
		close(exited)
	}()
	deadline := time.Now().Add(waiting.Most)
	for !s.answers() {
		select {
		case <-exited:
			s.tb.Fatalf("%s ended: %s", s.program, output.String())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.tb.Fatalf("%s on %s does not answer", s.program, s.Addr)
		}
	}
}

// answers reports whether the server takes commands: also with an error, such
// as that a password is needed.
func (s *Server) answers() bool {
	conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second)) //nolint:errcheck // the read tells
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	return err == nil && n > 0 && !bytes.HasPrefix(buf[:n], []byte("-LOADING"))
}

// Kill ends the process as a crash does. It may be called when there is none.
func (s *Server) Kill() {
	s.process.Process.Kill() //nolint:errcheck // may have ended
	<-s.exited
}

// Pause stops the process in its tracks; connections stay open.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.tb.Helper()
	if err := s.process.Process.Signal(sig); err != nil {
		s.tb.Fatalf("signal %v: %v", sig, err)
	}
}

// Client returns a client for what a test does behind a broker's back.
func (s *Server) Client() *goredis.Client {
	c := s.connect()
	s.tb.Cleanup(func() { c.Close() })
	return c
}

func (s *Server) connect() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: s.Addr, Protocol: 2, DisableIdentity: true})
}

// Do runs a command, which must not fail, on a connection of its own.
func (s *Server) Do(args ...any) any {
	s.tb.Helper()
	reply, err := s.do(args...)
	if err != nil {
		s.tb.Fatalf("%s on %s: %v", args[0], s.Addr, err)
	}
	return reply
}

// awaitInfo waits until a section of INFO contains line.
func (s *Server) awaitInfo(section, line string) {
	s.tb.Helper()
	waiting.Until(s.tb, s.Addr+" says "+line, func() bool {
		info, _ := s.do("INFO", section)
		return strings.Contains(fmt.Sprint(info), line)
	})
}

// do runs a command on a connection of its own.
func (s *Server) do(args ...any) (any, error) {
	c := s.connect()
	defer c.Close()
	return c.Do(background, args...).Result()
}
