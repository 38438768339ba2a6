// Package wsconn is the server's side of WebSocket connections once the HTTP
// upgrade is decided (RFC 6455): frames, the close handshake, deadlines,
// bounded write queues. It knows nothing of what the messages mean.
//
// # Groups and turns
//
// Every connection belongs to one [Group] for its life. A group does
// everything of its connections serially, in turns: it reads what has
// arrived and passes the messages to its [Handler], lets the Handler do what
// others queued for it, and then writes to each connection all that the turn
// queued, in one system call. No two callbacks of a group ever overlap, and
// the methods of [Conn] may only be called on a turn of its group, that is,
// from a callback. Callbacks must not block: they would hold up every
// connection of the group. Other goroutines leave what they want done where
// [Handler.Turn] finds it, and call [Group.Wake].
//
// # Two kinds of group
//
// On Linux a plain TCP or Unix connection is served by an event loop. Its
// descriptor is duplicated and the net.Conn closed, so that an idle
// connection costs a [Conn] and a slot in the loop's table: no goroutine, no
// buffer, no timer. The loop is the only one that reads, writes and closes
// the descriptor (see loop.go).
//
// Everything else (TLS, a wrapped net.Conn, an in-memory one, other systems)
// is portable: a goroutine that reads, and one that writes and exists only
// while something is queued, with a mutex that makes turns of what they do
// (see portable.go). Both kinds behave alike and pass the same tests.
//
// At one message in flight per connection a plain goroutine a connection is
// about as fast as a loop: what loops save is memory and, as soon as several
// messages are in flight, system calls.
//
// A loop lends its goroutine to user code that is known to be quick, between
// what it has read and the write. If that blocks, the turn goes on on another
// goroutine (see [Borrower] and lend.go).
//
// # The end of a connection
//
// However a connection ends, [Handler.Closed] is its last callback, exactly
// once, with a [CloseError] that says how. Ends that wsconn itself decides on
// (a violation of the protocol, a slow consumer, a message that is not completed)
// are announced by [Handler.Closing], which may choose another code for the wire.
package wsconn
