package main

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
)

// A desk answers the calls.
type desk struct {
	store
	events broker.PubSub
}

// newCallee has the functions of all rooms and of "me", who calls.
func newCallee(b interface {
	broker.Callee
	broker.PubSub
}, db store) (*calleekit.Callee, error) {
	callee, err := calleekit.New(b)
	if err != nil {
		return nil, err
	}
	d := desk{db, b}
	for _, room := range rooms {
		g := callee.Group("room." + room.name + ".")
		g.Handle("history", calleekit.Typed(func(ctx context.Context, _ struct{}) ([]message, error) { return d.newest(ctx, room.name, 100) }))
		g.Handle("post", calleekit.Typed(func(ctx context.Context, p post) (message, error) { return d.post(ctx, room.name, p) }))
		g.Handle("read", calleekit.Typed(func(ctx context.Context, id int64) (any, error) { return nil, d.hasRead(ctx, room.name, id) }))
		g.Handle("report", func(ctx context.Context, c *calleekit.Call) (any, error) { return d.report(ctx, c, room.name) },
			calleekit.WithConcurrency(8)) // it takes long: nobody else waits for it
	}
	callee.Handle("me.reads", calleekit.Typed(func(ctx context.Context, _ struct{}) (map[string]int64, error) {
		return d.reads(ctx, caller(ctx))
	}))
	callee.Handle("me.answer", calleekit.Stream(answer), calleekit.WithConcurrency(64))
	return callee, nil
}

// caller is who calls: the node says so.
func caller(ctx context.Context) string { return calleekit.CallFrom(ctx).Header("user") }

type post struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}

// post stores a message, then tells of it. Whoever does not know whether it was done sends it again.
func (d desk) post(ctx context.Context, room string, p post) (message, error) {
	p.Text = strings.TrimSpace(p.Text)
	if p.Text == "" || len(p.Text) > 4000 || p.Key == "" || len(p.Key) > 64 {
		return message{}, calleekit.Errorf(422, "a message has 1 to 4000 bytes, and a key")
	}
	m, err := d.add(ctx, room, message{User: caller(ctx), Key: p.Key, Text: p.Text})
	if err != nil {
		return message{}, err
	}
	// With a key, as this may be the second time: subscribers get it once.
	_, err = broker.PublishKeyed(ctx, d.events, strconv.FormatInt(m.ID, 10), "room."+room, m, nil)
	return m, err
}

// mark is how far a user has read a room.
type mark struct {
	Room string `json:"room"`
	ID   int64  `json:"id"`
}

// hasRead stores a mark, then tells all devices of the user.
func (d desk) hasRead(ctx context.Context, room string, id int64) error {
	user := caller(ctx)
	if err := d.read(ctx, user, room, id); err != nil {
		return err
	}
	return broker.Publish(ctx, d.events, "reads."+user, mark{room, id}, nil)
}

// progress is a part of a report.
type progress struct {
	Done  int `json:"done"`
	Total int `json:"total"`
}

// report counts who has written how many words. It takes its time, so that one can watch it, and
// ends where its caller cancels.
func (d desk) report(ctx context.Context, c *calleekit.Call, room string) (any, error) {
	messages, err := d.newest(ctx, room, 10_000)
	if err != nil {
		return nil, err
	}
	words := map[string]int{}
	const step = 3
	for i, m := range messages {
		if words[m.User] += len(strings.Fields(m.Text)); i%step != 0 {
			continue
		}
		if err := c.Send(ctx, progress{i, len(messages)}); err != nil {
			return nil, err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return words, nil
}

// answer says something word by word, as a model would.
func answer(ctx context.Context, question string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for word := range strings.FieldsSeq(fmt.Sprintf(wisdom, question)) {
			if err := pause(ctx, 150*time.Millisecond); !yield(word, err) || err != nil {
				return
			}
		}
	}
}

const wisdom = `You ask: “%s” I am no model, only a function that yields words, one every while. ` +
	`Each is a part of the answer to one call with a key, so the node keeps them, and whoever comes back with the key gets ` +
	`all of them from the first on, then the rest as it is made. Load this page anew: I go on. Replace the node that you ` +
	`are connected to: I go on. Open another tab: it has all of this, too. Press stop, and I end everywhere. That is all.`

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
