package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/juggler-go/juggler/frame"
)

// Key gives a call or a publication a key of the application's, 1 to 64 bytes of UTF-8: made
// once for what one wants to be done, stored with it, and given again with each attempt.
//
// The outcome of a call with a key is kept by the server, for ten minutes unless it says
// otherwise, and outlives connections. The first such call of the user to the URI makes it;
// all others, from whatever client and device, join it ([PendingCall.State]), and get the
// same outcome. While the client waits for it, it joins the call again on the next connection
// when one is lost or the server goes away (GOAWAY), so that the call is made once, and its
// parts go on behind the last that came. The end of a context, or a loop over parts that is
// left, only ends the wait, and the call goes on: [Client.Stop] ends it for all. See [Join]
// for a call that is not to be made.
//
// Such a call fails with [CodeConflict] if the key is that of a call with other args; with
// [CodeLimit] if the user has too many; with [CodeGone] if the client had joined the call, and
// the server has nothing of it any more; and at once with [ErrUnsupported] on a session that
// cannot have keys. What a server says to a client that comes back because it is short of
// something ([CodeLimit], [CodeInternal], [CodeUnavailable]) does not end the wait.
// [CodeExpired] is no outcome: the call may still end, and another one with the key tells.
//
// A publication gets the key in place of one that the client makes: where the server keeps
// events of the channel, another publication of the same user with the key and the same args
// is not made within five minutes, whoever repeats it. One with other args fails with
// [CodeConflict]; and if the client is not signed in, so does every one with [CodeForbidden].
func Key(key string) RequestOption {
	return requestFunc(func(r *request) {
		if key == "" || len(key) > frame.MaxKey || !utf8.ValidString(key) {
			r.err = fmt.Errorf("%w: Key(%q): want 1 to %d bytes of UTF-8", ErrInvalidOption, key, frame.MaxKey)
		}
		r.key, r.ownKey = append(r.key[:0], key...), true
		if r.typ == frame.Call {
			r.attachment()
		}
	})
}

// repeatTime is for how long after its first attempt a publication is repeated. The server
// knows its key for five minutes; the rest is for the way there.
const repeatTime = 4*time.Minute + 30*time.Second

// maxRepeats is how often a publication is repeated because the server does not know its
// outcome: on a channel that is not kept, it never will.
const maxRepeats = 3

// errNoRepeat is why a publication is not repeated on a connection.
var errNoRepeat = errors.New("not repeated: the server would not know it again")

// mayRepeat reports whether the server knows r again, a PUB that it may have had.
func (r *request) mayRepeat() bool { return !r.keyed.IsZero() && time.Since(r.keyed) < repeatTime }

// addKey gives the PUB of r its key, with mu of cn and r held. It returns an error if r may
// have been done, and would be done twice on cn.
func (cn *conn) addKey(f *frame.Frame, r *request) error {
	switch {
	case r.ownKey && cn.proto == frame.Juggler0:
		return fmt.Errorf("%w by juggler.0: keys of publications", ErrUnsupported)
	case r.maybeSent && !(cn.keys && r.mayRepeat()):
		return errNoRepeat
	case !cn.keys && !r.ownKey:
		return nil
	case len(r.key) == 0:
		r.key = appendKey(r.key)
	}
	if !r.maybeSent {
		r.keyed = time.Time{}
		if cn.keys {
			r.keyed = time.Now()
		}
	}
	f.Key, f.Again = r.key, r.maybeSent
	return nil
}

// appendKey appends a new key, random among those of its user.
func appendKey(dst []byte) []byte {
	const base = 36
	dst = strconv.AppendUint(dst, rand.Uint64(), base)
	return strconv.AppendUint(dst, rand.Uint64(), base)
}

// isUnclear reports whether the answer err to a PUB leaves open whether it was done, and
// another attempt may tell.
func isUnclear(err error) bool {
	answer, ok := errors.AsType[*Error](err)
	if !ok || answer.Refused {
		return false
	}
	switch answer.Code {
	case CodeInternal, CodeExpired, CodeLimit, CodeUnavailable:
		return true
	}
	return false
}

// awaitRepeat waits until r, which was answered with err, is to be sent once more. It
// reports false if it is not.
func (c *Client) awaitRepeat(ctx context.Context, r *request, err error, b *backoff) bool {
	if !isUnclear(err) || b.attempt == maxRepeats || !r.mayRepeat() {
		return false
	}
	pause := b.next(retryAfter(err))
	if time.Until(r.deadline) < pause {
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	if !sleep(ctx, pause) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn, r.id, r.err, r.maybeSent = nil, 0, nil, true
	r.claimed.Store(false)
	return true
}
