package redis

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	goredis "github.com/redis/go-redis/v9"
)

// pipeServer returns a dialer, and the servers' ends of the connections that it made,
// once the other end has logged in.
func pipeServer(t *testing.T) (dialer func(context.Context, string, string) (net.Conn, error), logins <-chan net.Conn) {
	done := make(chan net.Conn, 1)
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { theirs.Close() })
		go func() {
			for in := bufio.NewReader(theirs); ; {
				command, err := resp.ReadReply(in) // it looks like one
				if err != nil {
					return
				}
				name := string(command.List[0].Text)
				fmt.Fprintf(theirs, "-ERR unknown command '%s'\r\n", name)
				if name == "info" {
					done <- theirs
					return
				}
			}
		}()
		return ours, nil
	}, done
}

// trickle reads n bytes in so many pieces, with a pause before each that is shorter than
// a quarter of the test's timeout.
func trickle(r io.Reader, n, pieces int) {
	for size := n / pieces; n > 0; n -= min(size, n) {
		<-time.After(900 * time.Millisecond)
		io.ReadFull(r, make([]byte, min(size, n))) //nolint:errcheck // the other side reports it
	}
}

// sizeOf is how many bytes a command is on its way.
func sizeOf(c *resp.Command) int { return len(c.AppendTo(nil)) }

// Requests behind a batch on a slow link wait as long as it gets on: they were
// refused after a quarter of the reply timeout. When it stops they are refused,
// and no longer when it goes on.
func TestStallOfSlowBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer, logins := pipeServer(t)
		b, err := New(WithReplyTimeout(8*time.Second), WithServer(&goredis.Options{Dialer: dialer}))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		lane := newLane(b, 0)
		lane.writer.Start()
		defer lane.writer.Stop()
		submit := func(c *resp.Command) *op {
			o := &op{command: c, waiter: newWaiter(1)}
			lane.writer.Submit(o)
			return o
		}
		first := submit(resp.NewCommand("GET", "a"))
		server := <-logins
		trickle(server, sizeOf(first.command), 1)
		io.WriteString(server, "+OK\r\n") //nolint:errcheck // the other side reports it
		<-first.waiter.done
		large := submit(resp.NewCommand("SET", "a", bytes.Repeat([]byte("x"), 2*conn.MaxBatchBytes)))
		behind := submit(resp.NewCommand("SET", "b", "1"))
		quarter := 20
		trickle(server, sizeOf(large.command)/2, quarter)
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
		trickle(server, sizeOf(large.command)/2, quarter)
		behind = submit(resp.NewCommand("SET", "b", "1"))
		go func() {
			io.ReadFull(server, make([]byte, sizeOf(large.command)%2)) //nolint:errcheck
			io.WriteString(server, "+OK\r\n")                          //nolint:errcheck // the other side reports it
			trickle(server, sizeOf(behind.command), 1)
			io.WriteString(server, "+OK\r\n") //nolint:errcheck // the other side reports it
		}()
		<-large.waiter.done
		<-behind.waiter.done
		if large.err != nil || behind.err != nil {
			t.Errorf("at last: %v, %v", large.err, behind.err)
		}
	})
}
