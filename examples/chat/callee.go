package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
	jugglerprom "github.com/juggler-go/juggler/telemetry/prometheus"
)

// A room answers the calls to its URIs.
type room struct {
	store
	events broker.PubSub
	name   string
}

// answerCalls is a callee until ctx ends.
func answerCalls(ctx context.Context, b engine, path string) error {
	db, err := openStore(ctx, path)
	if err != nil {
		return err
	}
	callee, err := newCallee(b, b, db)
	if err == nil {
		prometheus.MustRegister(jugglerprom.NewCalleeCollector(callee))
		err = callee.Run(ctx)
	}
	return errors.Join(err, db.Close())
}

// newCallee has the functions of all rooms and of "me", who calls.
func newCallee(b broker.Callee, events broker.PubSub, db store) (*calleekit.Callee, error) {
	callee, err := calleekit.New(b, calleekit.WithDrainTimeout(time.Minute), jugglerotel.Callee())
	if err != nil {
		return nil, err
	}
	for _, access := range accesses {
		r, g := room{db, events, access.room}, callee.Group("room."+access.room+".")
		g.Handle("history", calleekit.Typed(r.history))
		g.Handle("post", calleekit.Typed(r.post))
		g.Handle("read", calleekit.Typed(r.read))
		g.Handle("report", r.report, calleekit.WithParts[progress](), calleekit.WithResult[map[string]int](),
			calleekit.WithConcurrency(8)) // it takes long: nobody else waits for it
	}
	callee.Handle("me.reads", calleekit.Typed(func(ctx context.Context, _ struct{}) (map[string]int64, error) {
		return db.reads(ctx, caller(ctx))
	}))
	callee.Handle("me.answer", calleekit.Stream(answer), calleekit.WithConcurrency(64))
	return callee, nil
}

// caller is who calls: the node says so.
func caller(ctx context.Context) string { return calleekit.CallFrom(ctx).Header("user") }

// history returns the newest messages, the oldest of them first.
func (r room) history(ctx context.Context, _ struct{}) ([]message, error) {
	return r.newest(ctx, r.name, 100)
}

type post struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}

// post stores a message, then tells of it. Whoever does not know whether it was done sends it again.
func (r room) post(ctx context.Context, p post) (message, error) {
	p.Text = strings.TrimSpace(p.Text)
	if p.Text == "" || len(p.Text) > 4000 || p.Key == "" || len(p.Key) > 64 {
		return message{}, calleekit.Errorf(422, "a message has 1 to 4000 bytes, and a key")
	}
	m, err := r.add(ctx, r.name, message{User: caller(ctx), Key: p.Key, Text: p.Text})
	if err != nil {
		return message{}, err
	}
	// With a key, as this may be the second time: subscribers get it once.
	_, err = broker.PublishKeyed(ctx, r.events, strconv.FormatInt(m.ID, 10), "room."+r.name, m, nil)
	return m, err
}

// mark is how far a user has read a room.
type mark struct {
	Room string `json:"room"`
	ID   int64  `json:"id"`
}

// read stores a mark, then tells all devices of the user.
func (r room) read(ctx context.Context, id int64) (any, error) {
	user := caller(ctx)
	if err := r.setRead(ctx, user, r.name, id); err != nil {
		return nil, err
	}
	return nil, broker.Publish(ctx, r.events, "reads."+user, mark{r.name, id}, nil)
}

// progress is a part of a report.
type progress struct {
	Done  int `json:"done"`
	Total int `json:"total"`
}

// report counts who has written how many words. It takes its time, so that one can watch it, and
// ends where its caller cancels.
func (r room) report(ctx context.Context, c *calleekit.Call) (any, error) {
	messages, err := r.newest(ctx, r.name, 10_000)
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
