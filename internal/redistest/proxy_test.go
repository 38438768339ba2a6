//go:build unix

package redistest_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
)

// echo returns the address of a server that sends back what it gets, behind a
// letter.
func echo(t *testing.T, letter string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer conn.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					fmt.Fprint(conn, letter, string(buf[:n]))
				}
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, waiting.Most)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// send sends text, and returns what comes back first within a time.
func send(t *testing.T, conn net.Conn, text string, within time.Duration) (string, error) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	conn.SetReadDeadline(time.Now().Add(within))
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

const silent = 50 * time.Millisecond

func TestProxy(t *testing.T) {
	t.Parallel()
	proxy := redistest.StartProxy(t, echo(t, "a"))
	want := func(conn net.Conn, text, reply string) {
		t.Helper()
		if got, err := send(t, conn, text, waiting.Most); got != reply {
			t.Errorf("%s: got %q, %v", text, got, err)
		}
	}
	wantSilence := func(conn net.Conn, text string) {
		t.Helper()
		var timeout net.Error
		if got, err := send(t, conn, text, silent); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: got %q, %v", text, got, err)
		}
	}

	first := dial(t, proxy.Addr)
	want(first, "1", "a1")
	proxy.Hold()
	wantSilence(first, "2")
	second := dial(t, proxy.Addr)
	wantSilence(second, "3")
	proxy.Restore()
	want(first, "", "a2")
	want(second, "", "a3")

	proxy.Forget()
	wantSilence(first, "4")
	proxy.Retarget(echo(t, "b"))
	third := dial(t, proxy.Addr)
	want(third, "5", "b5")
	wantSilence(first, "6")
	if n := proxy.Conns(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}

	proxy.Refuse()
	want(third, "7", "b7")
	if got, err := send(t, dial(t, proxy.Addr), "8", waiting.Most); err == nil {
		t.Errorf("a refused connection: got %q", got)
	}
	proxy.Restore()

	proxy.Slow(10_000, 0)
	begin := time.Now()
	if _, err := io.WriteString(third, strings.Repeat("x", 1000)); err != nil {
		t.Fatal(err)
	}
	third.SetReadDeadline(time.Now().Add(waiting.Most))
	if _, err := io.CopyN(io.Discard, third, 1000); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 150*time.Millisecond {
		t.Errorf("1000 bytes went there and back in %v at 10,000 bytes a second", took)
	}

	proxy.Restore()
	fourth := dial(t, proxy.Addr)
	want(fourth, "9", "b9")
	proxy.Cut()
	if got, err := send(t, fourth, "10", waiting.Most); err == nil {
		t.Errorf("a connection that was cut: got %q", got)
	}
}
