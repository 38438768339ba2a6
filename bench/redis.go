package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

// A redisServer is a Redis of its own for one measurement, which keeps
// nothing on disk.
type redisServer struct {
	cmd  *exec.Cmd
	dir  string
	addr string
}

func startRedis() (*redisServer, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("the scenarios with Redis need redis-server: %w", err)
	}
	dir, err := os.MkdirTemp("", "juggler-bench")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	s := &redisServer{dir: dir, addr: addr.String()}
	s.cmd = exec.Command(program, "--bind", "127.0.0.1", "--port", fmt.Sprint(addr.Port),
		"--save", "", "--appendonly", "no", "--dir", dir)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.await(); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// await waits until the server listens.
func (s *redisServer) await() error {
	var err error
	for range 100 {
		var c net.Conn
		if c, err = net.Dial("tcp", s.addr); err == nil {
			return c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("redis-server does not start: %w", err)
}

func (s *redisServer) stop() error {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	return os.RemoveAll(s.dir)
}
