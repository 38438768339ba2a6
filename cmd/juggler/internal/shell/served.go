package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
)

// What the server does with subscriptions by itself, and who is in their channels.

// served writes what comes of a subscription that the server has made.
func (c *conn) served(sub *client.Subscription) {
	c.say(span{dim, "SUBS " + nameOf(sub)})
	for e, err := range sub.Events(context.Background()) {
		if err == nil {
			c.event(sub, e)
		}
	}
	c.sayEnd(sub)
}

// watch tells of the end of a subscription, and who is in its channel.
func (c *conn) watch(sub *client.Subscription, here bool) {
	if here {
		for h, err := range sub.HereChanges(context.Background()) {
			if err == nil {
				c.say(span{cyan, "HERE " + nameOf(sub)}, span{plain, " " + hereText(h)})
			}
		}
	}
	<-sub.Done()
	c.sayEnd(sub)
}

// sayEnd says why sub has ended, unless whoever types knows.
func (c *conn) sayEnd(sub *client.Subscription) {
	err := sub.Err()
	if errors.Is(err, client.ErrUnsubscribed) || errors.Is(err, client.ErrClosed) {
		return
	}
	c.say(span{yellow, "subscription to " + nameOf(sub) + " ended: " + describeEnd(err)})
}

// nameOf returns the channel or pattern of sub.
func nameOf(sub *client.Subscription) string {
	if sub.Own() {
		return sub.Channel() + " (own)"
	}
	return sub.Channel()
}

// describeEnd says why a subscription has ended.
func describeEnd(err error) string {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return fmt.Sprintf("UNSS %d %s", e.Code, e.Message)
	}
	return Describe(err)
}

// codeOfEnd returns the exit code for the end of a subscription.
func codeOfEnd(err error) int {
	if _, ok := errors.AsType[*client.Error](err); ok {
		return exit.Refused
	}
	return CodeOf(err)
}

// hereText says who is in a channel: how many, then all of them, and what has changed.
func hereText(h client.HereChange) string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(h.Count))
	if h.Members != nil {
		separator := ": "
		for _, m := range h.Members {
			b.WriteString(separator + m.User)
			if m.Sessions > 1 {
				fmt.Fprintf(&b, " (%d)", m.Sessions)
			}
			separator = ", "
		}
	}
	for _, m := range h.Joined {
		b.WriteString(" +" + m.User)
	}
	for _, user := range h.Left {
		b.WriteString(" -" + user)
	}
	return b.String()
}

// A hereLine is a line of sub --here, named as in the protocol.
type hereLine struct {
	Channel string       `json:"channel"`
	Count   int          `json:"count"`
	Here    []memberLine `json:"here,omitempty"`
	Join    []memberLine `json:"join,omitempty"`
	Leave   []string     `json:"leave,omitempty"`
}

type memberLine struct {
	User     string          `json:"user"`
	Sessions int             `json:"n"`
	Info     json.RawMessage `json:"info,omitempty"`
}

func memberLines(members []client.Member) []memberLine {
	lines := make([]memberLine, len(members))
	for i, m := range members {
		lines[i] = memberLine(m)
	}
	return lines
}

// writeHere writes who is in the channel of sub, and that again when it changes, until sub or
// ctx ends.
func writeHere(ctx context.Context, w io.Writer, sub *client.Subscription) error {
	for h, err := range sub.HereChanges(ctx) {
		if err != nil {
			return nil // who reads the events says so
		}
		line := hereLine{sub.Channel(), h.Count, memberLines(h.Members), memberLines(h.Joined), h.Left}
		if err := writeLine(w, line); err != nil {
			return exit.With(exit.Failure, err)
		}
	}
	return nil
}

// writeLine writes v as a line of JSON.
func writeLine(w io.Writer, v any) error {
	encoded, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(encoded, '\n'))
	return err
}

// lockedWriter is a Writer for several goroutines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
