package conn

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	goredis "github.com/redis/go-redis/v9"
)

// pipeLink returns a link with a timeout of one second, and the server's end.
func pipeLink(t *testing.T) (*Link, net.Conn) {
	ours, theirs := net.Pipe()
	l := &Link{client: goredis.NewClient(&goredis.Options{Addr: "127.0.0.1:1"}), conn: newStream(ours, time.Second), timeout: time.Second}
	l.in = bufio.NewReaderSize((*replyReader)(l), readBuffer)
	t.Cleanup(func() {
		l.Close()
		theirs.Close()
	})
	return l, theirs
}

// pace is the pause between two pieces on a slow link: shorter than its timeout.
const pace = 900 * time.Millisecond

// writeSlowly writes p in so many pieces.
func writeSlowly(w io.Writer, p []byte, pieces int) {
	for size := len(p) / pieces; len(p) > 0; {
		<-time.After(pace)
		n := min(size, len(p))
		w.Write(p[:n]) //nolint:errcheck // the other side reports it
		p = p[n:]
	}
}

// readSlowly reads n bytes in so many pieces.
func readSlowly(r io.Reader, n, pieces int) {
	for size := n / pieces; n > 0; n -= min(size, n) {
		<-time.After(pace)
		io.ReadFull(r, make([]byte, min(size, n))) //nolint:errcheck // the other side reports it
	}
}

// wireSize is how many bytes a command is on its way.
func wireSize(commands ...*resp.Command) (n int) {
	for _, c := range commands {
		n += len(c.AppendTo(nil))
	}
	return n
}

// However long a reply takes, there is time as long as parts of it arrive.
func TestReplySlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, server := pipeLink(t)
		text := bytes.Repeat([]byte("x"), 3*readBuffer)
		go func() {
			readSlowly(server, wireSize(resp.NewCommand("GET", "a"), resp.NewCommand("GET", "b")), 1)
			writeSlowly(server, fmt.Appendf(nil, "$%d\r\n%s\r\n$1\r\nb\r\n", len(text), text), 20)
		}()
		a, b := resp.NewCommand("GET", "a"), resp.NewCommand("GET", "b")
		if err := l.Run(a, b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Reply.Text, text) || string(b.Reply.Text) != "b" {
			t.Error("the replies are wrong")
		}
	})
}

// A server that has begun a reply and does not go on is given up.
func TestReplyStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, server := pipeLink(t)
		c := resp.NewCommand("BRPOP", "a", 2)
		c.Blocks = 2 * time.Second
		go func() {
			readSlowly(server, wireSize(c), 1)
			writeSlowly(server, []byte("$100\r\nx"), 1)
		}()
		start := time.Now()
		if err := l.Run(c); !errors.Is(err, ErrLost) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("run returned %v", err)
		}
		// 2 s that the server may wait, 1 s without a reply.
		if d := time.Since(start); d < 3*time.Second || d > 4*time.Second {
			t.Errorf("run returned after %v", d)
		}
		if d := time.Since(l.LastActive()); d < time.Second || d > 3*time.Second {
			t.Errorf("bytes moved %v ago", d)
		}
	})
}

// However long a command takes to be written, there is time as long as parts of
// it are accepted.
func TestWriteSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, server := pipeLink(t)
		c := resp.NewCommand("SET", "a", bytes.Repeat([]byte("x"), 5*portion))
		go func() {
			readSlowly(server, wireSize(c), 20)
			writeSlowly(server, []byte("+OK\r\n"), 1)
		}()
		if err := l.Run(c); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWriteStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, server := pipeLink(t)
		c := resp.NewCommand("SET", "a", bytes.Repeat([]byte("x"), 5*portion))
		go readSlowly(server, wireSize(c)/2, 1)
		if err := l.Run(c); !errors.Is(err, ErrLost) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("run returned %v", err)
		}
	})
}
