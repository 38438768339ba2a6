package juggler_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/internal/child"
	"github.com/juggler-go/juggler/internal/race"
	"github.com/juggler-go/juggler/internal/waiting"
)

// idleClientsEnv makes the test binary be the clients of TestIdleSessions:
// the address to connect to. The other two say how many sessions it has, and how long they
// are held before the event: 15000 and 5m, for more than a test of every day.
const (
	idleClientsEnv  = "JUGGLER_TEST_IDLE_CLIENTS"
	idleSessionsEnv = "JUGGLER_TEST_IDLE_SESSIONS"
	idleHoldEnv     = "JUGGLER_TEST_IDLE_HOLD"
)

const idleBytes = 1024 // what a session may cost; the aim is 600

// idleSessions returns how many sessions TestIdleSessions has.
func idleSessions() int {
	if n, err := strconv.Atoi(os.Getenv(idleSessionsEnv)); err == nil {
		return n
	}
	return 4_000
}

// An idle session on an event loop holds no goroutine, and little memory: one
// with a user of 16 bytes, found by id and by user, and one subscription. Then one event
// reaches each of them, and all leave when they are asked to. The clients are a process of
// their own.
func TestIdleSessions(t *testing.T) {
	n := idleSessions()
	s := newServer(t, juggler.WithMaxSessions(n), juggler.WithDrainRate(1_000_000), juggler.WithAuthenticator(
		func(r *http.Request) (*juggler.Identity, error) {
			return &juggler.Identity{User: "user-" + r.RemoteAddr[len(r.RemoteAddr)-11:]}, nil
		}))
	first := s.dial("juggler.1") // what every server has once, loops included
	first.send(`{"type":"SUB","id":"1","channel":"c"}`)
	first.expect(`{"type":"ACK"}`)
	first.conn.CloseNow()
	s.waitSessions(0)
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
	said := bufio.NewReader(stdout)
	expect := func(want string) {
		t.Helper()
		if line, err := said.ReadString('\n'); line != want+"\n" {
			t.Fatalf("clients: %q, %v; want %s", line, err, want)
		}
	}
	expect("ready")
	if got := s.h.Stats().Subscriptions; got != n {
		t.Fatalf("%d sessions are subscribed", got)
	}
	if runtime.GOOS == "linux" { // other systems have a goroutine a connection
		waitFor(t, "the goroutines of the handshakes to end", func() bool { return runtime.NumGoroutine() <= goroutines+10 })
		each := (heapInUse() - before) / n
		t.Logf("%d bytes a session", each)
		if each > idleBytes && !race.Enabled {
			t.Errorf("%d bytes a session, want at most %d", each, idleBytes)
		}
	}
	if hold, err := time.ParseDuration(os.Getenv(idleHoldEnv)); err == nil {
		time.Sleep(hold) // the sessions are pinged meanwhile
	}
	if err := s.h.Publish(t.Context(), "c", 1, nil); err != nil {
		t.Fatal(err)
	}
	expect("got it")
	ctx, cancel := context.WithTimeout(t.Context(), waiting.Most)
	defer cancel()
	if err := s.h.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	expect("left")
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

// idleClients connects and subscribes, and says "ready"; "got it" when each connection
// got the event; and "left" when each has left because it was asked to.
func idleClients(addr string) {
	var all sync.WaitGroup
	got, left := make(chan struct{}), make(chan struct{})
	n := idleSessions()
	for range n {
		c, err := idleDial(addr)
		if err != nil {
			fmt.Fprintln(os.Stderr, "idle clients:", err)
			return
		}
		all.Go(func() {
			if err := c.idle(got, left); err != nil {
				fmt.Fprintln(os.Stderr, "idle clients:", err)
				os.Exit(1) // the test sees the end of the output
			}
		})
	}
	fmt.Println("ready")
	for _, step := range []struct {
		of   chan struct{}
		name string
	}{{got, "got it"}, {left, "left"}} {
		for range n {
			<-step.of
		}
		fmt.Println(step.name)
	}
	all.Wait()
}

// idleDial opens a session with a subscription.
func idleDial(addr string) (*rawClient, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	var request strings.Builder
	upgrade("http://" + addr).Write(&request) // a strings.Builder never fails
	if _, err := conn.Write(append([]byte(request.String()), maskedText(`{"type":"SUB","id":"1","channel":"c"}`)...)); err != nil {
		return nil, err
	}
	c := &rawClient{conn, bufio.NewReaderSize(conn, 512)}
	for line := ""; line != "\r\n"; {
		if line, err = c.br.ReadString('\n'); err != nil {
			return nil, err
		}
	}
	for range 2 { // HELLO and ACK
		if _, _, err := c.frame(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// idle answers PING until it is asked to leave, tells of the event, and then that it has
// left.
func (c *rawClient) idle(got, left chan<- struct{}) error {
	for {
		op, payload, err := c.frame()
		switch text := string(payload); {
		case err != nil:
			return err
		case op == ws.OpClose:
			return fmt.Errorf("closed with %q", payload)
		case strings.Contains(text, `"PING"`):
			c.conn.Write(maskedText(`{"type":"PONG"}`))
		case strings.Contains(text, `"EVNT"`):
			got <- struct{}{}
		case strings.Contains(text, `"GOAWAY"`):
			c.conn.Write(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")))))
			for op != ws.OpClose { // a PING may come before
				if op, _, err = c.frame(); err != nil {
					return fmt.Errorf("after GOAWAY and close: %w", err)
				}
			}
			left <- struct{}{}
			return c.conn.Close()
		}
	}
}
