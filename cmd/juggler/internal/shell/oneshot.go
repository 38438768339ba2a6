package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
)

// A Request is one command for a process to do: JSON goes to Out, and the
// exit code is that of the error.
type Request struct {
	Config  Config
	Command Command
	Count   int       // events after which sub and psub end; 0: none
	Notes   io.Writer // for people; where sub says that it is subscribed
}

// Do does one command.
func Do(ctx context.Context, r Request) error {
	v, err := verbNamed(r.Command.Verb)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	return v.oneShot(ctx, r)
}

// dial opens the connection of a process.
func (r *Request) dial(ctx context.Context, options ...client.Option) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Config.Timeout)
	defer cancel()
	if err := checkURL(r.Config.URL); err != nil {
		return nil, err
	}
	c, err := client.Dial(ctx, r.Config.URL, append(slices.Clone(r.Config.Options), options...)...)
	if err != nil {
		return nil, dialError(r.Config.URL, err)
	}
	return c, nil
}

// callOnce writes the result, or what failed as {"error":{…}}; with parts, each before it.
func callOnce(ctx context.Context, r Request) error {
	var options []client.Option
	if r.Command.Key == "" { // else the call outlives the connection
		options = append(options, client.WithoutReconnect())
	}
	c, err := r.dial(ctx, options...)
	if err != nil {
		return err
	}
	defer c.Close()
	if r.Command.Stream {
		return streamOnce(ctx, c, r)
	}
	pending, err := c.Start(ctx, r.Command.Names[0], argsOf(r.Command), callOptions(r.Command)...)
	if err != nil {
		return r.failed(ctx, err)
	}
	r.noteState(ctx, pending)
	var result json.RawMessage
	if err := pending.Result(context.WithoutCancel(ctx), &result); err != nil {
		return r.failed(ctx, err)
	}
	_, err = fmt.Fprintf(r.Config.Out, "%s\n", orNull(result))
	return err
}

// pubOnce writes nothing.
func pubOnce(ctx context.Context, r Request) error {
	c, err := r.dial(ctx, client.WithoutReconnect())
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, r.Config.Timeout)
	defer cancel()
	if err := c.Publish(ctx, r.Command.Names[0], argsOf(r.Command), publishOptions(r.Command)...); err != nil {
		return r.failed(ctx, err)
	}
	return nil
}

// failed writes the error of a request as JSON and returns it as the process's.
func (r *Request) failed(ctx context.Context, err error) error {
	var e *client.Error
	if errors.As(err, &e) {
		type body struct {
			Code       int             `json:"code"`
			Message    string          `json:"message"`
			Data       json.RawMessage `json:"data,omitempty"`
			RetryAfter int64           `json:"retry_after,omitempty"` // ms, as in the protocol
		}
		line, _ := json.Marshal(map[string]body{"error": {int(e.Code), e.Message, e.Data, e.RetryAfter.Milliseconds()}})
		fmt.Fprintf(r.Config.Out, "%s\n", line)
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return exit.With(exit.Interrupted, errors.New("interrupted"))
	}
	return exit.With(CodeOf(err), fmt.Errorf("%s %s: %s", r.Command.Verb, r.Command.Names[0], Describe(err)))
}

// A line of sub and psub.
type eventLine struct {
	ID      string            `json:"id,omitempty"`
	Pos     string            `json:"pos,omitempty"`     // for --since
	Channel string            `json:"channel,omitempty"` // empty for the GAP of a pattern
	Pattern string            `json:"pattern,omitempty"`
	Args    json.RawMessage   `json:"args,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Gap     bool              `json:"gap,omitempty"`
}

// subOnce writes each event as a line of JSON, until ctx ends, Count events
// came, or nobody reads them any more.
func subOnce(ctx context.Context, r Request) error {
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	subscribe, cancel := context.WithTimeout(ctx, r.Config.Timeout)
	defer cancel()
	sub, err := c.Subscribe(subscribe, r.Command.Names[0], subscribeOptions(r.Command)...)
	if err != nil {
		return r.failed(ctx, err)
	}
	fmt.Fprintf(r.Notes, "subscribed to %s\n", r.Command.Names[0])
	out := &lockedWriter{w: r.Config.Out}
	ctx, end := context.WithCancelCause(ctx)
	var telling sync.WaitGroup
	defer telling.Wait()
	defer end(nil)
	if r.Command.Here {
		telling.Go(func() {
			if err := writeHere(ctx, out, sub); err != nil {
				end(err)
			}
		})
	}
	for n := 0; r.Count == 0 || n < r.Count; {
		e, err := sub.Next(ctx)
		if e, ok := errors.AsType[*exit.Error](context.Cause(ctx)); ok {
			return e
		}
		if ctx.Err() != nil {
			return nil // a stream is ended by a signal, as it should be
		}
		if err != nil {
			return exit.With(codeOfEnd(err), fmt.Errorf("%s %s: %s", r.Command.Verb, r.Command.Names[0], describeEnd(err)))
		}
		if !e.Gap {
			n++
		}
		if err := writeEvent(out, e); err != nil {
			return exit.With(exit.Failure, err)
		}
	}
	return nil
}

func writeEvent(w io.Writer, e client.Event) error {
	line := eventLine{Channel: e.Channel, Pattern: e.Pattern, Args: e.Args, Headers: e.Headers, Gap: e.Gap}
	if !e.Gap {
		line.ID = e.ID.String()
	}
	if !e.Pos.IsZero() {
		line.Pos = e.Pos.String()
	}
	return writeLine(w, line)
}

// DefaultTimeout is that of connecting, subscribing and publishing.
const DefaultTimeout = 10 * time.Second
