package juggler_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/internal/child"
	"github.com/juggler-go/juggler/internal/race"
)

// idleClientsEnv makes the test binary be the clients of TestIdleSessions:
// the address to connect to.
const idleClientsEnv = "JUGGLER_TEST_IDLE_CLIENTS"

const (
	idleSessions = 10000
	idleBytes    = 1024 // what a session may cost; the aim is 600
)

// An idle session on an event loop holds no goroutine, and little memory: one
// with a user of 16 bytes, found by id and by user, and one subscription. The
// clients are a process of their own.
func TestIdleSessions(t *testing.T) {
	s := newServer(t, juggler.WithMaxSessions(idleSessions+1), juggler.WithAuthenticator(
		func(r *http.Request) (*juggler.Identity, error) {
			return &juggler.Identity{User: "user-" + r.RemoteAddr[len(r.RemoteAddr)-11:]}, nil
		}))
	first := s.dial("juggler.1") // what every server has once, loops included
	first.send(`{"type":"SUB","id":"1","channel":"c"}`)
	first.expect(`{"type":"ACK"}`)
	before, goroutines := heapInUse(), runtime.NumGoroutine()

	clients := exec.Command(os.Args[0])
	clients.Env = append(os.Environ(), idleClientsEnv+"="+s.http.Listener.Addr().String())
	clients.Stderr = os.Stderr
	stdin, err := clients.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := clients.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(clients); err != nil {
		t.Fatal(err)
	}
	defer clients.Wait()
	defer stdin.Close()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("clients: %q, %v", line, err)
	}
	if n := s.h.Stats().Subscriptions; n != idleSessions+1 {
		t.Fatalf("%d sessions are subscribed", n)
	}
	if runtime.GOOS != "linux" {
		t.Log("other systems have a goroutine a connection")
		return
	}
	waitFor(t, "the goroutines of the handshakes to end", func() bool { return runtime.NumGoroutine() <= goroutines+10 })
	each := (heapInUse() - before) / idleSessions
	t.Logf("%d bytes a session", each)
	if each > idleBytes && !race.Enabled {
		t.Errorf("%d bytes a session, want at most %d", each, idleBytes)
	}
}

// heapInUse returns the bytes of live objects and of stacks.
func heapInUse() int {
	var m runtime.MemStats
	for range 3 { // pools let go of what they hold only at the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// idleClients connects, subscribes, says that it is ready and holds the
// connections until its standard input ends.
func idleClients(addr string) {
	const ack = `{"type":"ACK","for":"1"}`
	sub := maskedText(`{"type":"SUB","id":"1","channel":"c"}`)
	answer := make([]byte, 4096)
	conns := make([]net.Conn, idleSessions)
	for i := range conns {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			fmt.Fprintln(os.Stderr, "idle clients:", err)
			return
		}
		conns[i] = conn
		var request strings.Builder
		upgrade("http://" + addr).Write(&request) // a strings.Builder never fails
		if _, err := conn.Write(append([]byte(request.String()), sub...)); err != nil {
			fmt.Fprintln(os.Stderr, "idle clients:", err)
			return
		}
		for got := 0; !strings.HasSuffix(string(answer[:got]), ack); {
			n, err := conn.Read(answer[got:])
			if err != nil {
				fmt.Fprintf(os.Stderr, "idle clients: %q: %v\n", answer[:got], err)
				return
			}
			got += n
		}
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(conns)
}
