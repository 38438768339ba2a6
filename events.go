package juggler

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// eventTooLarge is why an event cannot be sent. Some are found too large as they come,
// others once they are encoded, as names and escapes add to them.
const eventTooLarge = "it is larger than what WithMaxQueueBytes lets wait for a client"

// unfitEvent says why an event cannot be sent, or "".
func (h *Handler) unfitEvent(d *broker.Delivery) string {
	e := &d.Event
	switch {
	case d.Gap:
	case len(e.Args)+len(e.Headers) > h.maxPayload():
		return eventTooLarge
	case !frame.ValidJSON(e.Args):
		return "its args are not JSON"
	case len(e.Headers) > 0 && !frame.ValidHeaders(e.Headers):
		return "its headers are not an object of strings"
	}
	return ""
}

// deliverEvents puts events from the broker into the inboxes of the shards that have
// subscribers. The broker calls it on any goroutine.
func (h *Handler) deliverEvents(deliveries []broker.Delivery) {
	for i := range deliveries {
		d := &deliveries[i]
		nt := h.topics.find(d.Topic)
		if nt == nil || leaks(d) {
			continue // the last subscriber left meanwhile
		}
		if problem := h.unfitEvent(d); problem != "" {
			h.log.Error("a publication cannot be sent and becomes a gap", "channel", d.Event.Channel, "reason", problem)
			d = &broker.Delivery{Topic: d.Topic, Gap: true, Pos: d.Pos}
		}
		if d.Gap {
			h.noteGap(d.Topic)
		}
		if nt.chain != nil {
			h.deliverKept(nt, d)
			continue
		}
		for set := nt.shards.Load(); set != 0; set &= set - 1 {
			sh := h.shards[bits.TrailingZeros64(set)].Load()
			sh.awaitRoom()
			sh.postEvent(d)
		}
	}
}

// leaks reports whether a broker has matched a pattern with a channel of the server's own,
// which brokers do not.
func leaks(d *broker.Delivery) bool {
	if !d.Topic.Pattern {
		return false
	}
	_, own := broker.IsOwn(d.Event.Channel)
	return own
}

// event sends an event to the shard's subscribers. It is encoded once for each
// protocol; all of them get the same bytes.
func (sh *shard) event(e *eventItem) {
	lt, ch := sh.topics[e.topic], sh.chainOf(e.topic)
	if lt == nil {
		lt = &noTopic
	}
	if e.gap {
		framed := frameGap(e.topic, e.pos)
		for i := range lt.subs {
			if !lt.subs[i].lags {
				lt.subs[i].s.gap(framed)
			}
		}
		ch.broke(e.pos)
		return
	}
	sh.framed[0], sh.framed[1] = sh.framed[0][:0], sh.framed[1][:0]
	sh.deflated[0].tried, sh.deflated[1].tried = false, false
	lagging := 0
	for i := range lt.subs {
		s := lt.subs[i].s
		if lt.subs[i].lags {
			lagging++
			continue
		}
		if s.state >= closing {
			continue
		}
		framed := &sh.framed[s.protocol]
		if len(*framed) == 0 {
			sh.frameEvent(framed, s.protocol, e)
		}
		var deflated []byte
		if s.Deflates(len(*framed)) {
			deflated = sh.deflated[s.protocol].of(sh, *framed, e.channel)
		}
		switch {
		case len(*framed) > sh.h.cfg.maxQueue:
			s.gap(frameGap(e.topic, e.pos))
		case !s.queue.hold(*framed, deflated):
			s.writeShared(*framed, deflated)
		}
	}
	sh.h.stats.events.Add(uint64(len(lt.subs) - lagging))
	sh.top.add(topEvents, e.channel, len(lt.subs)-lagging)
	if ch != nil {
		ch.event(e)
	}
}

// noTopic is that of a channel to which no session of the shard is subscribed yet.
var noTopic localTopic

// frameEvent encodes an event as a WebSocket message. An event that is larger than
// WithMaxQueueBytes becomes a gap: no client of the protocol can get it.
func (sh *shard) frameEvent(dst *[]byte, p frame.Protocol, e *eventItem) {
	channel, own := broker.IsOwn(e.channel)
	f := frame.Frame{
		Type:        frame.Evnt,
		Publication: e.id,
		Channel:     bytesOf(channel),
		Own:         own,
		Args:        e.args,
		Headers:     e.headers,
		Pos:         e.pos,
	}
	if e.topic.Pattern {
		f.Matched = bytesOf(e.topic.Name)
	}
	if p == frame.Juggler0 {
		f.UUID = broker.NewID()
	}
	sh.out = p.Append(sh.out[:0], &f)
	*dst = wsconn.AppendText(*dst, sh.out)
	if h := sh.h; len(*dst) > h.cfg.maxQueue {
		h.log.Error("a publication cannot be sent and becomes a gap", "channel", e.channel, "protocol", p.String(), "reason", eventTooLarge)
	}
}

// frameGap encodes as a WebSocket message that events of a topic may have been
// missed. A kept channel goes on after pos.
func frameGap(name broker.Topic, pos broker.Position) []byte {
	f := topicFrame(frame.Gap, name)
	f.Pos = pos
	return wsconn.AppendText(nil, frame.Juggler1.Append(nil, &f))
}

// gap sends s what frameGap made. juggler.0 has no message for it: its sessions are
// closed, to subscribe anew.
func (s *session) gap(framed []byte) {
	switch {
	case s.state >= closing:
	case s.protocol == frame.Juggler0:
		s.end(CloseOverloaded, "events may have been missed")
	case !s.queue.hold(framed, nil):
		s.WriteRaw(framed)
	}
}

// noteGap counts and logs a gap, and calls the OnGap hook.
func (h *Handler) noteGap(t broker.Topic) {
	h.stats.gaps.Add(1)
	h.log.Warn("events may have been missed", "channel", t.Name, "pattern", t.Pattern)
	if f := h.cfg.hooks.OnGap; f != nil {
		h.gaps.Do(func() {
			h.callHook(h.ctx, func(ctx context.Context) { f(ctx, t) })
		})
	}
}

// sendEvent sends a PUB to the broker.
func (h *Handler) sendEvent(ctx context.Context, r *Request) error {
	if err := r.makeEvent(); err != nil {
		return err
	}
	ctx, cancel := h.broker.bound(ctx, h.broker.publishesNeverWait)
	defer cancel()
	if !r.hasKey() {
		return h.publish(ctx, &r.brokerEvent)
	}
	if err := h.behind(); err != nil {
		return err
	}
	var done [1]broker.Published
	h.publishKept(ctx, []broker.Publication{r.publication()}, done[:])
	return done[0].Err
}

// makeEvent fills in what the broker gets of a PUB.
func (r *Request) makeEvent() error {
	if err := r.makeKey(); err != nil {
		return err
	}
	r.brokerEvent = broker.Event{Channel: r.channel, Headers: r.headers, Args: r.args}
	if r.s.protocol == frame.Juggler1 {
		r.brokerEvent.ID = broker.NewID()
		return nil
	}
	if len(r.id) == 0 {
		return nil // juggler.0 allows it, and writes it as an empty for
	}
	id, ok := frame.ParseUUID(r.id)
	if !ok {
		return &Error{Code: CodeBadRequest, Message: "uuid is not a UUID"}
	}
	r.brokerEvent.ID = id
	return nil
}

// behind returns an error while a shard of the node has not kept up with its events:
// more would pile up in memory.
func (h *Handler) behind() error {
	for i := range h.numShards.Load() {
		if sh := h.shards[i].Load(); sh != nil && sh.inbox.behind() {
			return broker.WithRetryAfter(fmt.Errorf("the node is behind with events: %w", broker.ErrUnavailable), retryAfter(nil)/4)
		}
	}
	return nil
}

// publish sends an event to the broker.
func (h *Handler) publish(ctx context.Context, e *broker.Event) error {
	if err := h.behind(); err != nil {
		return err
	}
	h.stats.publications.Add(1)
	return publishOutcome(h.broker.pubsub.Publish(ctx, e))
}

// publishOutcome classifies the broker's error for a publication: what it leaves open
// has an unknown outcome.
func publishOutcome(err error) error {
	if err == nil || certainlyNotDone(err) || errors.Is(err, broker.ErrUnknownOutcome) {
		return err
	}
	return fmt.Errorf("%w: %w", broker.ErrUnknownOutcome, err)
}

// Publish publishes an event from server code, made by [broker.NewEvent] of args and
// headers, which may be nil. It returns when the broker has taken the event, or when ctx
// or the time of [WithBrokerTimeout] ends; the errors are those of NewEvent, for what
// cannot be sent, among which is what [WithMaxQueueBytes] does not let wait for a client
// (413), those of [broker.PubSub], and [ErrShutdown]. A program without a handler has
// [broker.Publish].
func (h *Handler) Publish(ctx context.Context, channel string, args any, headers map[string]string) error {
	if h.closing.Load() {
		return ErrShutdown
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.brokerTimeout)
	defer cancel()
	e, err := broker.NewEvent(channel, args, headers)
	if err == nil {
		err = h.checkSize(&e)
	}
	if err == nil {
		err = h.publish(ctx, &e)
	}
	if err != nil {
		return fmt.Errorf("juggler: publish on %s: %w", channel, err)
	}
	return nil
}

// checkSize refuses an event of server code that could wait for no client.
func (h *Handler) checkSize(e *broker.Event) error {
	size, most := len(e.Args)+len(e.Headers), h.maxPayload()
	if size <= most {
		return nil
	}
	return &Error{Code: CodeTooLarge, Message: fmt.Sprintf("args and headers have %d bytes, and at most %d may wait for a client", size, most), Refused: true}
}
