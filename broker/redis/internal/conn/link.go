package conn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	goredis "github.com/redis/go-redis/v9"
)

// background is the context of commands: go-redis ends them by its timeouts,
// and callers stop waiting for them by themselves.
var background = context.Background()

// A Link is one network connection to a server. One goroutine at a time may use it,
// except for the methods that say otherwise. A go-redis client logs it in as the user's
// options say. Commands then go over the bare connection: go-redis would repeat one whose
// reply was lost, and lose what a pop returned. A link that has failed is replaced.
type Link struct {
	client  *goredis.Client
	conn    *stream
	timeout time.Duration // while nothing moves

	in       *bufio.Reader // set by login
	out      []byte
	patience time.Duration // until the first reply to out must begin
	due      atomic.Int64  // deadline of reading, as a time since conn.born

	// Set by the view that the link is part of; nil if it is part of none. To and Who are
	// not changed any more.
	view     *View
	To       Server   // as the view names it
	slot     int      // that it is used for
	Who      identity // of the server
	onRetire func()

	reason atomic.Pointer[error] // why it has to be replaced
}

// Errors of a link. What was not sent can be sent again on another link.
var (
	ErrNotSent = errors.New("not sent")
	ErrLost    = errors.New("connection lost before the reply")
)

// readBuffer is the size of a link's buffer for replies, keptBuffer how large
// one for commands may become to be kept.
const (
	readBuffer = 16 << 10
	keptBuffer = 64 << 10
)

// retire says that the link has to be replaced when what is under way has ended.
func (l *Link) retire(err error) {
	if l.reason.CompareAndSwap(nil, &err) && l.onRetire != nil {
		l.onRetire()
	}
}

// Retired returns why the link has to be replaced, or nil.
func (l *Link) Retired() error {
	if err := l.reason.Load(); err != nil {
		return *err
	}
	return nil
}

// Run sends commands and waits for the replies, as long as bytes move. nil means that
// each has its reply, which may be the server's error. ErrNotSent means that none was
// done, ErrLost that those without a reply may have been.
func (l *Link) Run(commands ...*resp.Command) error {
	if err := l.RunOnce(commands); err != nil {
		return err
	}
	return l.Rerun(commands)
}

// Rerun sends the scripts that the server did not know, with their source.
func (l *Link) Rerun(commands []*resp.Command) error {
	var unknown []*resp.Command
	for _, c := range commands {
		if c.ScriptUnknown() {
			unknown = append(unknown, c)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	err := l.RunOnce(unknown)
	if errors.Is(err, ErrNotSent) {
		// Other commands of the batch are done, so it must not be sent again: that these
		// were not sent is for the text only.
		return fmt.Errorf("%w: %v", ErrLost, err)
	}
	return err
}

// RunOnce is Run without Rerun.
func (l *Link) RunOnce(commands []*resp.Command) error {
	l.Encode(commands)
	if err := l.Flush(); err != nil {
		return err
	}
	l.ExpectReply()
	return l.Receive(commands)
}

// Encode prepares commands for Flush, ExpectReply and Receive, and clears the replies that
// they got before.
func (l *Link) Encode(commands []*resp.Command) {
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
	l.patience += TransmitTime(len(l.out))
}

// ExpectReply gives the first reply to the commands its time, from now on.
func (l *Link) ExpectReply() { l.readUntil(time.Now().Add(l.patience)) }

func (l *Link) readUntil(due time.Time) {
	l.due.Store(int64(due.Sub(l.conn.born)))
	l.conn.SetReadDeadline(due) //nolint:errcheck // then reading fails, too
}

// WaitForever removes the deadline of ExpectReply.
func (l *Link) WaitForever() {
	l.due.Store(math.MaxInt64 / 2)
	l.conn.SetReadDeadline(time.Time{}) //nolint:errcheck // then reading fails, too
}

// ErrInterrupted is the error of Await after Interrupt.
var ErrInterrupted = errors.New("interrupted")

// Await waits for the first byte of a reply, or for Interrupt.
func (l *Link) Await() error {
	_, err := l.in.Peek(1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrInterrupted
	}
	return err
}

// Interrupt ends Await, until ExpectReply or WaitForever is called. It may be called by
// any goroutine.
func (l *Link) Interrupt() {
	l.conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // then reading fails, too
}

// Read reads what the server sends next.
func (l *Link) Read() (resp.Reply, error) { return resp.ReadReply(l.in) }

// A replyReader reads what the server sends. Whatever arrives extends the deadline for
// the rest.
type replyReader Link

func (a *replyReader) Read(p []byte) (int, error) {
	n, err := a.conn.Read(p)
	if n > 0 {
		// Not at each read, but long before it is due.
		due := time.Now().Add(a.timeout)
		if due.Sub(a.conn.born) > time.Duration(a.due.Load())+a.timeout/8 {
			(*Link)(a).readUntil(due)
		}
	}
	return n, err
}

// idleAfter is how long a link must be without traffic before the other side may have
// closed it as idle: no server or proxy is less patient.
const idleAfter = time.Second

// CheckIdle returns nil if a link can still be used that may have been idle: then it sends
// a PING. The first command on a link that the other side has closed is lost, so it must
// be one that does no harm.
func (l *Link) CheckIdle() error {
	if time.Since(l.LastActive()) < idleAfter {
		return nil
	}
	return l.Run(resp.NewCommand("PING"))
}

// IsClosedByPeer reports whether err says that the other side has closed the connection.
func IsClosedByPeer(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) && !op.Timeout()
}

// A Place is a server, and its identity.
type Place struct {
	Server Server
	who    identity
}

// Place returns where the link leads.
func (l *Link) Place() Place { return Place{l.To, l.Who} }

// LastActive returns when bytes moved last, in either direction. It may be called
// by any goroutine.
func (l *Link) LastActive() time.Time { return l.conn.moved() }

// Silence returns how long nothing has been read. It may be called by any goroutine.
func (l *Link) Silence() time.Duration { return l.conn.silence() }

// Flush writes what was encoded.
func (l *Link) Flush() error {
	n, err := l.conn.Write(l.out)
	switch {
	case err == nil:
		return nil
	case n == 0:
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	l.conn.reset()
	return fmt.Errorf("%w: %w", ErrLost, err)
}

// Receive reads the replies to commands.
func (l *Link) Receive(commands []*resp.Command) (err error) {
	for _, c := range commands {
		if c.Reply, err = resp.ReadReply(l.in); err != nil {
			l.conn.reset()
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
	}
	return nil
}

// Cut closes the connection while a command may be waiting for its reply, which then
// fails; Close must follow. It may be called by any goroutine.
func (l *Link) Cut() {
	l.conn.Close() //nolint:errcheck // nothing can be done about it
}

// Close closes the connection. No command may be under way.
func (l *Link) Close() {
	if l.view != nil {
		l.view.leave(l)
	}
	l.client.Close() //nolint:errcheck // nothing can be done about it
	l.Cut()          // the client may not have asked for it
}
