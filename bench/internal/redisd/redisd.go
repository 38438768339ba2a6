// Package redisd starts a Redis server for one measurement.
package redisd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/juggler-go/juggler/internal/freeport"
)

// A Server is a Redis of its own, which keeps nothing on disk.
type Server struct {
	Addr string // host:port
	cmd  *exec.Cmd
	dir  string

	release func() // the port
}

// Start starts redis-server on a free port of the loopback interface.
func Start() (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("what is measured with Redis needs redis-server: %w", err)
	}
	dir, err := os.MkdirTemp("", "juggler-bench")
	if err != nil {
		return nil, err
	}
	port, release, err := freeport.Reserve()
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, Addr: fmt.Sprint("127.0.0.1:", port), release: release}
	s.cmd = exec.Command(program, "--bind", "127.0.0.1", "--port", fmt.Sprint(port),
		"--save", "", "--appendonly", "no", "--dir", dir)
	if err := s.cmd.Start(); err != nil {
		release()
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.await(); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// await waits until the server listens.
func (s *Server) await() error {
	var err error
	for range 100 {
		var c net.Conn
		if c, err = net.Dial("tcp", s.Addr); err == nil {
			return c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("redis-server does not start: %w", err)
}

// Stop ends the server and removes its directory.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.release()
	return os.RemoveAll(s.dir)
}
