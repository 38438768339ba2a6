package wsconn

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/frame"
)

// Close codes of the protocol's own that this package decides to use
// (docs/protocol.md); [Handler.Closing] may replace them.
const (
	CodeSlowConsumer = frame.CloseSlowConsumer
	CodeIdle         = frame.CloseIdle
)

// What [CloseError.Err] is, or wraps, for ends decided by this side.
var (
	// ErrProtocol: the peer broke a rule of RFC 6455 or of the
	// configuration; Code and Reason say which.
	ErrProtocol = errors.New("wsconn: protocol violation")
	// ErrSlowConsumer: more than MaxQueue bytes would have been queued, or
	// the queue made no progress for WriteTimeout.
	ErrSlowConsumer = errors.New("wsconn: slow consumer")
	// ErrOverloaded: MaxBacklog is reached, and much of what the peer has sent waits.
	ErrOverloaded = errors.New("wsconn: too much waits")
	// ErrReadTimeout: a message was begun and not completed in ReadTimeout.
	ErrReadTimeout = errors.New("wsconn: message not completed in time")
	// ErrCloseTimeout: the peer did not take, or did not answer, a close
	// frame in time, or within 16 MiB of what it still sends.
	ErrCloseTimeout = errors.New("wsconn: close handshake not completed in time")
	// ErrHangUp: the peer hung up while the connection was paused.
	ErrHangUp = errors.New("wsconn: peer hung up")
	// ErrPoolClosed: the pool was closed.
	ErrPoolClosed = errors.New("wsconn: pool closed")
)

// CloseError says how a connection ended.
type CloseError struct {
	// Code and Reason are those of the close frame that began the end, the
	// peer's if Remote, else ours; 1005 if the peer's had no code, 1006 if
	// there was no close frame at all.
	Code   uint16
	Reason string
	Remote bool // the peer began
	// Err is nil if both sides exchanged close frames at the wish of the
	// peer or the owner. Otherwise it is one of this package's errors or
	// that of the network.
	Err error
}

// Error implements error.
func (e *CloseError) Error() string {
	side := "connection closed"
	if e.Remote {
		side = "connection closed by peer"
	}
	msg := fmt.Sprintf("%s with %d", side, e.Code)
	if e.Reason != "" {
		msg += " " + e.Reason
	}
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap returns Err.
func (e *CloseError) Unwrap() error { return e.Err }

// Config is what all connections of a [Pool] have in common. The owner
// validates it: the fields marked required must be positive.
type Config struct {
	// MaxMessage is how many bytes a data message may have, inflated (required). A
	// longer one closes with 1009.
	MaxMessage int
	// MaxQueue is how many bytes may wait to be written on one connection
	// (required; at least the largest message written, with its header of up
	// to 10 bytes). What would exceed it closes as a slow consumer: the rest
	// of the queue is dropped after the frame that is half written, a close
	// frame is tried for WriteTimeout, then the connection is reset. On the
	// portable path all that one turn writes counts, however fast the peer reads.
	MaxQueue int
	// MaxBacklog is how many bytes all connections together may take for what waits:
	// for peers that read slowly, for the rest of messages, and for the owner
	// ([Handler.Kept]); 0: each has its own bounds only. Beyond it those for which most
	// is kept are closed, as slow consumers or with 1013.
	MaxBacklog int64

	// ReadTimeout is how long a message may take from its first byte on, which
	// may be a part of a frame header (required).
	ReadTimeout time.Duration
	// WriteTimeout is how long the queue may stand still before the peer
	// counts as a slow consumer, and how long a close frame is tried
	// (required). On the portable path progress is a chunk of 16 KiB.
	WriteTimeout time.Duration
	// CloseTimeout is how long the peer's close frame, or its hanging up
	// after it broke the protocol, is waited for (required).
	CloseTimeout time.Duration
	// Ping is after how long without anything but pongs written, or without anything
	// received, [Handler.Quiet] is called; 0: never.
	Ping time.Duration

	// Binary allows binary messages; otherwise they close with 1003.
	Binary bool
	// CheckUTF8 closes with 1007 when a text message is not UTF-8, as soon
	// as its first wrong byte is seen. Without it the Handler checks.
	CheckUTF8 bool

	// DeflateLevel is how hard messages are compressed, 1 to 9, and DeflateFrom how many
	// bytes they have at least (required where connections have [Conn.Deflate]).
	DeflateLevel, DeflateFrom int

	// Logger gets what concerns the pool as a whole: that a listener's
	// connections take the portable path. Nil: nothing is logged.
	Logger *slog.Logger

	// Loops is the number of event loops, and of groups of portable
	// connections; 0: one per two of GOMAXPROCS, at least one, at most 16.
	Loops int
	// NewHandler makes the Handler of one group, before the group's first
	// connection is opened (required). It may keep g to call Wake, and must
	// not use the pool.
	NewHandler func(g *Group) Handler
}

// Handler is what the owner does with the connections of one group. Its
// methods are called on the group's turns and must not block.
type Handler interface {
	// Message receives a whole message, unmasked and checked. op is text,
	// or binary if the configuration allows it. payload may be modified in
	// place and is valid until Message returns.
	Message(c *Conn, op ws.OpCode, payload []byte)

	// Frame tells of a frame that is no whole message: a ping, a pong, or a part of a
	// message but the last; and of each KiB by which a compressed message is longer than
	// what it holds. It may close c.
	Frame(c *Conn)

	// Quiet tells that nothing but pongs was written, or nothing was received, for
	// Config.Ping: the time to send a ping of whatever kind. If it writes nothing it
	// is called again after the same time.
	Quiet(c *Conn)

	// Unheard tells that nothing was received for twice Config.Ping, although Quiet
	// was called: the peer is gone. It is not called while c is paused, as the answer
	// could not be read.
	Unheard(c *Conn)

	// Kept returns how many bytes the owner keeps of what the peer has sent, which it has
	// counted by [Group.Keep].
	Kept(c *Conn) int

	// Closing is called before wsconn closes c for a reason of its own: a
	// violation, a slow consumer, a message that is not completed. It may change e.Code and
	// e.Reason, which go into the close frame and to Closed.
	Closing(c *Conn, e *CloseError)

	// Closed is the last callback of c, exactly once for each c that was
	// attached. The socket is closed and c may be reused or forgotten.
	Closed(c *Conn, e *CloseError)

	// EndReading is called after the last Message of a turn and before Turn.
	// The Handler passes on the work that it has gathered from the messages.
	// It reports whether other goroutines got work that may be done at once:
	// then the group lets them run before the write, so that an acknowledgement
	// and a fast result leave together. See [Borrower] for work that the
	// group's own goroutine can do.
	EndReading() (yield bool)

	// Turn is called at least once after any of the callbacks above and
	// after each Wake, before the turn's output is written: it does what
	// other goroutines queued, and what is due at now (see [Group.Now]). It
	// returns when it wants to be called again at the latest; 0: no need.
	Turn(now int64) (next int64)
}

// Drainer is an optional interface of a [Handler] that has more for a peer than may be
// queued at once.
type Drainer interface {
	// Drained follows [Conn.TellDrained], before Turn.
	Drained(c *Conn)
}
