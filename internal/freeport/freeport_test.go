package freeport

import (
	"net"
	"strconv"
	"testing"
)

// What is reserved is free for its server, given out once, and given out again after
// its release.
func TestReserve(t *testing.T) {
	const many = 500 // chance alone would repeat some
	taken := make(map[int]func(), many)
	for range many {
		port, release, err := Reserve()
		if err != nil {
			t.Fatal(err)
		}
		if taken[port] != nil {
			t.Fatalf("port %d was given out twice", port)
		}
		taken[port] = release
	}
	released := 0
	for port, release := range taken {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Fatalf("a reserved port is not free: %v", err)
		}
		l.Close()
		release()
		held, err := net.ListenPacket("udp4", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil { // else another process has reserved it since
			held.Close()
			released++
		}
	}
	if released < many/2 {
		t.Errorf("%d of %d ports are free again", released, many)
	}
}

// A port on which a process listens is not given out, whatever its address.
func TestClosed(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "127.0.0.2", ""} {
		port := Take(t)
		l, err := net.Listen("tcp4", host+":"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		if closed(port) {
			t.Errorf("%q: a port with a listener counts as closed", host)
		}
		l.Close()
		if !closed(port) {
			t.Errorf("%q: a port without a listener does not count as closed", host)
		}
	}
}
