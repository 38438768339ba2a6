// Package netpoll waits for many bare socket descriptors with one goroutine:
// epoll and an eventfd on Linux, nothing elsewhere ([Supported] is false and
// every function returns [errors.ErrUnsupported]).
//
// A hijacked [net.Conn] costs about a kilobyte and is registered in Go's own
// poller. [Duplicate] takes a descriptor of its own for the socket, after
// which the net.Conn can be closed. From then on exactly one goroutine, the
// one that calls [Poller.Wait], may use the descriptor: it alone reads,
// writes and closes. That is what makes a closed and reused descriptor
// number harmless; [Event.Token] does the rest.
package netpoll

import "errors"

// ErrWouldBlock is returned by Read when nothing has arrived and by Write
// when the socket is full.
var ErrWouldBlock = errors.New("netpoll: operation would block")

// Interest says which events of a descriptor [Poller.Wait] reports. That the
// peer hung up or shut its writing side is reported whatever the interest.
type Interest uint8

// What a descriptor can be waited for.
const (
	Readable Interest = 1 << iota
	Writable
)

// Event is one ready descriptor.
type Event struct {
	// Token is what Add was given. As an event may have been fetched before
	// its descriptor was closed and the number given to another connection,
	// it should name the connection and not only the descriptor.
	Token uint64

	Readable bool // a Read will not block: data, end of file, or an error
	Writable bool // the socket has room again, or failed
	HangUp   bool // the peer shut its writing side or is gone; unread data may be left
}
