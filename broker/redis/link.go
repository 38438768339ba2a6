package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// background is the context of commands: go-redis ends them by its timeouts,
// and callers stop waiting for them by themselves.
var background = context.Background()

// A link is one network connection, used by one goroutine at a time, except
// for close. It is a go-redis client that connects once and repeats nothing:
// go-redis would repeat a command whose reply was lost, run calls twice and
// lose what a pop returned. When a link fails it is replaced.
type link struct {
	client *goredis.Client
	wire   *wire
}

// wire watches the network connection of a link, to tell a command that was
// certainly not sent from one that may have been.
type wire struct {
	dialed atomic.Bool
	conn   atomic.Pointer[net.Conn]
	ready  atomic.Bool // the handshake is over
	sent   atomic.Bool // something was written since (see link.run)
}

// Errors of a link. What was not sent can be sent again on another link.
var (
	errNotSent = errors.New("not sent")
	errLost    = errors.New("connection lost before the reply")

	errLinkUsed = errors.New("connection lost")
)

// newLink returns a link that connects when it is first used. o belongs to it.
func newLink(o *goredis.Options, timeout time.Duration) *link {
	w := new(wire)
	dial := o.Dialer
	if o.DialTimeout <= 0 || o.DialTimeout > timeout {
		o.DialTimeout = timeout
	}
	if dial == nil {
		dial = goredis.NewDialer(o)
	}
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if !w.dialed.CompareAndSwap(false, true) {
			return nil, errLinkUsed
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		w.conn.Store(&conn)
		return w.watch(conn), nil
	}
	onConnect := o.OnConnect
	o.OnConnect = func(ctx context.Context, cn *goredis.Conn) error {
		if onConnect != nil {
			if err := onConnect(ctx, cn); err != nil {
				return err
			}
		}
		w.ready.Store(true)
		return nil
	}
	o.Protocol = 2 // the only pushes that we want are those of SUBSCRIBE
	o.ReadTimeout, o.WriteTimeout = timeout, timeout
	o.MaxRetries, o.DialerRetries = -1, 1
	o.PoolSize, o.PipelinePoolSize = 1, -1
	o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns, o.MaxConcurrentDials = 0, 0, 0, 0
	o.PoolTimeout = timeout
	o.ConnMaxIdleTime, o.ConnMaxLifetime = -1, -1
	o.ContextTimeoutEnabled = false
	o.Limiter = nil
	o.DisableIdentity = true // CLIENT SETINFO would need an ACL rule more
	o.MaintNotificationsConfig = nil
	o.ClientSideCache, o.ClientSideCacheConfig = nil, nil
	return &link{client: goredis.NewClient(o), wire: w}
}

// run sends commands in one pipeline and waits for the replies. nil means that
// each has its reply, which may be the server's error. errNotSent means that
// none was done; errLost that those without a reply may have been.
func (l *link) run(commands ...*command) error {
	l.wire.sent.Store(false)
	var err error
	if len(commands) == 1 {
		err = l.client.Process(background, commands[0].prepare())
	} else {
		pipe := l.client.Pipeline()
		for _, c := range commands {
			pipe.Process(background, c.prepare()) //nolint:errcheck // queues only
		}
		_, err = pipe.Exec(background)
	}
	if err == nil || l.answered(commands) {
		return nil
	}
	if !l.wire.ready.Load() || !l.wire.sent.Load() {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	return fmt.Errorf("%w: %w", errLost, err)
}

func (l *link) answered(commands []*command) bool {
	for _, c := range commands {
		if !hasReply(c.cmd.Err()) {
			return false
		}
	}
	return true
}

// connect makes the connection, so that a failure to do so is known for what
// it is.
func (l *link) connect() error {
	ping := plain("PING")
	if err := l.run(ping); err != nil {
		return err
	}
	return ping.cmd.Err()
}

// cut ends the connection under the feet of a command that waits; close must
// follow. It may be called by any goroutine.
func (l *link) cut() {
	if conn := l.wire.conn.Load(); conn != nil {
		(*conn).Close() //nolint:errcheck // nothing can be done about it
	}
}

// close ends the connection. No command may be under way.
func (l *link) close() {
	l.client.Close() //nolint:errcheck // nothing can be done about it
}

// watch wraps conn. go-redis looks through syscall.Conn whether an idle
// connection was closed by the server, before it writes to it: keep that.
func (w *wire) watch(conn net.Conn) net.Conn {
	watched := &watchedConn{conn, w}
	if raw, ok := conn.(syscall.Conn); ok {
		return &watchedSocket{watched, raw}
	}
	return watched
}

type watchedConn struct {
	net.Conn
	wire *wire
}

func (c *watchedConn) Write(b []byte) (int, error) {
	if c.wire.ready.Load() {
		c.wire.sent.Store(true)
	}
	return c.Conn.Write(b)
}

type watchedSocket struct {
	*watchedConn
	raw syscall.Conn
}

func (c *watchedSocket) SyscallConn() (syscall.RawConn, error) { return c.raw.SyscallConn() }

// isServerError reports whether err is a reply of the server.
func isServerError(err error) bool {
	var reply goredis.Error
	return errors.As(err, &reply) && !errors.Is(err, goredis.Nil)
}

// hasReply reports whether a command with this error was answered.
func hasReply(err error) bool {
	return err == nil || errors.Is(err, goredis.Nil) || isServerError(err)
}

// isElsewhere reports whether the server said that it is not the one to ask,
// or not yet. Nothing was done.
func isElsewhere(err error) bool {
	if !isServerError(err) {
		return false
	}
	text := err.Error()
	for _, prefix := range elsewhere {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	// The error of a command inside a script, as Redis before 7 words it.
	return strings.HasPrefix(text, "ERR Error running script") && strings.Contains(text, "-READONLY")
}

// elsewhere are the errors after which another connection, or the same one a
// moment later, may do better. While the slot of a lane migrates, its scripts
// get TRYAGAIN or ASK: a script needs all keys at one place, so it waits for
// the end, which is a matter of milliseconds for the few keys of a lane.
var elsewhere = []string{
	"MOVED ", "ASK ", "TRYAGAIN ", "CLUSTERDOWN ", // a cluster that changes
	"READONLY ", "LOADING ", "MASTERDOWN ", "UNBLOCKED ", // a failover, a start
}
