package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

var _ broker.Registry = (*Broker)(nil)

const (
	shortestLife   = time.Second // of what is registered
	mostRegistered = 100_000     // in one table

	// What one command reads of a table, so that no reply holds up others for long.
	registeredPage  = 1000
	registeredBytes = 1 << 20
)

// Register implements [broker.Registry]. A table has up to 100,000 names: more are refused
// with [broker.ErrUnavailable]. Nothing is refused because the server is out of memory.
func (b *Broker) Register(ctx context.Context, table, name string, value []byte, life time.Duration) error {
	if life < shortestLife {
		return wrap("register in", table, fmt.Errorf("the life is %v, want %v or more", life, shortestLife))
	}
	return wrap("register in", table, b.enterTable(ctx, table, name, value, life))
}

// Unregister implements [broker.Registry].
func (b *Broker) Unregister(ctx context.Context, table, name string) error {
	return wrap("unregister in", table, b.enterTable(ctx, table, name, nil, 0))
}

// enterTable registers a value; with the life 0 it ends that.
func (b *Broker) enterTable(ctx context.Context, table, name string, value []byte, life time.Duration) error {
	reply, err := b.askTable(ctx, table, registerScript, len(name)+len(value)+64, func(c *resp.Command) {
		c.AddText(name)
		c.AddNumber(life.Milliseconds())
		c.AddNumber(mostRegistered)
		c.AddBytes(value)
	})
	switch {
	case err != nil:
		return err
	case reply.Kind != ':':
		return fmt.Errorf("%w: unexpected reply of register.lua", broker.ErrUnknownOutcome)
	case reply.Value == 0:
		return fmt.Errorf("%w: the table has %d names", broker.ErrUnavailable, mostRegistered)
	}
	return nil
}

// askTable runs a script on a table.
func (b *Broker) askTable(ctx context.Context, table string, s *resp.Script, size int, args func(*resp.Command)) (resp.Reply, error) {
	index := b.keys.laneOf(table)
	l := b.lane(index)
	if l == nil {
		return resp.Reply{}, broker.ErrClosed
	}
	c := s.On(b.keys.appendKeys(nil, index, table, "registry", "registry-names", "registry-ends"), size)
	args(c)
	return l.writer.do(ctx, c)
}

// Registered implements [broker.Registry].
func (b *Broker) Registered(ctx context.Context, table string) ([]broker.Entry, error) {
	var entries []broker.Entry
	for from, more := "-", true; more; {
		reply, err := b.askTable(ctx, table, registeredScript, 64+len(from), func(c *resp.Command) {
			c.AddText(from)
			c.AddNumber(registeredPage)
			c.AddNumber(registeredBytes)
		})
		if err == nil && (len(reply.List) < 2 || len(reply.List)%2 != 0) {
			err = fmt.Errorf("%w: unexpected reply of registered.lua", broker.ErrUnavailable)
		}
		if err != nil {
			return nil, wrap("read", table, err)
		}
		page := reply.List[2:]
		for i := 0; i < len(page); i += 2 {
			entries = b.appendEntry(entries, table, page[i], page[i+1], reply.List[0].Value)
		}
		if more = reply.List[1].Value != 0 && len(page) > 0; more {
			from = "(" + string(page[len(page)-2].Text)
		}
	}
	return entries, nil
}

// entryHead is the length of the times that stand before a value.
const entryHead = 2 * 13

// appendEntry appends what a table has by a name at a time, unless that is over.
func (b *Broker) appendEntry(entries []broker.Entry, table string, name, value resp.Reply, now int64) []broker.Entry {
	if len(value.Text) == 0 { // it has gone meanwhile
		return entries
	}
	at, end, ok := decodeTimes(value.Text)
	if !ok {
		b.corrupt(b.keys.key(b.keys.laneOf(table), "registry", table), errCorrupt)
		return entries
	}
	if end <= now {
		return entries
	}
	return append(entries, broker.Entry{
		Name:  string(name.Text),
		Value: value.Text[entryHead:],
		Age:   time.Duration(max(now-at, 0)) * time.Millisecond,
		Left:  time.Duration(end-now) * time.Millisecond,
	})
}

// decodeTimes decodes what stands before a value: since when it is there, and until when.
func decodeTimes(value []byte) (at, end int64, ok bool) {
	if len(value) < entryHead {
		return 0, 0, false
	}
	at, err1 := strconv.ParseInt(string(value[:13]), 10, 64)
	end, err2 := strconv.ParseInt(string(value[13:entryHead]), 10, 64)
	return at, end, err1 == nil && err2 == nil
}
