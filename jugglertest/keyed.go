package jugglertest

import (
	"context"
	"errors"
	"fmt"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/kept"
)

// LoseNews makes the next n news of calls with keys get lost, of parts and of outcomes: who
// waits learns of them later, as servers look now and then.
func (b *Broker) LoseNews(n int) { b.lostNews.Store(int64(n)) }

// LoseCall loses what is kept of a call with a key, and the call itself if no callee has
// taken it, as a failover of Redis may. Nobody is told: who waits learns that it is gone when
// the server looks, and a repeated CALL runs it again. scope is that of the session, its user
// unless juggler.WithKeyScope says otherwise.
//
// It panics if the broker is not an embedded one.
func (b *Broker) LoseCall(uri, scope, key string) {
	l, ok := b.roles.(kept.CallLoser)
	if !ok {
		panic(fmt.Sprintf("jugglertest: LoseCall: the broker %T is not an embedded one", b.roles))
	}
	l.LoseCall(broker.NewCallKey(uri, scope, key))
}

// keyedBroker is what the front of b has beyond that if the broker behind it keeps calls.
type keyedBroker struct{ b *Broker }

// OpenKeyedCaller implements broker.KeyedCaller.
func (k keyedBroker) OpenKeyedCaller(ctx context.Context, node broker.ID, deliver func([]broker.Result), parts func([]broker.Part), news func([]broker.CallKey)) (broker.KeyedCallerConn, error) {
	b := k.b
	return b.openCaller(func() (broker.CallerConn, error) {
		return b.roles.(broker.KeyedCaller).OpenKeyedCaller(ctx, node, deliver, parts, func(keys []broker.CallKey) {
			if !loses(&b.lostNews) {
				news(keys)
			}
		})
	})
}

// The following are methods of every callerConn, but called only if the broker behind it
// keeps calls.

// Attach implements broker.KeyedCallerConn.
func (c *callerConn) Attach(ctx context.Context, a *broker.Attachment) error {
	if err := c.b.err("attach to a call of " + a.Call.URI); err != nil {
		return err
	}
	err := c.CallerConn.(broker.KeyedCallerConn).Attach(ctx, a)
	if err == nil && a.State == broker.CallNew {
		c.b.mu.Lock()
		defer c.b.mu.Unlock()
		if c.b.made == nil {
			c.b.made = make(map[broker.CallKey]string)
		}
		c.b.made[a.Call.Key] = a.Call.URI
	}
	return err
}

// ReadCalls implements broker.KeyedCallerConn.
func (c *callerConn) ReadCalls(ctx context.Context, reads []broker.CallRead, records []broker.CallRecord) {
	if err := c.b.err("read calls"); err != nil {
		for i := range records {
			records[i] = broker.CallRecord{Err: err}
		}
		return
	}
	c.CallerConn.(broker.KeyedCallerConn).ReadCalls(ctx, reads, records)
}

// Stop implements broker.KeyedCallerConn.
func (c *callerConn) Stop(ctx context.Context, uri string, key broker.CallKey) error {
	if err := c.b.err("stop a call of " + uri); err != nil {
		return err
	}
	return c.CallerConn.(broker.KeyedCallerConn).Stop(ctx, uri, key)
}

// stopCalls stops the calls with keys that were made here and have no outcome: they do not end
// with their sessions.
func (b *Broker) stopCalls(ctx context.Context) error {
	b.mu.Lock()
	made := b.made
	b.made = nil
	b.mu.Unlock()
	if len(made) == 0 {
		return nil
	}
	conn, err := b.roles.(broker.KeyedCaller).OpenKeyedCaller(ctx, broker.NewID(),
		func([]broker.Result) {}, func([]broker.Part) {}, func([]broker.CallKey) {})
	if err != nil {
		return err
	}
	for key, uri := range made {
		if err := conn.Stop(ctx, uri, key); err != nil && !errors.Is(err, broker.ErrCallGone) {
			return errors.Join(err, conn.Close())
		}
	}
	return conn.Close()
}
