package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// background is the context of commands: go-redis ends them by its timeouts,
// and callers stop waiting for them by themselves.
var background = context.Background()

// A link is one network connection, used by one goroutine at a time, except
// for cut. A go-redis client logs it in as the user's options say. Commands
// then go over the bare connection: go-redis would repeat one whose reply was
// lost, run calls twice and lose what a pop returned. When a link fails it is
// replaced.
type link struct {
	client  *goredis.Client
	conn    *stream
	timeout time.Duration // while nothing moves

	in       *bufio.Reader // set by login
	out      []byte
	patience time.Duration // with which a reply to out is awaited
	due      atomic.Int64  // when reading ends, as a time since conn.born

	// Set by the view that the link is part of; nil if it is part of none.
	view     *view
	to       server   // as the view names it
	slot     int      // that it is used for
	who      identity // of the server
	onRetire func()

	reason atomic.Pointer[error] // why it has to be replaced
}

// Errors of a link. What was not sent can be sent again on another link.
var (
	errNotSent = errors.New("not sent")
	errLost    = errors.New("connection lost before the reply")

	errLinkUsed = errors.New("connection lost")
)

// readBuffer is the size of a link's buffer for replies, keptBuffer how large
// one for commands may become to be kept.
const (
	readBuffer = 16 << 10
	keptBuffer = 64 << 10
)

// newLink connects to a server, unless ctx ends before, without logging in: who
// uses the client, or login, does that. o belongs to the link.
func newLink(ctx context.Context, o *goredis.Options, timeout time.Duration) (*link, error) {
	l := &link{timeout: timeout}
	dial := o.Dialer
	if o.DialTimeout <= 0 || o.DialTimeout > timeout {
		o.DialTimeout = timeout
	}
	if dial == nil {
		dial = goredis.NewDialer(o)
	}
	var used atomic.Bool
	o.Dialer = func(context.Context, string, string) (net.Conn, error) {
		if used.Swap(true) {
			return nil, errLinkUsed
		}
		return l.conn, nil
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
	o.MaintNotificationsConfig = noNotifications()
	o.ClientSideCache, o.ClientSideCacheConfig = nil, nil
	l.client = goredis.NewClient(o)
	// Not by the client, which would go on trying in the background. A dialer of
	// the user's knows of the timeout only by its context.
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	conn, err := dial(ctx, l.client.Options().Network, l.client.Options().Addr)
	if err != nil {
		l.client.Close() //nolint:errcheck // it has no connection
		return nil, err
	}
	l.conn = newStream(conn, timeout)
	return l, nil
}

// noNotifications keeps go-redis from looking up the names of servers to find out
// what kind of address they have.
func noNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// login has the client log in, and takes the connection from it. It returns what
// the server calls itself, if it tells this user. go-redis does not heed the
// context while it waits: when that ends the connection is cut.
func (l *link) login(ctx context.Context) (identity, error) {
	stop := context.AfterFunc(ctx, l.cut)
	info, err := l.client.Info(background, "server").Result()
	if !stop() {
		return "", ctx.Err()
	}
	if err != nil && !isRefusedInfo(err) {
		return "", err
	}
	l.in = bufio.NewReaderSize((*arrivals)(l), readBuffer)
	_, after, _ := strings.Cut(info, "run_id:")
	who, _, _ := strings.Cut(after, "\r\n")
	return identity(who), nil
}

// isRefusedInfo reports whether err is only about INFO: the server does not know
// the command or the section, or this user may not ask.
func isRefusedInfo(err error) bool {
	text := strings.ToLower(err.Error())
	return resp.IsServerError(err) && (strings.Contains(text, "info") || strings.Contains(text, "section"))
}

// retire says that the link has to be replaced when what is under way has ended.
func (l *link) retire(err error) {
	if l.reason.CompareAndSwap(nil, &err) && l.onRetire != nil {
		l.onRetire()
	}
}

// retired returns why the link has to be replaced, or nil.
func (l *link) retired() error {
	if err := l.reason.Load(); err != nil {
		return *err
	}
	return nil
}

// loginOnce has connections log in with the credentials of the moment. To renew
// them go-redis would send commands in between ours. A server that ends the
// connection when they are over gets a new one.
func loginOnce(o *goredis.Options) {
	provider := o.StreamingCredentialsProvider
	if provider == nil {
		return
	}
	o.StreamingCredentialsProvider = nil
	o.CredentialsProviderContext = func(context.Context) (name, password string, err error) {
		current, unsubscribe, err := provider.Subscribe(new(deaf))
		if err != nil {
			return "", "", err
		}
		name, password = current.BasicAuth()
		return name, password, unsubscribe()
	}
}

// deaf does not want to know of other credentials.
type deaf struct{ _ byte } // not empty: each is another one

func (*deaf) OnNext(auth.Credentials) {}
func (*deaf) OnError(error)           {}

// run sends commands and waits for the replies, as long as bytes move. nil means that
// each has its reply, which may be the server's error. errNotSent means that
// none was done; errLost that those without a reply may have been.
func (l *link) run(commands ...*resp.Command) error {
	if err := l.runOnce(commands); err != nil {
		return err
	}
	return l.rerun(commands)
}

// rerun sends the scripts that the server did not know, with their source.
func (l *link) rerun(commands []*resp.Command) error {
	var unknown []*resp.Command
	for _, c := range commands {
		if c.ScriptUnknown() {
			unknown = append(unknown, c)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	err := l.runOnce(unknown)
	if errors.Is(err, errNotSent) {
		// Other commands of the batch are done: only these were not.
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return err
}

// runOnce is run without another try for scripts that the server does not know.
func (l *link) runOnce(commands []*resp.Command) error {
	l.encode(commands)
	if err := l.flush(); err != nil {
		return err
	}
	l.expect()
	return l.receive(commands)
}

// encode prepares what expect and flush are about, and forgets the replies that
// the commands got before.
func (l *link) encode(commands []*resp.Command) {
	if cap(l.out) > keptBuffer {
		l.out = nil
	}
	l.out = l.out[:0]
	l.patience = l.timeout
	for _, c := range commands {
		l.out = c.AppendTo(l.out)
		l.patience += c.Blocks
		c.Reply = resp.Reply{}
	}
	l.patience += passage(len(l.out))
}

// expect lets the first reply come within the link's patience from now on.
func (l *link) expect() { l.readUntil(time.Now().Add(l.patience)) }

func (l *link) readUntil(due time.Time) {
	l.due.Store(int64(due.Sub(l.conn.born)))
	l.conn.SetReadDeadline(due) //nolint:errcheck // then reading fails, too
}

// waitForever lets what comes come at any time.
func (l *link) waitForever() {
	l.due.Store(math.MaxInt64 / 2)
	l.conn.SetReadDeadline(time.Time{}) //nolint:errcheck // then reading fails, too
}

// errInterrupted: interrupt has ended a wait.
var errInterrupted = errors.New("interrupted")

// await waits for the first byte of a reply, or interrupt.
func (l *link) await() error {
	_, err := l.in.Peek(1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errInterrupted
	}
	return err
}

// interrupt ends await, until expect or waitForever is called. It may be called by any
// goroutine.
func (l *link) interrupt() {
	l.conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // then reading fails, too
}

// read reads what the server sends next.
func (l *link) read() (resp.Reply, error) { return resp.ReadReply(l.in) }

// arrivals is a link from which replies are read. Whatever arrives gives the
// rest its time anew.
type arrivals link

func (a *arrivals) Read(p []byte) (int, error) {
	n, err := a.conn.Read(p)
	if n > 0 {
		// Not at each read, but long before it is due.
		due := time.Now().Add(a.timeout)
		if due.Sub(a.conn.born) > time.Duration(a.due.Load())+a.timeout/8 {
			(*link)(a).readUntil(due)
		}
	}
	return n, err
}

// idleAfter is after how long without traffic a link may have been ended by the other
// side because it was idle: no server or proxy is less patient.
const idleAfter = time.Second

// wake returns nil if a link that was idle can still be used. What is sent over one
// that the other side has ended meanwhile is lost: so it must be harmless.
func (l *link) wake() error {
	if time.Since(l.moved()) < idleAfter {
		return nil
	}
	return l.run(resp.NewCommand("PING"))
}

// isEnded reports whether err says that the other side has ended the connection.
func isEnded(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) && !op.Timeout()
}

// A place is a server that events came from.
type place struct {
	server server
	who    identity
}

// place is where the link leads.
func (l *link) place() place { return place{l.to, l.who} }

// moved returns when bytes moved last, in either direction. It may be called by
// any goroutine.
func (l *link) moved() time.Time { return l.conn.moved() }

// silence is how long nothing has been read. It may be called by any goroutine.
func (l *link) silence() time.Duration { return l.conn.silence() }

// flush writes what was encoded.
func (l *link) flush() error {
	n, err := l.conn.Write(l.out)
	switch {
	case err == nil:
		return nil
	case n == 0:
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	l.conn.reset()
	return fmt.Errorf("%w: %w", errLost, err)
}

// receive reads the replies to commands.
func (l *link) receive(commands []*resp.Command) (err error) {
	for _, c := range commands {
		if c.Reply, err = resp.ReadReply(l.in); err != nil {
			l.conn.reset()
			return fmt.Errorf("%w: %w", errLost, err)
		}
	}
	return nil
}

// cut ends the connection under the feet of a command that waits; close must
// follow. It may be called by any goroutine.
func (l *link) cut() {
	l.conn.Close() //nolint:errcheck // nothing can be done about it
}

// close ends the connection. No command may be under way.
func (l *link) close() {
	if l.view != nil {
		l.view.leave(l)
	}
	l.client.Close() //nolint:errcheck // nothing can be done about it
	l.cut()          // the client may not have asked for it
}
