package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/juggler-go/juggler/frame"
	"github.com/oklog/ulid/v2"
)

// OpenKeyedCaller implements [broker.KeyedCaller].
func (b *Broker) OpenKeyedCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part), news func([]broker.CallKey)) (broker.KeyedCallerConn, error) {
	c, err := b.openCaller(ctx, node, deliver, parts, news)
	if err != nil {
		return nil, wrap("open caller", ulid.ULID(node).String(), err)
	}
	return c, nil
}

// Attach implements [broker.KeyedCallerConn].
func (c *callerConn) Attach(ctx context.Context, a *broker.Attachment) error {
	return wrap("attach to a call to", a.Call.URI, c.attach(ctx, a))
}

func (c *callerConn) attach(ctx context.Context, a *broker.Attachment) error {
	switch {
	case a.Call.Key.IsZero():
		return errors.New("it has no key")
	case !a.Join && a.Call.Timeout <= 0:
		return fmt.Errorf("timeout %v is not more than 0", a.Call.Timeout)
	case !a.Join && a.Keep < time.Second:
		return fmt.Errorf("its outcome would be kept for %v, less than 1s", a.Keep)
	case c.closed.Load():
		return broker.ErrClosed
	}
	l := c.lane(a.Call.URI)
	if l == nil {
		return broker.ErrClosed
	}
	if c.parts != nil && c.reader.Load() == nil {
		c.startParts() // which bring news
	}
	call := *a.Call
	call.ReplyTo = newKeyedAddress(call.Key, a.Owner)
	k := &keyedOp{
		to: call.ReplyTo, key: call.Key, join: a.Join, repeat: a.Repeat, node: c.node,
		args: hashOfArgs(call.Args), keep: a.Keep, owned: a.MaxOwned,
	}
	if !call.Window.IsZero() {
		call.Window, k.bytes = everything, max(a.MaxPartBytes, 1)
	}
	o := &op{kind: opAttach, uri: call.URI, timeout: milliseconds(call.Timeout), value: encodeCall(&call), keyed: k, waiter: newWaiter(1)}
	l.writer.Submit(o)
	if err := o.waiter.wait(ctx); err != nil {
		return err
	}
	a.State = k.outcome
	return o.err
}

// statusBytes is about how many bytes the reply to one command that reads records may have.
const statusBytes = 1 << 20

// mostReads is how many records are read by one command at most.
const mostReads = 256

// ReadCalls implements [broker.KeyedCallerConn].
func (c *callerConn) ReadCalls(ctx context.Context, reads []broker.CallRead, records []broker.CallRecord) {
	byLane := map[int][]int{}
	for i := range reads {
		lane := c.broker.keys.laneOf(reads[i].URI)
		byLane[lane] = append(byLane[lane], i)
	}
	var all sync.WaitGroup
	for _, places := range byLane {
		all.Go(func() {
			for len(places) > 0 {
				places = places[c.readSome(ctx, places, reads, records):]
			}
		})
	}
	all.Wait()
}

// readSome reads the first of the records at these places, all of one lane, and returns how
// many: at least one.
func (c *callerConn) readSome(ctx context.Context, places []int, reads []broker.CallRead, records []broker.CallRecord) int {
	places = places[:min(len(places), mostReads)]
	fail := func(err error) int {
		for _, i := range places {
			records[i] = broker.CallRecord{Err: wrap("read a call to", reads[i].URI, err)}
		}
		return len(places)
	}
	l := c.lane(reads[places[0]].URI)
	if l == nil || c.closed.Load() {
		return fail(broker.ErrClosed)
	}
	keys := c.broker.keys
	names := make([]string, 0, 3*len(places))
	for _, i := range places {
		node := keyedNode(reads[i].Key)
		names = append(names, keys.keyed(l.index, node), keys.keyedParts(l.index, node), keys.calls(l.index, reads[i].URI))
	}
	command := statusScript.On(names, 64*len(places))
	command.AddNumber(statusBytes)
	for _, i := range places {
		r := &reads[i]
		command.AddBytes(r.Key[:])
		command.AddNumber(int64(r.After))
		command.AddNumber(int64(r.MaxParts))
		command.AddNumber(int64(r.MaxBytes))
	}
	reply, err := l.writer.do(ctx, command)
	if err != nil {
		return fail(err)
	}
	if len(reply.List) == 0 || len(reply.List) > len(places) {
		return fail(fmt.Errorf("%w: unexpected reply of status.lua", broker.ErrUnknownOutcome))
	}
	for j, status := range reply.List {
		i := places[j]
		if records[i], err = decodeStatus(status.List, reads[i].After); err != nil {
			c.broker.corrupt(names[3*j], err)
			records[i] = broker.CallRecord{Err: wrap("read a call to", reads[i].URI, fmt.Errorf("%w: %w", broker.ErrUnavailable, err))}
		}
	}
	return len(reply.List)
}

// What status.lua returns.
const (
	statusGone = iota
	statusRunning
	statusDone
	statusLate
	statusRefused
	statusExpired
)

// errTimeOver is the outcome of a call whose time was over before it was taken.
var errTimeOver = broker.Error{Code: frame.CodeExpired, Message: "the time of the call was over before it was taken", Refused: true}

// decodeStatus decodes what status.lua says of a record. Parts behind after were asked for.
func decodeStatus(status []resp.Reply, after uint32) (r broker.CallRecord, err error) {
	if len(status) == 1 && status[0].Value == statusGone {
		return r, nil
	} else if len(status) < 5 {
		return r, errCorrupt
	}
	r.State = broker.CallDone
	r.First, r.Attempt = uint32(status[2].Value), uint8(status[4].Value)
	switch status[0].Value {
	case statusRunning:
		r.State, r.Left = broker.CallRunning, time.Duration(status[1].Value)*time.Millisecond
	case statusExpired:
		refused := errTimeOver
		r.Result.Err = &refused
	default:
		if r.Result, err = decodeResult(broker.ID{}, status[3].Text); err != nil {
			return broker.CallRecord{}, err
		}
		r.Result.To, r.Late = broker.Address{}, status[0].Value == statusLate
		if status[0].Value == statusRefused && r.Result.Err != nil {
			r.Result.Err.Refused = true
		}
	}
	first := max(after+1, r.First)
	for i, part := range status[5:] {
		r.Parts = append(r.Parts, broker.Part{N: first + uint32(i), Args: nonEmpty(part.Text)})
	}
	return r, nil
}

// errStopped is the outcome of a call that was stopped.
var errStopped = broker.Error{Code: frame.CodeCancelled, Message: "the call was stopped"}

// Stop implements [broker.KeyedCallerConn].
func (c *callerConn) Stop(ctx context.Context, uri string, key broker.CallKey) error {
	return wrap("stop a call to", uri, c.stopCall(ctx, uri, key))
}

func (c *callerConn) stopCall(ctx context.Context, uri string, key broker.CallKey) error {
	if c.closed.Load() {
		return broker.ErrClosed
	}
	l := c.lane(uri)
	if l == nil {
		return broker.ErrClosed
	}
	keys, to := c.broker.keys, broker.Address{Node: keyedNode(key)}
	for {
		// Which owner's it is the record says, and the script has to be given his key.
		record, err := l.writer.do(ctx, resp.NewCommand("GETEX", keys.keyed(l.index, to.Node)))
		switch {
		case err != nil:
			return err
		case len(record.Text) < recordHead || string(record.Text[17:33]) != string(key[:]):
			return broker.ErrCallGone
		}
		to.Ref = [16]byte(record.Text[1:17])
		reply, err := l.writer.do(ctx, haltScript.Command(
			[]string{keys.keyed(l.index, to.Node), keys.keyedParts(l.index, to.Node), keys.keyedOwner(l.index, to.Ref), keys.calls(l.index, uri)},
			address(to), encodeResult(&broker.Result{To: to, Err: &errStopped}), keys.cancelChannel(l.index), keys.publish()))
		if err != nil {
			return err
		}
		if len(reply.List) == 2 && reply.List[0].Value >= 0 {
			c.broker.news.tell(reply.List[1].Text)
			return nil
		}
	}
}

// recordHead is the length of the fixed fields of a record.
const recordHead = 122
