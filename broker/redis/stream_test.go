package redis

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	goredis "github.com/redis/go-redis/v9"
)

// pipeLink returns a link with a timeout of one second, and the server's end.
func pipeLink(t *testing.T) (*link, net.Conn) {
	ours, theirs := net.Pipe()
	l := &link{client: goredis.NewClient(&goredis.Options{Addr: "127.0.0.1:1"}), conn: newStream(ours, time.Second), timeout: time.Second}
	l.in = bufio.NewReaderSize((*arrivals)(l), readBuffer)
	t.Cleanup(func() {
		l.close()
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
func wireSize(commands ...*command) (n int) {
	for _, c := range commands {
		n += len(c.appendTo(nil))
	}
	return n
}

// However long a reply takes, there is time as long as parts of it arrive.
func TestReplySlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, server := pipeLink(t)
		text := bytes.Repeat([]byte("x"), 3*readBuffer)
		go func() {
			readSlowly(server, wireSize(plain("GET", "a"), plain("GET", "b")), 1)
			writeSlowly(server, appendText(appendText(nil, text), "b"), 20)
		}()
		a, b := plain("GET", "a"), plain("GET", "b")
		if err := l.run(a, b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.reply.text, text) || string(b.reply.text) != "b" {
			t.Error("the replies are wrong")
		}
	})
}

// A server that has begun a reply and does not go on is given up.
func TestReplyStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, server := pipeLink(t)
		c := plain("BRPOP", "a", 2)
		c.blocks = 2 * time.Second
		go func() {
			readSlowly(server, wireSize(c), 1)
			writeSlowly(server, []byte("$100\r\nx"), 1)
		}()
		start := time.Now()
		if err := l.run(c); !errors.Is(err, errLost) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("run returned %v", err)
		}
		// 2 s that the server may wait, 1 s without a reply.
		if d := time.Since(start); d < 3*time.Second || d > 4*time.Second {
			t.Errorf("run returned after %v", d)
		}
		if d := time.Since(l.moved()); d < time.Second || d > 3*time.Second {
			t.Errorf("bytes moved %v ago", d)
		}
	})
}

// However long a command takes to be written, there is time as long as parts of
// it are accepted.
func TestWriteSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, server := pipeLink(t)
		c := plain("SET", "a", bytes.Repeat([]byte("x"), 5*portion))
		go func() {
			readSlowly(server, wireSize(c), 20)
			writeSlowly(server, []byte("+OK\r\n"), 1)
		}()
		if err := l.run(c); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWriteStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, server := pipeLink(t)
		c := plain("SET", "a", bytes.Repeat([]byte("x"), 5*portion))
		go readSlowly(server, wireSize(c)/2, 1)
		if err := l.run(c); !errors.Is(err, errLost) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("run returned %v", err)
		}
	})
}

// Requests behind a batch on a slow link wait as long as it gets on: they were
// refused after a quarter of the reply timeout. When it stops they are refused,
// and no longer when it goes on.
func TestStallOfSlowBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(WithReplyTimeout(8*time.Second), WithServer(&goredis.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		lane := newLane(b, 0)
		l, server := pipeLink(t)
		l.timeout, l.conn.timeout = 8*time.Second, 8*time.Second
		lane.writer.link = l
		lane.writer.start()
		defer lane.writer.stop()
		submit := func(c *command) *op {
			o := &op{command: c, waiter: newWaiter(1)}
			lane.writer.submit(o)
			return o
		}
		large := submit(plain("SET", "a", bytes.Repeat([]byte("x"), 2*maxBatchBytes)))
		behind := submit(plain("SET", "b", "1"))
		quarter := 20
		readSlowly(server, wireSize(large.command)/2, quarter)
		synctest.Wait()
		select {
		case <-behind.waiter.done:
			t.Fatalf("behind a batch that gets on: %v", behind.err)
		default:
		}
		<-behind.waiter.done // nothing moves any more
		if !errors.Is(behind.err, broker.ErrUnavailable) {
			t.Errorf("behind a batch that stands still: %v", behind.err)
		}
		readSlowly(server, wireSize(large.command)/2, quarter)
		behind = submit(plain("SET", "b", "1"))
		go func() {
			io.ReadFull(server, make([]byte, wireSize(large.command)%2)) //nolint:errcheck
			writeSlowly(server, []byte("+OK\r\n"), 1)
			readSlowly(server, wireSize(behind.command), 1)
			writeSlowly(server, []byte("+OK\r\n"), 1)
		}()
		<-large.waiter.done
		<-behind.waiter.done
		if large.err != nil || behind.err != nil {
			t.Errorf("at last: %v, %v", large.err, behind.err)
		}
	})
}
