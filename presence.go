package juggler

import (
	"context"
	"encoding/json"
	"fmt"
	"math/bits"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/names"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/presence"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// Who is in channels is known by rules, and counted by the handler's presence.Hub for the
// sessions of the node (here.go has what they do); the broker has it for all nodes.

// A PresenceRule says of which channels it is known who is there.
type PresenceRule struct {
	// Channels is a channel, or how channels begin and then a star: "room.*". A star alone
	// is all but the server's own ([broker.OwnChannel]), which a rule has to begin with.
	Channels string

	// Info returns what others are told of the session's user beside its name, encoded with
	// encoding/json into at most 256 bytes: a name, a picture. What is larger, or cannot be
	// encoded, is logged and left out, as nil is. Of a user with several sessions the newest
	// counts. It is called when a session subscribes, and when it signs in while it is
	// subscribed. It is on the event loop, so it must never wait; it may panic, but not call
	// runtime.Goexit. Default: nothing is told but the user.
	Info func(s Session, channel string) any
}

// presenceRule is a PresenceRule that was checked.
type presenceRule struct {
	PresenceRule
	channels names.Set
	own      bool
}

// WithPresence has the server know who is in channels, and tell it to who asks: the users of
// the sessions that are subscribed to a channel by its name, on all nodes. The first rule
// counts that has the channel. All nodes should have the same rules; there are up to 256.
//
// Whoever may subscribe to such a channel may see who is there. Clients ask with their SUB,
// the server with [Handler.Here], and [Hooks] has functions that are told who comes and
// leaves. It needs a broker that is a [broker.Presence]. Default: nothing is known, and it costs nothing.
func WithPresence(rules ...PresenceRule) Option {
	return optionFunc(func(c *config) {
		c.needPresence = append(c.needPresence, "WithPresence")
		if len(rules) > option.PresenceRules {
			c.problems.Add(fmt.Sprintf("WithPresence: %d rules, want up to %d", len(rules), option.PresenceRules))
			return
		}
		c.presence = nil
		for _, r := range rules {
			c.addPresenceRule(r)
		}
	})
}

// WithPresenceGrace sets for how long a user counts whose session has left a channel, or has
// ended: one who is back within that time was never away, and nobody is told anything. A
// session that signs in as somebody else, or whose subscription the server ends, is gone at
// once. Default: 10 s; 0 to 1 h.
func WithPresenceGrace(d time.Duration) Option {
	return optionFunc(func(c *config) {
		c.needPresence = append(c.needPresence, "WithPresenceGrace")
		c.presenceGrace = d
	})
}

// WithMaxPresent sets of how many users in a channel clients are told who they are; of more
// they are told the number, and so they are where the list would not fit into a quarter of
// [WithMaxQueueBytes]. Default: 100; 1 to 1,000.
func WithMaxPresent(n int) Option {
	return optionFunc(func(c *config) {
		c.needPresence = append(c.needPresence, "WithMaxPresent")
		c.maxPresent = n
	})
}

// addPresenceRule adds a rule, or the problem that it has.
func (c *config) addPresenceRule(r PresenceRule) {
	refuse := func(problem string) { c.problems.Add(fmt.Sprintf("WithPresence(%q): %s", r.Channels, problem)) }
	channels, ok := names.Parse(r.Channels)
	if !ok {
		refuse("want " + names.Want)
		return
	}
	_, own := broker.IsOwn(r.Channels)
	for _, earlier := range c.presence {
		if earlier.own == own && earlier.channels.Covers(channels) {
			refuse(fmt.Sprintf("the rule of %q before it has all of its channels", earlier.Channels))
			return
		}
	}
	c.presence = append(c.presence, presenceRule{r, channels, own})
}

// checkPresence refuses options that have no effect.
func (c *config) checkPresence() {
	_, able := c.pubsub.(broker.Presence)
	for _, name := range c.needPresence {
		switch {
		case !able && c.pubsub != nil: // the default broker is
			c.problems.Add(fmt.Sprintf("%s: the broker, %T, cannot do it: it is no broker.Presence", name, c.pubsub))
		case len(c.presence) == 0 && c.problems.None():
			c.problems.Add(name + ": it has no effect without a rule of WithPresence")
		}
	}
}

// presenceRule returns the number of the rule that a topic has, from 1; 0: none.
func (c *config) presenceRule(t broker.Topic) uint16 {
	if len(c.presence) == 0 || t.Pattern {
		return 0
	}
	_, own := broker.IsOwn(t.Name)
	for i := range c.presence {
		if r := &c.presence[i]; r.own == own && r.channels.Has(t.Name) {
			return uint16(i + 1)
		}
	}
	return 0
}

// newPresence makes the hub, if there are rules.
func (h *Handler) newPresence() {
	if len(h.cfg.presence) == 0 {
		return
	}
	cfg := presence.Config{
		Grace:   h.cfg.presenceGrace,
		Most:    h.cfg.maxPresent,
		Bytes:   h.maxPayload() / 4,
		Timeout: h.cfg.brokerTimeout,
		Running: &h.work,
		Log:     h.log,
		Tell:    h.tellHere,
	}
	if f := h.cfg.hooks.OnFirstIn; f != nil {
		cfg.FirstIn = func(channel string, m broker.Member) {
			h.presenceHook(func(ctx context.Context) { f(ctx, channel, m) })
		}
	}
	if f := h.cfg.hooks.OnLastOut; f != nil {
		cfg.LastOut = func(channel, user string) {
			h.presenceHook(func(ctx context.Context) { f(ctx, channel, user) })
		}
	}
	h.here = presence.New(cfg)
	h.comings.Running = &h.work
}

// openPresence opens the connection to who is in channels, if there are rules.
func (b *brokerSide) openPresence(ctx context.Context, h *Handler) error {
	if h.here == nil {
		return nil
	}
	conn, err := b.pubsub.(broker.Presence).OpenPresence(ctx, h.node, h.here.Changed)
	if err == nil {
		b.presence = conn
		h.here.Start(conn)
	}
	return err
}

// closePresence follows openPresence.
func (b *brokerSide) closePresence() error {
	if b.presence == nil {
		return nil
	}
	return b.presence.Close()
}

// maxComings is how many calls of the hooks OnFirstIn and OnLastOut wait at most.
const maxComings = 1 << 14

// presenceHook has a hook called that is told who comes and leaves. It does not wait.
func (h *Handler) presenceHook(f func(context.Context)) {
	if h.comings.Len() >= maxComings {
		h.stats.comingsLost.Add(1)
		h.log.Error("hooks are too slow to be told of users who come and leave: some were left out")
		return
	}
	h.comings.Do(func() { h.callHook(h.ctx, f) })
}

// Here returns who is in a channel that has a rule of [WithPresence], on all nodes, as it is
// now: how many users, and who they are unless they are more than [WithMaxPresent] says.
// What the sessions of this node have done before is in it. It asks the broker each time,
// within ctx and [WithBrokerTimeout]. Errors are those of [broker.PubSub], [ErrShutdown],
// and an [Error] with code 400 for a channel without a rule.
func (h *Handler) Here(ctx context.Context, channel string) (here broker.Here, err error) {
	if h.closing.Load() {
		return here, ErrShutdown
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.brokerTimeout)
	defer cancel()
	if h.cfg.presenceRule(broker.Topic{Name: channel}) == 0 {
		err = &Error{Code: CodeBadRequest, Message: "no rule of WithPresence has the channel", Refused: true}
	} else if err = h.start(ctx); err == nil {
		if err = h.here.Flush(ctx); err == nil {
			here, err = h.here.Read(ctx, channel)
		}
	}
	if err != nil {
		return broker.Here{}, fmt.Errorf("juggler: who is in %q: %w", channel, err)
	}
	return here, nil
}

// tellHere leaves a notice with the shards whose sessions ask. It is framed once.
func (h *Handler) tellHere(n *presence.Notice) {
	framed := wsconn.AppendText(nil, frame.Juggler1.Append(nil, &frame.Frame{
		Type: frame.Here, Channel: bytesOf(n.Channel), Members: n.Members, Joined: n.Joined, Left: n.Left, Count: n.Count, HasCount: true,
	}))
	channel, number := n.Channel, n.Number
	for set := n.Shards; set != 0; set &= set - 1 {
		sh := h.shards[bits.TrailingZeros64(set)].Load()
		sh.command(func() { sh.tellHere(channel, number, framed) })
	}
}

// presentInfo asks a rule what others are told of the user of s, on the turn.
func (s *session) presentInfo(lt *localTopic) (info []byte) {
	h := s.shard.h
	channel := lt.node.name.Name
	f := h.cfg.presence[lt.node.rule-1].Info
	if f == nil {
		return nil
	}
	var value any
	var err error
	call := s.shard.enter(pcOf(f))
	h.protect("presence info", endedLoop, func() {
		if value = f(Session{s}, channel); value != nil {
			info, err = json.Marshal(value)
		}
	})
	h.leave(call)
	if err == nil && len(info) > broker.MaxMemberInfo {
		err = fmt.Errorf("it has %d bytes, want at most %d", len(info), broker.MaxMemberInfo)
	}
	if err != nil {
		h.log.Error("the info of a user in a channel cannot be told", "channel", channel, "user", Session{s}.User(), "error", err)
		return nil
	}
	return info
}
