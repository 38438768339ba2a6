// Package freeport finds ports for servers that cannot be told to take any free one.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The range lies below that from which kernels take ports by themselves, for outgoing
// connections and listeners on port 0: none of them takes one before its server does.
const (
	first = 10000
	count = 10000
	// Bus is how far above its port a node of a Redis Cluster has its bus: that
	// port is free too.
	bus = 10000
)

// Reserve returns a TCP port of 127.0.0.1 that is free, and that is not returned
// again in any process before release is called or this process ends.
func Reserve() (port int, release func(), err error) {
	for range 1000 {
		port = first + rand.IntN(count)
		// The UDP port of the same number stands for the TCP port: whoever has it,
		// holds the reservation.
		held, err := net.ListenPacket("udp4", address(port))
		if err != nil {
			continue
		}
		if closed(port) && closed(port+bus) {
			return port, func() { held.Close() }, nil
		}
		held.Close()
	}
	return 0, nil, errors.New("freeport: no free port found")
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

// closed reports whether nobody listens on a port, on any address of the machine.
func closed(port int) bool {
	l, err := net.Listen("tcp4", fmt.Sprint(":", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
