package juggler

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// FollowOptions say whom [Handler.Follow] follows, and for how long.
type FollowOptions struct {
	// Whom: one session of this node by its id, or the sessions of a user here, those
	// included that begin meanwhile. One of both.
	Session, User string

	For    time.Duration // how long; 0: 1 min; at most 1 min
	Frames int           // how many; 0: 1,000; at most 10,000

	// Text says whether frames have their Text, which may be private. Names, ids and codes
	// are told in any case; tokens, headers and keys never.
	Text bool
}

// What [FollowOptions] may ask for.
const (
	maxFollow             = time.Minute
	maxFollowed           = 10_000
	defaultFollowed       = 1000
	followBuffer          = 256 // frames that may wait for who follows
	maxFollowedName       = 256 // bytes
	maxFollowedText       = 1 << 10
	noFollowedSession     = "no such session on this node"
	cancelledFollowing    = "it was cancelled"
	shutdownWhileFollowed = "the node shuts down"
)

// A FollowedFrame is a message between a session and its client, or the end of something.
type FollowedFrame struct {
	Time     time.Time
	Session  string
	ByClient bool // the client sent it, or closed the session

	Type    frame.Type // frame.Invalid if the message is not understood, or for Close and End
	ID      string     // of the request that it is, or answers
	Name    string     // its URI, channel or pattern, up to 256 bytes of it
	Pattern bool
	Own     bool // Name is one of the server's own channels
	Code    int  // of the error that it tells, or has; 0: none
	Bytes   int  // of the whole message, as JSON

	// Text is the beginning, up to 1 KiB, of the args or the answer, or the error's message;
	// see [FollowOptions].
	Text string

	Close int // the session was closed with this code: there is no Type then

	// Lost is how many came before it that are left out, as who follows reads too slowly.
	Lost int

	// End says why there is nothing more: there is nothing else but Time and Lost then.
	End string
}

// ErrFollowed is the error of [Handler.Follow] while somebody else is followed.
var ErrFollowed = errors.New("juggler: this node follows somebody else, which it does one at a time")

// Follow returns what a session, or those of a user on this node, and their clients send each
// other from now on: to find out what goes wrong for somebody, not to watch everybody. A node
// follows one at a time. It ends when ctx or the time ends, with so many frames, with the
// session or the node, or when the loop is left; the last one says why, unless the loop is
// left. Who reads slowly holds up nobody: some frames are left out then. It costs other
// sessions nothing but the look whether there is one to follow.
func (h *Handler) Follow(ctx context.Context, o FollowOptions) (iter.Seq[FollowedFrame], error) {
	f, err := h.newFollower(o)
	if err != nil {
		return nil, fmt.Errorf("juggler: Follow: %w", err)
	}
	if h.closing.Load() {
		return nil, ErrShutdown
	}
	if !f.begin(ctx) {
		return nil, ErrFollowed
	}
	// One that ends from here on says so.
	if _, ok := h.Session(o.Session); o.Session != "" && !ok {
		f.finish(noFollowedSession)
		return nil, fmt.Errorf("juggler: Follow: %s: %w", noFollowedSession, ErrSessionEnded)
	}
	return f.each, nil
}

// newFollower checks what o says.
func (h *Handler) newFollower(o FollowOptions) (*follower, error) {
	f := &follower{h: h, user: o.User, text: o.Text, most: o.For, left: o.Frames, wake: make(chan struct{}, 1)}
	switch {
	case (o.Session == "") == (o.User == ""):
		return nil, errors.New("want a Session or a User")
	case o.For < 0 || o.For > maxFollow:
		return nil, fmt.Errorf("the time For is %v: want 0 to %v", o.For, maxFollow)
	case o.Frames < 0 || o.Frames > maxFollowed:
		return nil, fmt.Errorf("the number of Frames is %d: want 0 to %d", o.Frames, maxFollowed)
	}
	if o.For == 0 {
		f.most = maxFollow
	}
	if o.Frames == 0 {
		f.left = defaultFollowed
	}
	if o.Session != "" {
		var ok bool
		if f.session, ok = parseID(o.Session); !ok {
			return nil, errors.New("Session is no id of a session")
		}
	}
	return f, nil
}

// begins returns the first bytes of b, at most so many, as valid UTF-8.
func begins(b []byte, most int) string {
	return strings.ToValidUTF8(string(b[:min(len(b), most)]), "")
}
