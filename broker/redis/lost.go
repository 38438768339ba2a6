package redis

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// searchLost has the logs of a lane asked for the positions that they may lack, if there are
// any. Where they do, all who are subscribed to the channel are told: a subscriber that had
// none of the lost events cannot know of them, nor could a client that comes back.
func (l *lane) searchLost() {
	h, c := l.broker.hub, &l.confirmed
	h.mu.Lock()
	defer h.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.closed || c.searching || len(c.suspects) == 0 {
		return
	}
	c.searching = true
	h.asks.Go(l.search)
}

func (l *lane) search() {
	b := l.broker
	for failures := 0; b.hub.quit.Err() == nil; {
		some, place := l.confirmed.next()
		if len(some) == 0 {
			return
		}
		if err := l.ask(some); err != nil {
			if resp.IsServerError(err) && failures == 0 {
				b.config.logger.Error("the server refused to search for lost events, which is tried again", "lane", l.index, "error", err)
			}
			conn.Sleep(b.hub.quit, b.backoff.After(failures))
			failures++
			continue
		}
		failures = 0
		l.confirmed.searched(some, place)
	}
}

// ask looks for positions in logs, and ends the lives of those that lack them. As a rule a
// channel stands where it stood.
func (l *lane) ask(suspects []suspect) error {
	channels := make([]string, len(suspects))
	for i := range suspects {
		channels[i] = suspects[i].channel
	}
	stand, err := l.broker.stand(l.broker.hub.quit, l.index, channels)
	if err != nil {
		return err
	}
	var odd []*suspect
	for i := range suspects {
		s := &suspects[i]
		if s.known = stand[i] == s.pos; !s.known {
			odd = append(odd, s)
		}
	}
	for part := range slices.Chunk(odd, maxReads) {
		if err := l.endLost(part); err != nil {
			return err
		}
	}
	return nil
}

// endLost ends the lives of the logs that lack their positions.
func (l *lane) endLost(suspects []*suspect) error {
	for range maxChanges {
		rules := l.broker.history.of(l.index)
		suspects = slices.DeleteFunc(suspects, func(s *suspect) bool { return rules.Find(s.channel) < 0 })
		if len(suspects) == 0 {
			return nil
		}
		reply, err := l.writer.do(l.broker.hub.quit, l.lostCommand(rules, suspects))
		if err == nil && reply.Kind == '$' {
			if err = l.missRules(l.broker.hub.quit, string(reply.Text)); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		return l.endedLost(suspects, reply.List)
	}
	return fmt.Errorf("%w: the rules of history keep changing", broker.ErrUnavailable)
}

// lostCommand returns the command that ends lives.
func (l *lane) lostCommand(rules *ruleSet, suspects []*suspect) *resp.Command {
	keys := l.broker.keys
	names := append(make([]string, 0, 1+2*len(suspects)), keys.rules(l.index))
	for _, s := range suspects {
		names = append(names, keys.pos(l.index, s.channel))
	}
	for _, s := range suspects {
		names = append(names, keys.log(l.index, s.channel))
	}
	c := lostScript.On(names, 160*len(suspects))
	c.AddNumber(int64(len(suspects)))
	c.AddText(rules.version)
	c.AddText(keys.publish())
	for _, s := range suspects {
		place := rules.Find(s.channel)
		rule := rules.At(place)
		c.AddText(keys.eventChannel(s.channel))
		c.AddText(rules.ids[place])
		c.AddNumber(int64(rule.Events))
		c.AddNumber(rule.For.Milliseconds())
		c.AddNumber(int64(s.pos.At))
		c.AddBytes(binary.BigEndian.AppendUint64(nil, s.pos.Tag))
		c.AddNumber(digit(s.moved))
		c.AddBytes(binary.BigEndian.AppendUint64(nil, newTag()))
	}
	return c
}

// endedLost reads the reply of lost.lua.
func (l *lane) endedLost(suspects []*suspect, replies []resp.Reply) (err error) {
	if len(replies) != len(suspects) {
		return resp.ErrProtocol
	}
	ended, example := 0, ""
	for i, r := range replies {
		switch {
		case r.Kind != ':':
			err = resp.Error(string(r.Text))
		case r.Value == 0:
			suspects[i].known = true
		case r.Value == 1:
			ended, example = ended+1, suspects[i].channel
		}
	}
	if ended > 0 {
		l.broker.config.logger.Warn("the server has lost kept events that it had confirmed: all who are subscribed are told", "channels", ended, "channel", example)
	}
	return err
}
