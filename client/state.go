package client

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// State is what a client is doing about its connection.
type State uint8

// The states. From Idle a client goes to Connecting when it is first used; from
// there to Open, or to Waiting and back; when an open connection is lost, to
// Waiting; and to Closed from any of them, for good. A handover to another
// connection that the server asked for (GOAWAY) leaves it Open.
const (
	Idle State = iota
	Connecting
	Open
	Waiting // for the next attempt
	Closed
)

// String returns the name in lower case.
func (s State) String() string {
	switch s {
	case Idle:
		return "idle"
	case Connecting:
		return "connecting"
	case Open:
		return "open"
	case Waiting:
		return "waiting"
	case Closed:
		return "closed"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// StateChange says that a client has a new state, and why.
type StateChange struct {
	State State

	// Err is why there is no connection: in Waiting what was lost or failed,
	// in Closed why the client ended ([ErrClosed] itself after Close).
	Err error

	// Attempt counts the attempts to connect since the last stable
	// connection, from 1, in Connecting and Waiting. Delay is how long Waiting
	// lasts.
	Attempt int
	Delay   time.Duration

	// Session is the ULID of the session, in Open and with juggler.1. After a
	// handover there is another Open with the new one.
	Session string
}

// State returns the state of the client, which may change at any time.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Session returns the ULID that the server gave the current session, or ""
// while there is none or it does not say (juggler.0).
func (c *Client) Session() string {
	cn := c.current.Load()
	if cn == nil || cn.gone() {
		return ""
	}
	return cn.session()
}

func (cn *conn) session() string {
	if cn.proto == frame.Juggler0 {
		return ""
	}
	return string(frame.AppendULID(nil, cn.greeting().Session))
}

// setState makes change known. It is called by the goroutine run, and by
// whoever ends the client, after which run changes nothing.
func (c *Client) setState(change StateChange) {
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	c.mu.Lock()
	if c.state == Closed {
		c.mu.Unlock()
		return
	}
	c.state = change.State
	if change.Err != nil {
		c.why = change.Err
	}
	if change.State == Open {
		c.why = nil
	}
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()

	c.logState(change)
	if c.cfg.onState != nil {
		c.cfg.onState(change)
	}
}

// logState logs a new state where it is everyday business at the debug level, and
// a connection that was lost, or could not be made, above it, once for each outage.
func (c *Client) logState(change StateChange) {
	level := slog.LevelDebug
	attrs := []any{"url", c.shown, "state", change.State.String()}
	switch change.State {
	case Open:
		attrs = append(attrs, "session", change.Session)
	case Connecting:
		attrs = append(attrs, "attempt", change.Attempt)
	case Waiting:
		if change.Attempt == 1 {
			level = slog.LevelWarn
		}
		attrs = append(attrs, "attempt", change.Attempt, "delay", change.Delay, "error", change.Err)
	case Closed:
		attrs = append(attrs, "error", change.Err)
	}
	c.cfg.logger.Log(context.Background(), level, "state changed", attrs...)
}
