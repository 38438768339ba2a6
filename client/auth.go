package client

import (
	"context"
	"fmt"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// signIn sends AUTH and returns in how long the credentials expire; 0: never.
func (cn *conn) signIn(ctx context.Context, token string) (time.Duration, error) {
	r := cn.c.newRequest(frame.Auth, token)
	r.setDeadline(ctx, cn.c.cfg.handshakeTimeout)
	if err := cn.submit(ctx, r); err == errGone {
		return 0, cn.why()
	} else if err != nil {
		return 0, fmt.Errorf("AUTH: %w", err)
	}
	if err := cn.c.wait(ctx, r); err != nil {
		return 0, fmt.Errorf("AUTH: %w", err)
	}
	expires := r.expires
	cn.c.recycle(r)
	return expires, nil
}

// keepSignedIn renews credentials that expire until cn fails. If it cannot,
// the server closes cn when they have expired, and the next connection gets
// new ones.
func (cn *conn) keepSignedIn(expires time.Duration) {
	end := time.Now().Add(expires)
	pause := expires / 4 * 3
	for {
		timer := time.NewTimer(pause)
		select {
		case <-cn.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		next, err := cn.renew()
		switch {
		case cn.ctx.Err() != nil:
			return
		case err != nil:
			cn.c.cfg.logger.Warn("cannot renew the credentials", "expire_in", time.Until(end), "error", err)
			if pause = time.Until(end) / 2; pause < time.Second {
				return
			}
		case next == 0: // these never expire
			return
		default:
			end = time.Now().Add(next)
			pause = next / 4 * 3
		}
	}
}

// renew gets a token and signs in with it, in the time of a handshake, so that
// there is time for another attempt before the credentials expire.
func (cn *conn) renew() (time.Duration, error) {
	ctx, cancel := context.WithTimeout(cn.ctx, cn.c.cfg.handshakeTimeout)
	defer cancel()
	token, err := cn.c.cfg.token(ctx)
	if err != nil {
		return 0, &tokenError{err}
	}
	return cn.signIn(ctx, token)
}

// tokenError is what a TokenFunc returned. However that may look, it says
// nothing about the server of this client.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "token: " + e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }
