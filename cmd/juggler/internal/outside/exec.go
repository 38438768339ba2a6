// Package outside has functions for callees that are answered outside of the
// process: by a program, or by a web server. So any language can answer calls.
package outside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/group"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/internal/child"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// killDelay is how long a program has to end after SIGTERM before it is killed.
const killDelay = 2 * time.Second

// maxLog bounds what of a program's standard error is logged, in bytes.
const maxLog = 4 << 10

// Limits bound what answers calls.
type Limits struct {
	Timeout   time.Duration // of one call; its own deadline may come before
	MaxOutput int           // bytes of an answer
}

// Program is a program that answers one call: it gets the args on its standard
// input and writes the answer, JSON, to its standard output. It runs without a
// shell, and ends with its call. On Linux it also ends, though what it started
// does not, when this process is killed. The URI is in its variable JUGGLER_URI, the headers,
// as JSON, in JUGGLER_HEADERS, and the key of a call that has one ([calleekit.Call.Key]) in
// JUGGLER_KEY; the trace that the call belongs to, if there is one, in TRACEPARENT. Of the
// variables of the process it gets those that do not begin with JUGGLER_, and none with headers
// for a collector.
type Program struct {
	path   string
	args   []string
	limits Limits
	log    *slog.Logger
}

// NewProgram returns the program of a command line: words, which may stand in
// single or double quotes. It fails if there is no such program.
func NewProgram(commandLine string, limits Limits, log *slog.Logger) (*Program, error) {
	words, err := splitWords(commandLine)
	if err != nil {
		return nil, err
	}
	if len(words) == 0 {
		return nil, errors.New("the command is empty")
	}
	path, err := exec.LookPath(words[0])
	if err != nil {
		return nil, err
	}
	return &Program{path: path, args: words[1:], limits: limits, log: log}, nil
}

// Answer answers a call. Exit code 0 makes the output the result. With another one the
// output may be the error of the call, {"error":{"code":…,"message":…,…}}. Without it, 64
// (EX_USAGE) and 65 (EX_DATAERR), as in sysexits.h, say that the args are wrong, code 400;
// any other is a failure without details. The standard error is for the log.
func (p *Program) Answer(ctx context.Context, c *calleekit.Call) (any, error) {
	limited, cancel := context.WithTimeoutCause(ctx, p.limits.Timeout, errTooLong)
	defer cancel()
	stderr := &bounded{limit: maxLog}
	cmd := p.command(limited, c, stderr)
	stdout := &bounded{limit: p.limits.MaxOutput, full: cancel}
	cmd.Stdout = stdout
	err := child.Start(cmd)
	if err == nil {
		err = wait(cmd)
	}
	if stdout.overflow {
		return nil, p.limits.tooLong()
	}
	return p.outcome(limited, c.URI, err, stdout.buffer.Bytes(), stderr)
}

// command returns what is to be run for a call, but for its standard output.
func (p *Program) command(ctx context.Context, c *calleekit.Call, stderr *bounded) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.path, p.args...)
	group.Lead(cmd)
	cmd.WaitDelay = killDelay
	cmd.Env = append(environment(), "JUGGLER_URI="+c.URI, "JUGGLER_HEADERS="+headersText(c))
	if key := c.Key(); key != "" {
		cmd.Env = append(cmd.Env, "JUGGLER_KEY="+key)
	}
	for name, value := range jugglerotel.Headers(ctx) { // of the callee's span, if it has one
		cmd.Env = append(cmd.Env, strings.ToUpper(name)+"="+value)
	}
	cmd.Stdin = bytes.NewReader(c.Args)
	cmd.Stderr = stderr
	return cmd
}

// wait waits for the end of a program that was started, and ends what it leaves behind.
func wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	group.End(cmd)
	return err
}

// environment returns the variables that programs inherit: not the settings of the
// command, among which are passwords and tokens.
func environment() []string { return slices.DeleteFunc(os.Environ(), isSecret) }

// isSecret reports whether programs do not get a variable: settings of the command, and the headers
// that it exports telemetry with (OTEL_EXPORTER_OTLP_HEADERS, …_TRACES_HEADERS and the like).
func isSecret(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return strings.HasPrefix(name, settings.Prefix) ||
		strings.HasPrefix(name, "OTEL_EXPORTER_OTLP_") && strings.HasSuffix(name, "_HEADERS")
}

// errTooLong is the cause of the end of a context by Limits.Timeout.
var errTooLong = errors.New("it took too long")

// outcome returns what a program has answered that wrote output and ended with err, in ctx.
func (p *Program) outcome(ctx context.Context, uri string, err error, output []byte, stderr *bounded) (any, error) {
	var exited *exec.ExitError
	switch {
	case errors.Is(context.Cause(ctx), errTooLong):
		return nil, p.failed(errTooLong, stderr)
	case ctx.Err() != nil:
		return nil, ctx.Err() // cancelled, or the time of the call is over
	case errors.As(err, &exited):
		if e := said(output); e != nil {
			return nil, e
		}
		if code := exited.ExitCode(); code == 64 || code == 65 {
			p.log.Info("a program refused args", "uri", uri, "program", p.path, "stderr", stderr.buffer.String())
			return nil, calleekit.Errorf(calleekit.CodeBadRequest, "the args are wrong")
		}
		return nil, p.failed(err, stderr)
	case err != nil:
		return nil, p.failed(err, stderr)
	}
	result, err := answer(output)
	if err != nil {
		return nil, p.failed(err, stderr)
	}
	return result, nil
}

func (p *Program) failed(why error, stderr *bounded) error {
	return fmt.Errorf("program %s: %v; its standard error: %q", p.path, why, stderr.buffer.String())
}

// splitWords splits a command line into words, as a shell does with quotes and
// without anything else of a shell.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("%q: a quote is not closed", line)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
