package outside

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/juggler-go/juggler/calleekit"
)

var errNotJSON = errors.New("a part of its answer is not JSON")

// parts sends what is read as the parts of an answer. It reads no further while the caller
// takes no more, so what writes it has to wait.
type parts struct {
	call   *calleekit.Call
	limits Limits

	// held was read and not sent: it has the form of an error, which is that of the call if
	// nothing follows, or it is the end of the output and not a whole line.
	held []byte
}

// add sends one value; nothing is sent for an empty one.
func (p *parts) add(ctx context.Context, value []byte, last bool) error {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return nil
	}
	if err := p.release(ctx); err != nil {
		return err
	}
	if last || said(value) != nil {
		p.held = slices.Clone(value)
		return nil
	}
	return p.send(ctx, value)
}

// release sends what is held, as it is a part.
func (p *parts) release(ctx context.Context) error {
	if p.held == nil {
		return nil
	}
	value := p.held
	p.held = nil
	return p.send(ctx, value)
}

func (p *parts) send(ctx context.Context, value []byte) error {
	if !json.Valid(value) {
		return errNotJSON
	}
	return p.call.Send(ctx, json.RawMessage(value))
}

// lines sends each line of r.
func (p *parts) lines(ctx context.Context, r io.Reader) error {
	return p.each(r, func(line []byte, last bool) error { return p.add(ctx, line, last) })
}

// events sends the data of each event of r, in the format text/event-stream of HTML; all
// else of an event is ignored.
func (p *parts) events(ctx context.Context, r io.Reader) error {
	var data []byte // of the event that is not over yet
	return p.each(r, func(line []byte, last bool) error {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(name) == "data" {
			data = append(append(data, bytes.TrimPrefix(value, []byte(" "))...), '\n')
		}
		switch {
		case len(data) > p.limits.MaxOutput+len("\n"):
			return p.limits.tooLong()
		case len(line) == 0 || last:
			event := data
			data = data[:0]
			return p.add(ctx, event, last)
		}
		return nil
	})
}

// each calls f with each line of r, without its end, and with what follows the last of them.
func (p *parts) each(r io.Reader, f func(line []byte, last bool) error) error {
	in := bufio.NewReader(r)
	var line []byte
	for {
		piece, err := in.ReadSlice('\n')
		line = append(line, piece...)
		text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		switch {
		case len(text) > p.limits.MaxOutput:
			return p.limits.tooLong()
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && err != io.EOF:
			return err
		}
		if failed := f(text, err == io.EOF); failed != nil || err == io.EOF {
			return failed
		}
		line = line[:0]
	}
}
