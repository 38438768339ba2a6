package shell

import (
	"context"
	"fmt"

	"github.com/juggler-go/juggler/client"
)

// keyOptions returns what the key of a call asks for.
func keyOptions(c Command) []client.CallOption {
	var options []client.CallOption
	if c.Key != "" {
		options = append(options, client.Key(c.Key))
	}
	if c.Join {
		options = append(options, client.Join(c.After))
	}
	return options
}

// A joiner is a call that knows how far it was when it was joined.
type joiner interface {
	State(ctx context.Context) (client.CallState, error)
}

// sayState says how far a call with a key was, once the server has.
func (c *conn) sayState(ctx context.Context, number int, command Command, call joiner) {
	if command.Key == "" {
		return
	}
	if state, err := call.State(ctx); err == nil {
		c.say(span{dim, fmt.Sprintf("#%d ACK %s", number, state)})
	}
}

// noteState is sayState for a process that does one thing.
func (r *Request) noteState(ctx context.Context, call joiner) {
	if r.Command.Key == "" {
		return
	}
	if state, err := call.State(ctx); err == nil {
		fmt.Fprintf(r.Notes, "call %s: %s\n", r.Command.Names[0], state)
	}
}

// stop ends a call with a key for all.
func (s *Shell) stop(ctx context.Context, c Command) error {
	k, err := s.named(nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if err := k.client.Stop(ctx, c.Names[0], c.Names[1]); err != nil {
		return err
	}
	k.say(span{dim, "stopped " + c.Names[0]})
	return nil
}

// stopOnce writes nothing, unless it fails.
func stopOnce(ctx context.Context, r Request) error {
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, r.Config.Timeout)
	defer cancel()
	if err := c.Stop(ctx, r.Command.Names[0], r.Command.Names[1]); err != nil {
		return r.failed(ctx, err)
	}
	return nil
}
