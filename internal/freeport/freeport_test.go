package freeport

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

const childEnv = "JUGGLER_TEST_FREEPORT"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	for range many {
		port, _, err := Reserve()
		if err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString(strconv.Itoa(port) + "\n")
	}
	os.Stdout.Close()
	os.Stdin.Read(make([]byte, 1)) //nolint:errcheck // until the parent has seen enough
}

const many = 120 // more than two blocks

// What is reserved is free for its server, and given out once, to whichever process.
func TestReserve(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"=1")
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	child.Stdout = &output
	taken := make(map[int]bool)
	take := func() {
		port := Take(t)
		if taken[port] {
			t.Fatalf("port %d was given out twice", port)
		}
		taken[port] = true
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			t.Fatalf("a reserved port is not free: %v", err)
		}
		l.Close()
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for range many {
		take()
	}
	stdin.Close()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, text := range strings.Fields(output.String()) {
		if port, _ := strconv.Atoi(text); taken[port] {
			t.Errorf("port %s was given out to two processes", text)
		}
	}
}

// A port that was released is given out again, and takes no further descriptor.
func TestRelease(t *testing.T) {
	for range 3 * size {
		_, release, err := Reserve()
		if err != nil {
			t.Fatal(err)
		}
		release()
		release() // once is enough
	}
	mu.Lock()
	defer mu.Unlock()
	seen := make(map[int]bool)
	for _, port := range free {
		if seen[port] {
			t.Fatalf("port %d is free twice", port)
		}
		seen[port] = true
	}
	if len(free) > len(held)*size || len(held) > 1+many/size {
		t.Errorf("%d free ports in %d blocks", len(free), len(held))
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
