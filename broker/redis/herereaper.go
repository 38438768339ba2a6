package redis

import (
	"context"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// Nodes that are gone are found by the heartbeats of the others, which return stays that are
// over: to one of the nodes at a time. That one removes what the stays have left, channel by
// channel, and tells of it. If it dies itself meanwhile another one goes on.

// reapLocked has stays be removed. mu is held.
func (h *hereLane) reapLocked(stays ...string) {
	h.dead = append(h.dead, stays...)
	if !h.reaping {
		h.reaping = h.conn.start(h.reap)
	}
}

func (h *hereLane) reap() {
	for {
		h.mu.Lock()
		if len(h.dead) == 0 || h.conn.quit.Err() != nil {
			h.reaping = false
			h.mu.Unlock()
			return
		}
		stay := h.dead[0]
		h.dead = h.dead[1:]
		h.mu.Unlock()
		h.remove(h.conn.quit, stay) //nolint:errcheck // a later heartbeat returns it again
	}
}

// reapNow looks for stays that are over, and removes them before it returns.
func (h *hereLane) reapNow(ctx context.Context) error {
	c := h.beatCommand("look", hereDeadMost, "", "")
	if _, err := h.lane.writer.do(ctx, c); err != nil {
		return err
	}
	if len(c.Reply.List) != 3 {
		return resp.ErrProtocol
	}
	for _, stay := range c.Reply.List[2].Texts() {
		if err := h.remove(ctx, stay); err != nil {
			return err
		}
	}
	return nil
}

// remove removes what a stay has left that is over.
func (h *hereLane) remove(ctx context.Context, stay string) error {
	keys, index := h.conn.broker.keys, h.lane.index
	for removed := 0; ; {
		cursor := "0"
		for {
			page, err := h.lane.writer.do(ctx, resp.NewCommand("HSCAN", keys.hereOf(index, stay), cursor, "COUNT", hereAtOnce))
			if err != nil {
				return err
			}
			if len(page.List) != 2 {
				return resp.ErrProtocol
			}
			var channels []string
			for i, text := range page.List[1].Texts() {
				if i%2 == 0 && text != "" {
					channels = append(channels, text)
				}
			}
			n, err := h.dropAll(ctx, stay, channels)
			if removed += n; err != nil {
				return err
			}
			if cursor = string(page.List[0].Text); cursor == "0" {
				break
			}
		}
		c := hereDropScript.Command([]string{keys.hereDead(index), keys.hereOf(index, stay)}, stay, hereUsers)
		reply, err := h.lane.writer.do(ctx, c)
		if err != nil {
			return err
		}
		if len(reply.List) != 3 || reply.List[0].Value == 1 {
			h.conn.broker.config.logger.Info("what a node had put is removed that is gone or begins anew", "stay", stay, "lane", index, "channels", removed)
			return nil
		}
	}
}

// dropAll removes what a stay has put in channels, and returns from how many.
func (h *hereLane) dropAll(ctx context.Context, stay string, channels []string) (removed int, err error) {
	cursors := make([]string, len(channels))
	for i := range cursors {
		cursors[i] = "0"
	}
	for len(channels) > 0 {
		w := newWaiter(len(channels))
		ops := make([]*op, len(channels))
		for i, channel := range channels {
			ops[i] = &op{command: h.dropCommand(stay, channel, cursors[i]), waiter: w}
		}
		h.lane.writer.Submit(ops...)
		if err := w.wait(ctx); err != nil {
			return removed, err
		}
		left := 0
		for i, o := range ops {
			reply := o.command.Reply.List
			switch {
			case o.err != nil:
				h.lane.refused("remove what a dead node has put", o.command.Reply)
				return removed, o.err
			case len(reply) != 3:
				return removed, resp.ErrProtocol
			}
			h.conn.made(channels[i], reply[1].Text)
			if reply[0].Value == 1 {
				removed++
				continue
			}
			channels[left], cursors[left] = channels[i], string(reply[2].Text)
			left++
		}
		channels, cursors = channels[:left], cursors[:left]
	}
	return removed, nil
}

// dropCommand returns the command that removes some of what a stay has put in a channel.
func (h *hereLane) dropCommand(stay, channel, cursor string) *resp.Command {
	keys, index := h.conn.broker.keys, h.lane.index
	c := hereDropScript.On([]string{
		keys.hereDead(index), keys.hereOf(index, stay),
		keys.herePut(index, stay, channel), keys.here(index, channel),
	}, 128+len(channel))
	c.AddText(stay)
	c.AddNumber(hereUsers)
	h.addTelling(c, channel)
	c.AddText(cursor)
	return c
}
