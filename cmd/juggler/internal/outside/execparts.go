package outside

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/internal/child"
)

// AnswerInParts answers a call with each line of the output, JSON, as a part, and the
// result null. While the caller takes no more, the program finds its standard output full.
// Exit codes, errors and the end of the call are as for [Program.Answer]: the error that
// the output may be is its last line.
func (p *Program) AnswerInParts(ctx context.Context, c *calleekit.Call) (any, error) {
	limited, cancel := context.WithTimeoutCause(ctx, p.limits.Timeout, errTooLong)
	defer cancel()
	stderr := &bounded{limit: maxLog}
	cmd := p.command(limited, c, stderr)
	// A pipe of our own: that of exec.Cmd is closed soon after the end of the program,
	// whatever a slow caller has not taken yet.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, p.failed(err, stderr)
	}
	defer r.Close()
	cmd.Stdout = w
	err = child.Start(cmd)
	w.Close()
	if err != nil {
		return p.outcome(limited, c.URI, err, nil, stderr)
	}
	ended := make(chan error, 1)
	go func() { ended <- wait(cmd) }()
	defer context.AfterFunc(limited, func() { _ = r.SetReadDeadline(time.Now()) })()
	out := parts{call: c, limits: p.limits}
	wrong := out.lines(limited, r)
	if limited.Err() == nil && wrong != nil {
		cancel()
		<-ended
		return nil, p.wrong(wrong, stderr)
	}
	if err = <-ended; err == nil && limited.Err() == nil {
		if err = out.release(limited); err != nil && limited.Err() == nil {
			return nil, p.wrong(err, stderr)
		}
	}
	return p.outcome(limited, c.URI, err, out.held, stderr)
}

// wrong returns the error of a call whose program writes what it must not.
func (p *Program) wrong(why error, stderr *bounded) error {
	if refused := (*calleekit.Error)(nil); errors.As(why, &refused) {
		return why
	}
	return p.failed(why, stderr)
}
