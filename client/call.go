package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/result"
)

// CallOption configures one call, in one piece or in parts.
type CallOption interface {
	StreamOption
	applyCall(*request)
}

// PublishOption configures one publication.
type PublishOption interface{ applyPublish(*request) }

// RequestOption configures a call or a publication.
type RequestOption interface {
	CallOption
	PublishOption
}

type callFunc func(*request)

func (f callFunc) applyCall(r *request)   { f(r) }
func (f callFunc) applyStream(r *request) { f(r) }

type requestFunc func(*request)

func (f requestFunc) applyCall(r *request)    { f(r) }
func (f requestFunc) applyStream(r *request)  { f(r) }
func (f requestFunc) applyPublish(r *request) { f(r) }

// WithTimeout sets the time of a request, counted from now and whatever
// deadline the context has beyond. A call's is told to the server, which times
// it; the server has a maximum.
func WithTimeout(d time.Duration) RequestOption {
	return requestFunc(func(r *request) {
		if d <= 0 {
			r.err = fmt.Errorf("%w: WithTimeout(%v): want more than 0", ErrInvalidOption, d)
		}
		r.timeout = d
	})
}

// WithHeaders sends headers along, to the callee or to the subscribers.
func WithHeaders(headers map[string]string) RequestOption {
	return requestFunc(func(r *request) { r.headers = frame.AppendHeaders(nil, headers) })
}

// Idempotent says that doing the call twice does no harm: when its connection
// is lost, it is repeated on the next one within its time, rather than fail
// with [ErrUnknownOutcome].
func Idempotent() CallOption { return callFunc(func(r *request) { r.idempotent = true }) }

// FailFast makes the request fail with [ErrNotConnected] while there is no
// connection, rather than wait for one within its time.
func FailFast() RequestOption { return requestFunc(func(r *request) { r.failFast = true }) }

// Call calls uri with in as JSON and unmarshals the result into out. A
// [json.RawMessage] is passed on as it is, and a *json.RawMessage as out gets
// the result as it came; nil as in sends no arguments, nil as out ignores the
// result.
//
// The call has the time until the deadline of ctx, or else that of
// [WithCallTimeout]; it includes the wait for a connection. When ctx ends, the
// call is cancelled at the server and its callee, and the error wraps that of
// ctx. Where that is more time than the server gives a call it has the server's
// maximum, after which the server answers with [CodeExpired]; more than that by
// [WithTimeout] is refused ([CodeBadRequest]).
//
// The error for what the server or the callee answered wraps an [*Error]. Calls
// are done at most once: if the connection is lost before the outcome is known,
// the error wraps [ErrUnknownOutcome]; see [Idempotent], and [Key] for calls whose outcome
// is kept.
func (c *Client) Call(ctx context.Context, uri string, in, out any, opts ...CallOption) error {
	if err := c.call(ctx, uri, in, out, opts); err != nil {
		return fmt.Errorf("juggler: call %s: %w", uri, err)
	}
	return nil
}

func (c *Client) call(ctx context.Context, uri string, in, out any, opts []CallOption) error {
	if err := c.work.begin(); err != nil {
		return err
	}
	defer c.work.end()
	r := c.newCall(uri, opts)
	ends := c.callHooks(ctx, r)
	err := c.makeCall(ctx, r, in, out)
	ends.tell(RequestEnd{Err: err})
	return err
}

// makeCall makes the call r and waits for its result.
func (c *Client) makeCall(ctx context.Context, r *request, in, out any) error {
	if err := c.prepare(ctx, r, in); err != nil {
		return err
	}
	if err := c.submit(ctx, r); err != nil {
		return err
	}
	if err := c.wait(ctx, r); err != nil {
		return err
	}
	err := result.Decode(r.body, out)
	c.recycle(r)
	return err
}

// newCall makes the request for a call.
func (c *Client) newCall(uri string, opts []CallOption) *request {
	r := c.newRequest(frame.Call, uri)
	for _, o := range opts {
		o.applyCall(r)
	}
	return r
}

// prepare checks r, sets its deadline and puts v into it.
func (c *Client) prepare(ctx context.Context, r *request, v any) error {
	if r.err != nil {
		return r.err
	}
	if err := cmp.Or(checkName(r.name), r.checkKey(), ctx.Err()); err != nil {
		return err
	}
	r.setDeadline(ctx, c.cfg.callTimeout)
	return r.setArgs(v)
}

// checkName refuses what cannot be the name of a URI, channel or pattern.
func checkName(name []byte) error {
	switch {
	case len(name) == 0:
		return fmt.Errorf("%w: empty name", ErrInvalidOption)
	case !utf8.Valid(name):
		return fmt.Errorf("%w: name %q is not UTF-8", ErrInvalidOption, name)
	}
	return nil
}

// PendingCall is a call whose outcome may still be to come.
type PendingCall struct {
	uri string
	r   *request
}

// Start begins a call and returns when it is handed to the connection, which
// it waits for. ctx is that of the whole call: its end cancels it. Calls that
// one goroutine starts one after the other reach the server in that order. in
// is not used after Start has returned. Otherwise it is like [Client.Call].
func (c *Client) Start(ctx context.Context, uri string, in any, opts ...CallOption) (*PendingCall, error) {
	r := c.newCall(uri, opts)
	r.async = &asyncPart{ended: c.work.end}
	if err := c.startCall(ctx, r, in); err != nil {
		return nil, fmt.Errorf("juggler: call %s: %w", uri, err)
	}
	return &PendingCall{uri: uri, r: r}, nil
}

// startCall begins the call r, whose outcome is awaited elsewhere.
func (c *Client) startCall(ctx context.Context, r *request, in any) error {
	ends := c.callHooks(ctx, r)
	err := c.prepare(ctx, r, in)
	if err == nil {
		err = c.work.begin()
	}
	if err != nil {
		ends.tell(RequestEnd{Err: err})
		return err
	}
	r.async.ends = ends // from here on finish tells them
	switch in.(type) {
	case json.RawMessage, *json.RawMessage:
		r.args = slices.Clone(r.args) // it may be sent later, on another connection
	}
	r.done = make(chan struct{})
	if ctx.Done() != nil {
		r.watch(ctx, c)
	}
	if err := c.submit(ctx, r); err != nil && r.claim() {
		r.err = err
		r.finish()
		return err
	}
	return nil
}

// Done is closed when the outcome is known.
func (p *PendingCall) Done() <-chan struct{} { return p.r.done }

// Result waits for the outcome within ctx, whose end means nothing to the
// call, and unmarshals it into out as [Client.Call] does. It may be called
// several times.
func (p *PendingCall) Result(ctx context.Context, out any) error {
	if err := p.r.result(ctx, out); err != nil {
		return fmt.Errorf("juggler: call %s: %w", p.uri, err)
	}
	return nil
}

// result waits for the outcome of r, which is async, and puts it into out.
func (r *request) result(ctx context.Context, out any) error {
	select {
	case <-r.done:
	case <-ctx.Done():
	}
	select {
	case <-r.done: // whether or not ctx has ended
	default:
		return fmt.Errorf("not done yet: %w", ctx.Err())
	}
	if r.err != nil {
		return r.err
	}
	return result.Decode(r.body, out)
}

// Publish publishes v as JSON on channel (a [json.RawMessage] as it is, nil
// without args) and waits for the server to confirm it, within ctx or else the
// time of [WithCallTimeout]. The error for what the server refused wraps an
// [*Error]. Otherwise the publication may have been made when there is an
// error: if the connection was lost, it wraps [ErrUnknownOutcome].
//
// If the client is signed in, and the server keeps events, each publication gets a key by
// which the server knows it again (see [Key]). One whose outcome is unknown is then
// repeated by itself, for up to four and a half minutes within its time, and before what is
// published afterwards. On a channel that is kept it is not made twice for that; on others
// the server refuses, and its outcome stays unknown.
func (c *Client) Publish(ctx context.Context, channel string, v any, opts ...PublishOption) error {
	if err := c.publish(ctx, channel, v, opts); err != nil {
		return fmt.Errorf("juggler: publish on %s: %w", channel, err)
	}
	return nil
}

func (c *Client) publish(ctx context.Context, channel string, v any, opts []PublishOption) error {
	if err := c.work.begin(); err != nil {
		return err
	}
	defer c.work.end()
	r := c.newRequest(frame.Pub, channel)
	for _, o := range opts {
		o.applyPublish(r)
	}
	ends := c.callHooks(ctx, r)
	err := c.makePublication(ctx, r, v)
	ends.tell(RequestEnd{Err: err})
	return err
}

// makePublication sends r until it is known what became of it.
func (c *Client) makePublication(ctx context.Context, r *request, v any) error {
	if err := c.prepare(ctx, r, v); err != nil {
		return err
	}
	pauses := backoff{min: c.cfg.minBackoff, max: c.cfg.maxBackoff}
	for {
		err := c.submit(ctx, r)
		if err == nil {
			err = c.wait(ctx, r)
		}
		switch {
		case err == nil:
			c.recycle(r)
			return nil
		case c.awaitRepeat(ctx, r, err, &pauses):
		case r.maybeSent && !errors.Is(err, ErrUnknownOutcome):
			return fmt.Errorf("%w: %w", err, ErrUnknownOutcome)
		default:
			return err
		}
	}
}

// calleeError0 returns the error that the args of a RES hold in juggler.0,
// which has no other place for it: {"error":{"message":"…"}} and nothing else.
func calleeError0(p frame.Protocol, args []byte) error {
	const begin = `{"error":`
	if p != frame.Juggler0 || len(args) < len(begin) || string(args[:len(begin)]) != begin {
		return nil
	}
	var result map[string]struct{ Message *string }
	if json.Unmarshal(args, &result) != nil || len(result) != 1 || result["error"].Message == nil {
		return nil
	}
	return &Error{Code: CodeInternal, Message: *result["error"].Message}
}
