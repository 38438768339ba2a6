// Package freeport finds ports for servers that cannot be told to take any free one.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
)

// The range lies below that from which kernels take ports by themselves, for outgoing
// connections and listeners on port 0: none of them takes one before its server does.
const (
	first  = 10000
	blocks = 200
	size   = 50 // ports of a block
	// bus is how far above its port a node of a Redis Cluster has its bus: that
	// port is free too.
	bus = blocks * size
)

// A process takes whole blocks, each by its first UDP port: so it has one descriptor
// more, however many servers it starts meanwhile.
var (
	mu   sync.Mutex
	free []int            // ports of our blocks that nobody has, the longest free first
	held []net.PacketConn // of our blocks, as long as the process lives
)

// Reserve returns a TCP port of 127.0.0.1 that is free, and that is not returned
// again in any process before release is called or this process ends.
func Reserve() (port int, release func(), err error) {
	mu.Lock()
	defer mu.Unlock()
	for {
		if i := slices.IndexFunc(free, bothClosed); i >= 0 {
			port = free[i]
			free = slices.Delete(free, i, i+1)
			return port, sync.OnceFunc(func() { giveBack(port) }), nil
		}
		if err := takeBlock(); err != nil {
			return 0, nil, err
		}
	}
}

func giveBack(port int) {
	mu.Lock()
	defer mu.Unlock()
	free = append(free, port)
}

// takeBlock adds the ports of a block that no process has.
func takeBlock() error {
	for _, block := range rand.Perm(blocks) {
		from := first + block*size
		c, err := net.ListenPacket("udp4", address(from))
		if err != nil {
			continue
		}
		held = append(held, c)
		for port := range size {
			free = append(free, from+port)
		}
		return nil
	}
	return errors.New("freeport: all blocks of ports are taken")
}

// TB is what the package needs of testing.TB.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Take returns a port as [Reserve] does, until the test ends.
func Take(tb TB) int {
	tb.Helper()
	port, release, err := Reserve()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(release)
	return port
}

// Address returns the address of a port as [Take] does.
func Address(tb TB) string {
	tb.Helper()
	return address(Take(tb))
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func bothClosed(port int) bool { return closed(port) && closed(port+bus) }

// closed reports whether nobody listens on a port, on any address of the machine.
func closed(port int) bool {
	l, err := net.Listen("tcp4", fmt.Sprint(":", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
