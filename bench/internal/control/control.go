// Package control lets the load generator ask the process under test what it
// has used, over a TCP connection of its own: a line with a command, answered
// by a line of JSON.
package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what a process has used since it began, and what it holds now.
type Usage struct {
	CPU        time.Duration // user and system
	Mallocs    uint64        // heap objects allocated so far
	Heap       uint64        // bytes of heap objects, live or not collected yet
	Stacks     uint64        // bytes of goroutine stacks
	Goroutines int
	RSS        int64 // bytes resident
	Switches   int64 // context switches
	Reads      int   // system calls that read
	Writes     int   // and that write
	Error      string
}

// CPU returns the user and system time of this process.
func CPU() time.Duration {
	cpu, _ := rusage()
	return cpu
}

func rusage() (cpu time.Duration, switches int64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Nvcsw + u.Nivcsw
}

func usage() Usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := Usage{
		Mallocs:    m.Mallocs,
		Heap:       m.HeapAlloc,
		Stacks:     m.StackInuse,
		Goroutines: runtime.NumGoroutine(),
		RSS:        resident(),
	}
	u.CPU, u.Switches = rusage()
	u.Reads, u.Writes = SystemCalls()
	return u
}

// SystemCalls returns how many system calls of this process have read and
// written, as the kernel counts them (proc(5), /proc/pid/io); 0 where it does
// not.
func SystemCalls() (reads, writes int) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.Atoi(value)
		switch {
		case err != nil:
		case name == "syscr":
			reads = n
		case name == "syscw":
			writes = n
		}
	}
	return reads, writes
}

func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// Serve answers commands about this process on a new listener of the loopback
// interface, whose address it returns, until the process ends.
func Serve() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String(), nil
}

func serve(c net.Conn) {
	defer c.Close()
	lines := bufio.NewScanner(c)
	answers := json.NewEncoder(c)
	for lines.Scan() {
		command, argument, _ := strings.Cut(lines.Text(), " ")
		err := execute(command, argument)
		u := usage()
		if err != nil {
			u.Error = err.Error()
		}
		if answers.Encode(u) != nil {
			return
		}
	}
}

func execute(command, argument string) error {
	switch command {
	case "usage":
		return nil
	case "collect":
		runtime.GC()
		runtime.GC() // sync.Pool lets go of its contents in the second one
		debug.FreeOSMemory()
		return nil
	case "profile":
		f, err := os.Create(argument)
		if err != nil {
			return err
		}
		return pprof.StartCPUProfile(f)
	case "stop":
		pprof.StopCPUProfile()
		return nil
	case "heap":
		f, err := os.Create(argument)
		if err != nil {
			return err
		}
		return errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close())
	}
	return fmt.Errorf("control: unknown command %q", command)
}

// A Client asks the process at the other end.
type Client struct {
	conn    net.Conn
	answers *json.Decoder
}

// Dial connects to what Serve returned in the process under test.
func Dial(addr string) (*Client, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Client{conn: c, answers: json.NewDecoder(c)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Usage returns what the process has used and holds.
func (c *Client) Usage() (Usage, error) { return c.ask("usage") }

// Collect makes the process collect its garbage first.
func (c *Client) Collect() (Usage, error) { return c.ask("collect") }

// Profile makes the process write a CPU profile to file, until StopProfile.
func (c *Client) Profile(file string) error { return c.command("profile " + file) }

// StopProfile ends what Profile began.
func (c *Client) StopProfile() error { return c.command("stop") }

// HeapProfile makes the process write a heap profile to file.
func (c *Client) HeapProfile(file string) error { return c.command("heap " + file) }

func (c *Client) command(line string) error {
	_, err := c.ask(line)
	return err
}

func (c *Client) ask(line string) (Usage, error) {
	var u Usage
	if _, err := fmt.Fprintln(c.conn, line); err != nil {
		return u, err
	}
	if err := c.answers.Decode(&u); err != nil {
		return u, fmt.Errorf("control: the process under test is gone: %w", err)
	}
	if u.Error != "" {
		return u, errors.New(u.Error)
	}
	return u, nil
}
