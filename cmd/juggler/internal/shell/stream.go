package shell

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
)

// startStream begins a call whose answer comes in parts.
func startStream(ctx context.Context, c *client.Client, command Command) (*client.Stream, error) {
	var options []client.StreamOption
	for _, o := range callOptions(command) {
		options = append(options, o)
	}
	if command.Parts > 0 {
		options = append(options, client.Window(command.Parts))
	}
	return c.Stream(ctx, command.Names[0], argsOf(command), options...)
}

// streamOnce writes each part as a line of JSON as it comes, and then the result, or what
// failed as {"error":{…}}. Who reads the lines slowly slows the callee down.
func streamOnce(ctx context.Context, c *client.Client, r Request) error {
	s, err := startStream(ctx, c, r.Command)
	if err != nil {
		return r.failed(ctx, err)
	}
	r.noteState(ctx, s)
	for part, err := range s.Parts() {
		if gone, ok := errors.AsType[*client.PartsGoneError](err); ok {
			fmt.Fprintln(r.Notes, gone)
			continue
		}
		if err != nil {
			return r.failed(ctx, err)
		}
		if err := r.writeLine(part); err != nil {
			return err
		}
	}
	var result json.RawMessage
	if err := s.Result(ctx, &result); err != nil {
		return r.failed(ctx, err)
	}
	return r.writeLine(orNull(result))
}

// writeLine writes JSON as one line.
func (r *Request) writeLine(value json.RawMessage) error {
	var line bytes.Buffer
	if err := json.Compact(&line, value); err != nil {
		return err
	}
	line.WriteByte('\n')
	if _, err := r.Config.Out.Write(line.Bytes()); err != nil {
		return exit.With(exit.Failure, err)
	}
	return nil
}

// stream begins a call whose parts are written as they come, and returns what waits for its
// result.
func (c *conn) stream(ctx context.Context, number int, command Command) (result func() (json.RawMessage, error), err error) {
	s, err := startStream(ctx, c.client, command)
	if err != nil {
		return nil, err
	}
	return func() (result json.RawMessage, err error) {
		c.sayState(ctx, number, command, s)
		for part, err := range s.Parts() {
			if gone, ok := errors.AsType[*client.PartsGoneError](err); ok {
				c.say(span{yellow, fmt.Sprintf("#%d %v", number, gone)})
				continue
			}
			if err != nil {
				return nil, err
			}
			c.say(span{cyan, fmt.Sprintf("#%d PART %d", number, s.Last())}, span{plain, " " + string(part)})
		}
		err = s.Result(context.WithoutCancel(ctx), &result)
		return result, err
	}, nil
}
