package juggler

import (
	"context"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// What sessions have to do with who is in channels: all of it belongs to the turn, but for
// askHere.

// shardHere is what a shard has of it.
type shardHere struct {
	as    map[*session]string // as which user a session counts
	asked map[*localTopic]*askedTopic
}

// askedTopic is a topic of which sessions of the shard ask who is there.
type askedTopic struct {
	asks  int
	seen  uint64              // the number of the notice that was sent last
	later map[*session]uint64 // who gets only the notices beyond one that is on its way
}

// enterHere counts s among the users in a topic that has just become one of its.
func (s *session) enterHere(lt *localTopic, sub *subscriber) {
	if lt.node.rule == 0 {
		return
	}
	user, counts := s.shard.here.as[s]
	if !counts {
		if user = (Session{s}).User(); user == "" {
			return
		}
		s.countHereAs(user)
	}
	sub.in = true
	s.shard.h.here.Enter(lt.node.name.Name, user, s.presentInfo(lt))
}

// countHereAs notes as which user s counts.
func (s *session) countHereAs(user string) {
	here := &s.shard.here
	if here.as == nil {
		here.as = make(map[*session]string)
	}
	here.as[s] = user
}

// leaveHere follows enterHere when s leaves the topic, and ends that it asks.
func (s *session) leaveHere(lt *localTopic, sub *subscriber, atOnce bool) {
	if lt.node.rule == 0 {
		return
	}
	s.stopHere(lt, sub)
	if sub.in {
		s.shard.h.here.Leave(lt.node.name.Name, s.shard.here.as[s], atOnce)
	}
}

// goneHere is called when s has left all its topics for good.
func (s *session) goneHere() { delete(s.shard.here.as, s) }

// hereAsWho has s count as who it is now, after an AUTH. Some of its topics it may have since
// its identity has changed, and count there already.
func (s *session) hereAsWho() {
	sh, hub := s.shard, s.shard.h.here
	if hub == nil {
		return
	}
	was := sh.here.as[s]
	is := (Session{s}).User()
	delete(sh.here.as, s)
	for _, sub := range s.subs {
		lt := sub.topic
		if lt.node.rule == 0 {
			continue
		}
		channel, at := lt.node.name.Name, &lt.subs[sub.index]
		counts := at.in
		at.in = is != ""
		switch {
		case counts && was == is:
			s.countHereAs(is)
			hub.Inform(channel, is, s.presentInfo(lt))
		default:
			if is != "" {
				s.countHereAs(is)
				hub.Enter(channel, is, s.presentInfo(lt))
			}
			if counts {
				hub.Leave(channel, was, true)
			}
		}
	}
}

// askHere has notices come to the shard of a SUB that asks who is there. It may wait.
func (h *Handler) askHere(ctx context.Context, r *Request) error {
	ctx, cancel := h.broker.bound(ctx, false)
	defer cancel()
	err := h.here.Ask(ctx, r.channel, int(r.s.shard.number))
	r.asked = err == nil
	return err
}

// forgetHere gives back what askHere took for r.
func (h *Handler) forgetHere(r *Request) {
	if r.asked {
		r.asked = false
		h.here.Release(r.channel, int(r.s.shard.number))
	}
}

// settleHere has s ask who is there, or not any more, as a SUB says that has ended with err.
func (s *session) settleHere(r *Request, err error) {
	sh := s.shard
	if sh.h.here == nil {
		return
	}
	lt := sh.topics[r.topic()]
	if err != nil || lt == nil || lt.node.rule == 0 {
		sh.h.forgetHere(r)
		return
	}
	sub := &lt.subs[s.subs[s.subscribedTo(lt)].index]
	s.stopHere(lt, sub) // what it knows begins anew
	if !r.asked {
		return
	}
	sub.here = true
	if sh.here.asked == nil {
		sh.here.asked = make(map[*localTopic]*askedTopic)
	}
	a := sh.here.asked[lt]
	if a == nil {
		a = &askedTopic{}
		sh.here.asked[lt] = a
	}
	a.asks++
}

// stopHere ends that s, which sub is of, asks who is in a topic.
func (s *session) stopHere(lt *localTopic, sub *subscriber) {
	if !sub.here {
		return
	}
	sub.here = false
	sh := s.shard
	a := sh.here.asked[lt]
	delete(a.later, s)
	if a.asks--; a.asks == 0 {
		delete(sh.here.asked, lt)
	}
	sh.h.here.Release(lt.node.name.Name, int(sh.number))
}

// ackHere writes into the ACK of a SUB who is there. Notices follow it.
func (s *session) ackHere(f *frame.Frame, r *Request) {
	sh := s.shard
	a := sh.here.asked[sh.topics[r.topic()]]
	members, count, number := sh.h.here.Snapshot(r.channel, sh.here.as[s])
	f.Members, f.Count, f.HasCount = members, count, true
	if a.seen < number {
		if a.later == nil {
			a.later = make(map[*session]uint64)
		}
		a.later[s] = number
	}
}

// tellHere sends a notice to the sessions that ask.
func (sh *shard) tellHere(channel string, number uint64, framed []byte) {
	lt := sh.topics[broker.Topic{Name: channel}]
	a := sh.here.asked[lt]
	if a == nil {
		return
	}
	a.seen = number
	sent, shared := 0, deflatedFrame{}
	for i := range lt.subs {
		sub := &lt.subs[i]
		if !sub.here || sub.s.state >= closing {
			continue
		}
		if from, later := a.later[sub.s]; later {
			if number <= from {
				continue
			}
			delete(a.later, sub.s)
		}
		var deflated []byte
		if sub.s.Deflates(len(framed)) {
			deflated = shared.of(sh, framed, channel)
		}
		sub.s.writeShared(framed, deflated)
		sent++
	}
	sh.h.stats.heres.Add(uint64(sent))
}
